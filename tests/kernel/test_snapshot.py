"""Taking a snapshot of a made-up machine, and the command around it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kmodkit.cli import snapshot as verb
from kmodkit.core.snapshot import Device, Snapshot
from kmodkit.errors import FileError, ProcModulesError
from kmodkit.kernel import snapshot as module
from kmodkit.kernel.snapshot import take_snapshot
from tests.commands import run
from tests.images import NIC, make_root

if TYPE_CHECKING:
    from pathlib import Path

PROC_MODULES = "r8169 1 0 - Live 0x0\nlibphy 1 1 r8169, Live 0x0\n"


@pytest.fixture
def machine(tmp_path: Path) -> tuple[str, str]:
    """Roots of a sysfs with a card that has a driver out of a module, and a device without any; and of /proc."""
    sys, proc = tmp_path / "sys", tmp_path / "proc"
    card = sys / "devices/pci0000:00/0000:00:03.0"
    keys = sys / "devices/platform/keys"
    for device, modalias in ((card, NIC), (keys, "platform:keys")):
        device.mkdir(parents=True)
        (device / "modalias").write_text(f"{modalias}\n")
    driver = sys / "bus/pci/drivers/r8169"
    driver.mkdir(parents=True)
    (sys / "module/r8169").mkdir(parents=True)
    (card / "driver").symlink_to("../../../bus/pci/drivers/r8169")
    (driver / "module").symlink_to("../../../../module/r8169")
    proc.mkdir()
    (proc / "modules").write_text(PROC_MODULES)
    return str(sys), str(proc)


def test_devices_come_with_driver_and_module(machine: tuple[str, str]) -> None:
    """And without, where there is none."""
    taken = take_snapshot(sys=machine[0], proc=machine[1])
    assert taken == Snapshot(
        os.uname().release,
        (
            Device("/devices/pci0000:00/0000:00:03.0", (NIC,), "r8169", "r8169"),
            Device("/devices/platform/keys", ("platform:keys",)),
        ),
        ("libphy", "r8169"),
    )


def test_a_kernel_without_loadable_modules_has_devices(machine: tuple[str, str], tmp_path: Path) -> None:
    """Only its list of modules is empty; one that makes no sense is an error, and so is a missing sysfs."""
    taken = take_snapshot(sys=machine[0], proc=str(tmp_path / "none"))
    assert (len(taken.devices), taken.loaded) == (2, ())
    (tmp_path / "proc/modules").write_text("nonsense")
    with pytest.raises(ProcModulesError):
        take_snapshot(sys=machine[0], proc=machine[1])
    with pytest.raises(FileError):
        take_snapshot(sys=str(tmp_path / "none"), proc=machine[1])


def test_the_command_writes_and_checks(
    machine: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 0 while all have their drivers, 1 with the device's name when one has lost it."""
    sys, proc = machine
    monkeypatch.setattr(module, "take_snapshot", lambda: take_snapshot(sys=sys, proc=proc))
    assert verb.__doc__
    saved = tmp_path / "saved.json"
    assert run(capsys, "snapshot", "-o", saved).status == 0
    assert Snapshot.from_json(saved.read_bytes()) == take_snapshot(sys=sys, proc=proc)
    assert run(capsys, "snapshot").out == saved.read_text()
    checked = run(capsys, "snapshot", "--check", saved)
    assert (checked.status, checked.out) == (0, "all 1 devices have their drivers\n")
    (tmp_path / "sys/devices/pci0000:00/0000:00:03.0/driver").unlink()
    lost = run(capsys, "snapshot", "--check", saved)
    assert (lost.status, lost.out) == (
        1,
        f"/devices/pci0000:00/0000:00:03.0 ({NIC}) has lost its driver r8169 (module r8169)\n",
    )
    assert run(capsys, "snapshot", "--check", saved, "--json").json["losses"][0]["driver_now"] is None
    saved.write_text("{}")
    assert run(capsys, "snapshot", "--check", saved).status == 1


def test_the_host_is_what_its_devices_want(
    machine: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--host` and a saved snapshot choose the same."""
    sys, proc = machine
    monkeypatch.setattr(module, "take_snapshot", lambda: take_snapshot(sys=sys, proc=proc))
    saved = tmp_path / "saved.json"
    run(capsys, "snapshot", "-o", saved)
    root = make_root(tmp_path / "root")
    host = run(capsys, "size", "--tree", root, "--host", "--json").json
    assert {part["name"] for part in host["parts"] if part["kind"] == "module"} == {"r8169", "libphy"}
    assert run(capsys, "size", "--tree", root, "--snapshot", saved, "--json").json == host
