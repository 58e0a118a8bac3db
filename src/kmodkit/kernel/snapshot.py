"""A snapshot of the running machine: its devices, their drivers, and what is loaded."""

from __future__ import annotations

import errno
import os
from typing import Final

from kmodkit.core.names import normalize_name
from kmodkit.core.snapshot import Device, Snapshot
from kmodkit.errors import FileError
from kmodkit.kernel.modules import loaded_modules
from kmodkit.kernel.opening import read_file
from kmodkit.kernel.uevents import read_modaliases

_MAX_SNAPSHOT: Final = 64 << 20


def take_snapshot(*, sys: str = "/sys", proc: str = "/proc") -> Snapshot:
    """Return the devices that have a modalias, the driver and module of each, and the loaded modules.

    Raises FileError where there is no sysfs, and ProcModulesError for a /proc/modules that makes no sense.
    """
    modaliases: dict[str, list[str]] = {}
    for path, modalias in read_modaliases(sys):
        modaliases.setdefault(path, []).append(modalias)
    devices = []
    for path in sorted(modaliases):
        driver = _last(f"{sys}{path}/driver")
        module = _last(f"{sys}{path}/driver/module") if driver is not None else None
        devices.append(
            Device(path, tuple(modaliases[path]), driver, None if module is None else normalize_name(module))
        )
    return Snapshot(os.uname().release, tuple(devices), tuple(sorted(_loaded(proc))))


def load_snapshot(path: str) -> Snapshot:
    """Return the snapshot in a file; raises FileError and SnapshotError."""
    return Snapshot.from_json(read_file(path, max_size=_MAX_SNAPSHOT), source=path)


def _loaded(proc: str) -> list[str]:
    try:
        return [normalize_name(module.name) for module in loaded_modules(proc=proc)]
    except FileError as error:
        if error.errno != errno.ENOENT:
            raise
        return []  # a kernel without loadable modules has devices, too


def _last(path: str) -> str | None:
    """Return the last component of where a link of sysfs leads, None where there is none."""
    try:
        return os.readlink(path).rpartition("/")[2]  # noqa: PTH115 - the target's text is all that is wanted
    except OSError:
        return None
