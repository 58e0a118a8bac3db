"""Snapshots of devices: as JSON, and compared."""

from __future__ import annotations

import pytest

from kmodkit.core.snapshot import Device, Snapshot
from kmodkit.errors import SnapshotError

NIC = Device("/devices/pci/nic", ("pci:v1", "acpi:X"), "e1000e", "e1000e")
KEYS = Device("/devices/i8042/keys", ("serio:ty06",), "atkbd")
ODD = Device("/devices/platform/\udcff", ("platform:\udcff",))
THEN = Snapshot("6.1.0", (NIC, KEYS, ODD), ("e1000e", "ptp"))


def test_json_gives_the_snapshot_back() -> None:
    """Drivers without a module, devices without a driver and bytes that are no text included."""
    text = THEN.to_json()
    assert text.isascii()
    assert Snapshot.from_json(text) == THEN
    assert Snapshot.from_json(text.encode()) == THEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": "kmodkit-snapshot", "version": 2}',
        '{"format": "kmodkit-snapshot", "version": 1, "devices": {}}',
        '{"format": "kmodkit-snapshot", "version": 1, "devices": [1]}',
        '{"format": "kmodkit-snapshot", "version": 1, "devices": [{}]}',
        '{"format": "kmodkit-snapshot", "version": 1, "devices": [{"path": "a", "modaliases": [1]}]}',
        '{"format": "kmodkit-snapshot", "version": 1, "devices": [{"path": "a", "driver": []}]}',
        '{"format": "kmodkit-snapshot", "version": 1, "loaded": [null]}',
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_other_json_is_refused(text: str | bytes) -> None:
    """With the file's name, whatever is wrong."""
    with pytest.raises(SnapshotError, match=r"^saved\.json: "):
        Snapshot.from_json(text, source="saved.json")


def test_losses_name_device_driver_and_module() -> None:
    """A device that is gone, one without its driver, and one with another; what never had one does not count."""
    now = Snapshot("6.1.0", (Device(NIC.path, NIC.modaliases), Device(KEYS.path, (), "other")))
    assert list(map(str, THEN.losses(now))) == [
        "/devices/pci/nic (pci:v1) has lost its driver e1000e (module e1000e)",
        "/devices/i8042/keys (serio:ty06) has driver other in place of its driver atkbd",
    ]
    assert [loss.now for loss in THEN.losses(Snapshot())] == [None, None]
    assert THEN.losses(THEN) == ()
