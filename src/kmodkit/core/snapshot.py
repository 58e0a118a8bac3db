"""What devices a machine has and which drivers serve them, as a value and as JSON.

The JSON has ``format`` ("kmodkit-snapshot"), ``version`` (1), ``release`` (the kernel's), ``devices`` (each with
``path``, ``modaliases`` and, where one is bound, ``driver`` and ``module``) and ``loaded`` (names of modules).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from kmodkit.core.names import normalize_name
from kmodkit.errors import SnapshotError

_FORMAT: Final = "kmodkit-snapshot"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Device:
    """One device: its path as in a uevent's DEVPATH, its modaliases, and what serves it.

    ``driver`` is the name of the bound driver, ``module`` that of the driver's module; None where there is none,
    as for a driver that is built in.
    """

    path: str
    modaliases: tuple[str, ...] = ()
    driver: str | None = None
    module: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The devices of a machine, sorted by path, and the names of its loaded modules, sorted.

    >>> nic = Device("/devices/pci0000:00/0000:00:02.0", ("pci:v00008086",), "e1000e", "e1000e")
    >>> then = Snapshot("6.1.0", (nic,), ("e1000e",))
    >>> Snapshot.from_json(then.to_json()) == then
    True
    >>> print(*then.losses(Snapshot("6.1.0")))
    /devices/pci0000:00/0000:00:02.0 (pci:v00008086) is not there, nor its driver e1000e (module e1000e)
    """

    release: str = ""
    devices: tuple[Device, ...] = ()
    loaded: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the snapshot as JSON, the same text for equal snapshots."""
        devices = []
        for device in self.devices:
            entry: dict[str, object] = {"path": device.path, "modaliases": list(device.modaliases)}
            if device.driver is not None:
                entry["driver"] = device.driver
            if device.module is not None:
                entry["module"] = device.module
            devices.append(entry)
        whole = {
            "format": _FORMAT,
            "version": _VERSION,
            "release": self.release,
            "devices": devices,
            "loaded": list(self.loaded),
        }
        return json.dumps(whole, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str | None = None) -> Snapshot:
        """Return the snapshot in a JSON text; raises SnapshotError with ``source`` for anything else."""
        try:
            value = json.loads(text)
            if not isinstance(value, dict) or value.get("format") != _FORMAT:
                raise SnapshotError("not a snapshot of kmodkit", source=source)
            if value.get("version") != _VERSION:
                raise SnapshotError(f"version {value.get('version')!r} is not known here", source=source)
            devices = tuple(map(_device, _list(value.get("devices", []))))
            loaded = tuple(map(_text, _list(value.get("loaded", []))))
            return cls(_text(value.get("release", "")), devices, loaded)
        except json.JSONDecodeError as error:
            raise SnapshotError(f"no JSON: {error.msg}", source=source, offset=error.pos) from error
        except (TypeError, UnicodeError, ValueError, RecursionError) as error:
            raise SnapshotError(f"no snapshot: {error}", source=source) from error

    def losses(self, now: Snapshot) -> tuple[Loss, ...]:
        """Return each device that has a driver here, and in ``now`` has not the same one."""
        present = {device.path: device for device in now.devices}
        found = []
        for device in self.devices:
            there = present.get(device.path)
            if device.driver is not None and (there is None or there.driver != device.driver):
                found.append(Loss(device, there))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Loss:
    """A device that had a driver, and what is at its path now (None: nothing)."""

    before: Device
    now: Device | None = None

    def __str__(self) -> str:
        device = self.before
        what = f"{device.path} ({device.modaliases[0]})" if device.modaliases else device.path
        driver = f"driver {device.driver}"
        if device.module is not None:
            driver += f" (module {device.module})"
        if self.now is None:
            return f"{what} is not there, nor its {driver}"
        if self.now.driver is None:
            return f"{what} has lost its {driver}"
        return f"{what} has driver {self.now.driver} in place of its {driver}"


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"a list is wanted where {type(value).__name__} is")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a string is wanted where {type(value).__name__} is")
    return value


def _device(value: object) -> Device:
    if not isinstance(value, dict):
        raise TypeError("a device is no object")
    driver, module = value.get("driver"), value.get("module")
    return Device(
        _text(value.get("path")),
        tuple(map(_text, _list(value.get("modaliases", [])))),
        None if driver is None else _text(driver),
        None if module is None else normalize_name(_text(module)),
    )
