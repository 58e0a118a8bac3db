"""Coldplug: what sysfs knows of the devices that are already there.

Two ways lead to the modules of devices that were found before anybody listened. :func:`read_modaliases`
reads the aliases straight from sysfs; :func:`coldplug` asks the kernel to send every device's event once
more, for a listener on :class:`kmodkit.kernel.netlink.UeventSocket`.

The files are described in the kernel's Documentation/ABI/testing/sysfs-uevent and in lib/kobject_uevent.c.
Every function takes the root of sysfs, so that a copy of one can be read as well.
"""

from __future__ import annotations

import errno
import os

from kmodkit.core.names import to_text
from kmodkit.core.uevent import strip_modalias
from kmodkit.errors import ArgumentError, FileError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterator
    from dataclasses import dataclass
else:
    from kmodkit.core.values import dataclass

ACTIONS = ("add", "remove", "change", "move", "online", "offline", "bind", "unbind")

# sysfs hands out at most one page; ours is larger than any architecture's.
_READ_LIMIT = 1 << 17

_FILES = ("modalias", "uevent")

_ALPHANUMERIC = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Triggered:
    """What came of asking one device for an event: ``error`` is None where the kernel took the request.

    ``devpath`` is as in a uevent's DEVPATH.
    """

    devpath: str
    error: FileError | None = None


def read_modaliases(sys: str | os.PathLike[str] = "/sys") -> Iterator[tuple[str, str]]:
    """Yield ``(device path, modalias)`` for every modalias of every device under ``sys``/devices.

    The device path is as in a uevent's DEVPATH: it begins with ``/devices/`` and leaves ``sys`` out. Devices
    come in sorted order, a parent before its children. Each line of a device's ``modalias`` file is one
    modalias (an ACPI device that also has a device-tree name has two); where that file is missing or gives
    nothing, ``MODALIAS=`` in its ``uevent`` file is taken. Bytes that are not UTF-8 come as surrogate
    escapes; newlines and padding are cut off.

    A device that vanishes or a file that cannot be read is passed over. Raises FileError where ``sys`` has
    no readable ``devices``, for otherwise a system without sysfs would look like one without devices.
    """
    for directory, devpath, names in _walk(os.fspath(sys)):
        found: list[str] = []
        if "modalias" in names:
            found = _lines(f"{directory}/modalias")
        if not found and "uevent" in names:
            key = "MODALIAS="
            lines = _lines(f"{directory}/uevent")
            found = [line[len(key) :] for line in lines if line.startswith(key) and line != key]
        for modalias in found:
            yield devpath, modalias


def _lines(path: str) -> list[str]:
    """Return the lines of a sysfs file that hold something, none where it cannot be read."""
    # Not open(), which takes three times as long as the system calls.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        data = os.read(fd, _READ_LIMIT)
    except OSError:
        return []
    finally:
        os.close(fd)
    lines = (strip_modalias(line) for line in data.split(b"\n"))
    return [to_text(line) for line in lines if line]


def new_uuid() -> str:
    """Return a random UUID, as `trigger` takes one to mark its events with."""
    # The uuid module takes longer to import than a coldplug walk does.
    number = int.from_bytes(os.urandom(16)) & ~(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62
    digits = f"{number:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def trigger(
    uevent_file: str | os.PathLike[str], action: str = "add", *, uuid: str | None = None, **marker: str
) -> None:
    """Ask the kernel to send one device's event, by a write to its ``uevent`` file in sysfs.

    The event carries SYNTH_UUID=``uuid`` ("0" without one) and SYNTH_ARG_KEY=VALUE for each of ``marker``,
    which needs a ``uuid``. ``action`` is one of `ACTIONS`.

    Raises ArgumentError for what the kernel would not take: a key or value that is empty or not
    alphanumeric ASCII, a UUID or action of another form. Raises FileError where the kernel refuses: EINVAL
    for a device that cannot send events. Kernels before 5.0 refuse nothing, and those before 4.13 send
    nothing where they are given a UUID.
    """
    _write(os.fspath(uevent_file), _request(action, uuid, marker))


