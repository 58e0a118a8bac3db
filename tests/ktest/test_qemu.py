"""QEMU's command line, and finding kernels: no machine is started here."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from kmodkit.errors import KtestError
from kmodkit.ktest import kvm
from kmodkit.ktest.kernels import find_kernel
from kmodkit.ktest.qemu import MachineSpec, arguments, channel_arguments
from tests.ktest.test_vmlinux import bzimage


def machine(**options: object) -> MachineSpec:
    """Return a machine whose files need not exist."""
    return MachineSpec(kernel=Path("/k"), initrd=Path("/i"), **{"memory": 512, **options})  # type: ignore[arg-type]


def pairs(words: list[str]) -> list[tuple[str, str]]:
    """Return each word with the one after it."""
    return list(itertools.pairwise(words))


def test_serial_lines_are_console_control_and_output() -> None:
    """Their order makes them ttyS0, ttyS1 and ttyS2."""
    words = channel_arguments({"qmp": 3, "console": 4, "control": 5, "output": 6})
    serial = [value for option, value in pairs(words) if option == "-serial"]
    assert serial == ["chardev:console", "chardev:control", "chardev:output"]


def test_devices_are_passed_on() -> None:
    """As they were given."""
    assert ("-device", "e1000e,id=x") in pairs(arguments(machine(devices=("e1000e,id=x",))))


@pytest.mark.parametrize(
    ("device", "passed"),
    [
        ("hda-duplex", "hda-duplex,audiodev=silence"),
        ("AC97,id=a", "AC97,id=a,audiodev=silence"),
        ("hda-duplex,audiodev=mine", "hda-duplex,audiodev=mine"),
        ("intel-hda", "intel-hda"),
    ],
)
def test_audio_devices_get_a_silent_backend(device: str, passed: str) -> None:
    """QEMU refuses them without any; the controller alone needs none."""
    assert ("-device", passed) in pairs(arguments(machine(devices=(device,))))


def test_saved_memory_is_private_and_memory_to_save_is_shared() -> None:
    """A restored machine must not write to its snapshot."""
    for shared, word in ((True, "share=on"), (False, "share=off")):
        words = arguments(machine(), memory_file=Path("/a,b"), shared=shared)
        backend = next(value for option, value in pairs(words) if option == "-object")
        assert word in backend
        assert "mem-path=/a,,b" in backend


def test_own_words_come_last_on_the_kernel_command_line() -> None:
    """So that they win."""
    words = arguments(machine(append="panic=5"))
    assert words[words.index("-append") + 1].endswith(" panic=5")


def test_kvm_needs_more_than_a_device_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a processor's module no trial is made."""
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(kvm, "_DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(kvm, "_MODULES", (tmp_path / "kvm_intel",))
    assert kvm.choose(machine(), "auto", root=tmp_path).accel == "tcg"
    with pytest.raises(KtestError, match="no accelerator"):
        kvm.choose(machine(), "xen")


@pytest.mark.parametrize("parent", ["lib/modules", "usr/lib/modules"])
@pytest.mark.parametrize("image", ["boot/vmlinuz-6.1.0-test", "{}/6.1.0-test/vmlinuz"])
def test_kernel_is_found_in_an_unpacked_package(tmp_path: Path, parent: str, image: str) -> None:
    """Under /boot or beside the modules, which are under /lib or /usr/lib."""
    path = tmp_path / image.format(parent)
    path.parent.mkdir(parents=True)
    path.write_bytes(bzimage(b""))
    modules = tmp_path / parent / "6.1.0-test"
    modules.mkdir(parents=True, exist_ok=True)
    (modules / "modules.builtin").touch()
    for place in (tmp_path, path):
        found = find_kernel(place)
        assert (found.image, found.release, found.modules) == (path, "6.1.0-test", modules)


def test_two_kernels_in_one_root_are_an_error(tmp_path: Path) -> None:
    """And so is none."""
    with pytest.raises(KtestError, match="none"):
        find_kernel(tmp_path)
    for name in ("vmlinuz-1", "vmlinuz-2"):
        (tmp_path / name).write_bytes(bzimage(name.encode()))
    with pytest.raises(KtestError, match=r"vmlinuz-1.*vmlinuz-2|vmlinuz-2.*vmlinuz-1"):
        find_kernel(tmp_path)


def test_modules_of_another_kernel_are_refused(tmp_path: Path) -> None:
    """They would not load."""
    (tmp_path / "vmlinuz").write_bytes(bzimage(b""))
    (tmp_path / "root/lib/modules/5.0").mkdir(parents=True)
    with pytest.raises(KtestError, match=r"no modules of kernel 6\.1\.0-test"):
        find_kernel(tmp_path / "vmlinuz", tmp_path / "root")
