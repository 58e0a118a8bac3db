"""An image made from a machine's own snapshot boots it: every device gets its driver."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import kmodkit
from kmodkit import scan
from kmodkit.core.snapshot import Snapshot
from kmodkit.ktest.image import ImageSpec
from kmodkit.ktest.qemu import PROGRAM as PROGRAM_OF_QEMU
from kmodkit.ktest.runner import Setup, run
from tests.commands import run as command
from tests.require import need
from tools import material

if TYPE_CHECKING:
    from kmodkit import Catalog

pytestmark = pytest.mark.real

DEVICES = ("e1000e", "virtio-net-pci,disable-legacy=on", "qemu-xhci,id=xhci", "usb-tablet,bus=xhci.0", "intel-hda")
# A guess, so that one boot finds all; what it leaves out, the next boot has.
GUESS = (
    *("e1000e", "virtio_net", "virtio_pci", "xhci_pci", "usbhid", "hid_generic", "snd_hda_intel"),
    *("evdev", "ahci", "acpi_cpufreq", "aesni_intel", "amd64_edac", "button", "ccp"),
    *("crc32_pclmul", "crc32c_intel", "crct10dif_pclmul", "ghash_clmulni_intel", "i2c_i801", "joydev", "kvm_amd"),
    *("lpc_ich", "pcc_cpufreq", "pcspkr", "powernow_k8", "psmouse", "qemu_fw_cfg", "serio_raw"),
    *("sha1_ssse3", "sha256_ssse3", "sha512_ssse3"),
)
# Coldplug, and again for what loading has brought (devices behind a USB port come later), until nothing new comes.
PROGRAM = """
import sys, time
from kmodkit import cli
from kmodkit.devices import coldplug
from kmodkit.kernel.snapshot import take_snapshot
from kmodkit.manager import Manager
manager = Manager.from_tree()
quiet, before = 0, None
while quiet < 4:
    coldplug(manager)
    time.sleep(0.5)
    now = take_snapshot()
    quiet = quiet + 1 if now == before else 0
    before = now
print("--- settled", flush=True)
raise SystemExit(cli.main(["snapshot", *sys.argv[1:]]))
"""
MARK = b"--- settled\n"


@pytest.fixture(scope="module")
def kernel_root() -> Path:
    """One kernel: each boot takes long enough."""
    need(shutil.which(PROGRAM_OF_QEMU), f"{PROGRAM_OF_QEMU} is not installed", "qemu")
    found = material.cached_kernel("bookworm-amd64")
    return need(found, "bookworm-amd64 is not in the cache: make test fetches it", "kernels").root


@pytest.fixture(scope="module")
def bare(kernel_root: Path) -> Setup:
    """The machine, with no module in it."""
    image = ImageSpec(python_path=(Path(kmodkit.__file__).parent,))
    return Setup(kernel=kernel_root, devices=DEVICES, memory=768, image=image)


@pytest.fixture(scope="module")
def catalog(kernel_root: Path) -> Catalog:
    """All modules of the kernel."""
    return scan(kernel_root).catalog


@pytest.fixture(scope="module")
def snapshot(bare: Setup, catalog: Catalog) -> Snapshot:
    """What the machine has once all its devices have what they want of this kernel's modules."""
    given = {module.name for module in catalog.select(names=GUESS).modules}
    while True:
        done = run(["python3", "-c", PROGRAM], replace(bare, modules=tuple(sorted(given))), cold=True, timeout=240)
        assert done.status == 0, done.output
        taken = Snapshot.from_json(done.output.partition(MARK)[2])
        wanted = {module.name for module in catalog.select(snapshot=taken).modules}
        if wanted <= given:
            return taken
        given |= wanted


def check(bare: Setup, archive: Path, saved: Path) -> tuple[int, list[str]]:
    """Boot the machine with an image's modules alone; return the check's status and what it says."""
    image = replace(bare.image, archives=(archive,), files=((saved, "/snapshot.json"),))
    words = ["python3", "-c", PROGRAM, "--check", "/snapshot.json"]
    done = run(words, replace(bare, image=image), cold=True, timeout=240)
    return done.status, done.output.partition(MARK)[2].decode().splitlines()


def test_every_device_gets_its_driver_from_the_image(
    bare: Setup,
    kernel_root: Path,
    snapshot: Snapshot,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And without one of the modules, the check fails and names the device that has lost its driver."""
    served = [device for device in snapshot.devices if device.driver is not None]
    drivers = {device.driver for device in served}
    assert {"e1000e", "virtio-pci", "virtio_net", "xhci_hcd", "usbhid", "snd_hda_intel"} <= drivers
    saved = tmp_path / "snapshot.json"
    saved.write_text(snapshot.to_json())
    words = ["image", "--tree", kernel_root, "--snapshot", saved, "--no-firmware", "--json", "-o"]
    made = command(capsys, *words, tmp_path / "whole.cpio.zst")
    assert (made.status, made.json["unmatched"]) == (0, [])
    status, lines = check(bare, tmp_path / "whole.cpio.zst", saved)
    assert (status, lines) == (0, [f"all {len(served)} devices have their drivers"])

    nic = next(device for device in served if device.driver == "e1000e")
    assert command(capsys, *words, tmp_path / "less.cpio.zst", "--rule=!e1000e").status == 0
    status, lines = check(bare, tmp_path / "less.cpio.zst", saved)
    assert status == 1
    assert lines == [f"{nic.path} ({nic.modaliases[0]}) has lost its driver e1000e (module e1000e)"]


def test_the_archive_holds_only_what_the_machine_wants(
    kernel_root: Path, snapshot: Snapshot, catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tenth of the kernel's modules at most, each with its reason."""
    chosen = catalog.select(snapshot=snapshot)
    assert 10 < len(chosen.modules) < len(catalog) / 10
    assert all(each.chain for each in chosen.chosen)
    saved = tmp_path / "snapshot.json"
    saved.write_text(snapshot.to_json())
    ran = command(capsys, "size", "--tree", kernel_root, "--snapshot", saved, "--no-firmware", "--json")
    assert {part["name"] for part in ran.json["parts"]} == {module.name for module in chosen.modules}
    assert json.loads(saved.read_text())["devices"]