def coldplug(
    sys: str | os.PathLike[str] = "/sys", action: str = "add", *, uuid: str | None = None, **marker: str
) -> Iterator[Triggered]:
    """Ask the kernel for the event of every device under ``sys``/devices, parents first, in sorted order.

    ``uuid`` and ``marker`` are as for `trigger`. Yields one `Triggered` for each device, with the error
    where the write failed. Each write is made as the iteration reaches it, so that a listener can take the
    events in between and its receive buffer need not hold them all. Some devices answer with no event.

    A kernel that refuses arguments (EINVAL) is asked again without them, and from then on without. Raises
    ArgumentError as `trigger` does, and FileError where ``sys`` has no readable ``devices``.
    """
    request = _request(action, uuid, marker)
    return _coldplug(os.fspath(sys), request, _request(action, None, {}))


def _coldplug(sys: str, request: bytes, plain: bytes) -> Iterator[Triggered]:
    for directory, devpath, names in _walk(sys):
        if "uevent" not in names:
            continue
        path = f"{directory}/uevent"
        try:
            try:
                _write(path, request)
            except FileError as refused:
                if refused.errno != errno.EINVAL or request == plain:
                    raise
                # EINVAL also comes from a device without events: only a plain success blames the arguments.
                _write(path, plain)
                request = plain
        except FileError as error:
            yield Triggered(devpath, error)
        else:
            yield Triggered(devpath)


def _request(action: str, uuid: str | None, marker: dict[str, str]) -> bytes:
    if action not in ACTIONS:
        raise ArgumentError(f"{action!r} is no action of a uevent")
    if uuid is None:
        if marker:
            raise ArgumentError("the kernel takes a marker only together with a UUID")
        return action.encode()
    parts = uuid.split("-")
    if [len(part) for part in parts] != [8, 4, 4, 4, 12] or not _HEXADECIMAL.issuperset("".join(parts)):
        raise ArgumentError(f"{uuid!r} is no UUID")
    words = [action, uuid]
    for key, value in marker.items():
        if not key or not value or not _ALPHANUMERIC.issuperset(key + value):
            raise ArgumentError(f"the marker {key}={value!r} is not alphanumeric")
        words.append(f"{key}={value}")
    return " ".join(words).encode()


def _write(path: str, request: bytes) -> None:
    try:
        # open() would create the file, for a device that went away from a copy of sysfs.
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, request)
        finally:
            os.close(fd)
    except OSError as error:
        raise FileError.wrap(error, path) from error


def _walk(sys: str) -> Iterator[tuple[str, str, set[str]]]:
    """Yield (directory, device path, which of `_FILES` it has) for each directory under devices, parents first."""
    root = f"{sys.rstrip('/')}/devices"
    pending = [root]
    while pending:
        directory = pending.pop()
        names: set[str] = set()
        below: list[str] = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    # Symlinks lead back up (subsystem, driver, ...) and would make the walk endless.
                    if entry.is_dir(follow_symlinks=False):
                        below.append(entry.path)
                    elif entry.name in _FILES and entry.is_file(follow_symlinks=False):
                        names.add(entry.name)
        except OSError as error:
            if directory == root:
                raise FileError.wrap(error, root) from error
            # The device went away meanwhile; what was listed of it is gone too.
            continue
        # Half of all directories are the attributes of power management, which every device has, and no device.
        # As a device has that name taken, none below it can be called so.
        if (power := f"{directory}/power") in below and (
            "uevent" in names or not os.path.exists(f"{power}/uevent")  # noqa: PTH110 - one for each directory
        ):
            below.remove(power)
        below.sort(reverse=True)
        pending.extend(below)
        yield directory, directory[len(root) - len("/devices") :], names
