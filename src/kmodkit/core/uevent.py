r"""One uevent of the kernel, as it comes in one netlink datagram.

::

    datagram = action "@" devpath NUL *(key "=" value NUL)

    add@/devices/pci0000:00/0000:00:1c.0\0ACTION=add\0DEVPATH=/devices/pci0000:00/0000:00:1c.0\0
    SUBSYSTEM=pci\0MODALIAS=pci:v00008086d...\0SEQNUM=1701\0

``devpath`` begins with ``/``. Keys may repeat and values may hold ``=``. The kernel's lib/kobject_uevent.c
makes the datagram, each subsystem adds keys of its own, and Documentation/ABI/testing/sysfs-uevent describes
those of events that were asked for (SYNTH_UUID, SYNTH_ARG_*). Datagrams of udev's group begin with
``libudev\0``, have another layout and come from user space: they are refused.
"""

from __future__ import annotations

from kmodkit.core.names import to_text
from kmodkit.errors import UeventError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from kmodkit.core.values import dataclass

# 2**64 - 1 has 20 digits, and int() takes quadratic time for long numbers.
_MAX_DIGITS = 20

_SYNTH_ARG = "SYNTH_ARG_"


@dataclass(frozen=True, slots=True)
class Uevent:
    """One event about one device.

    ``action`` is add, remove, change, move, online, offline, bind or unbind; ``devpath`` the path of the
    device below the root of sysfs. ``modaliases`` are the values of MODALIAS, without the newline or
    padding some devices end theirs in; an ACPI device that also has a device-tree name sends two.
    ``seqnum`` and ``subsystem`` are None where the event carries none. ``synth_uuid`` is None for an event
    of the kernel's own, "0" for one asked for without a UUID, else that UUID. ``env`` holds every
    ``(key, value)`` as it was sent, in order.

    Text that is not UTF-8 comes as surrogate escapes.
    """

    action: str
    devpath: str
    subsystem: str | None
    modaliases: tuple[str, ...]
    seqnum: int | None
    synth_uuid: str | None
    env: tuple[tuple[str, str], ...]

    @property
    def modalias(self) -> str | None:
        """The first of ``modaliases``, None where there is none."""
        return self.modaliases[0] if self.modaliases else None

    @property
    def synth_args(self) -> tuple[tuple[str, str], ...]:
        """The ``(key, value)`` pairs an asked-for event was marked with, without their prefix."""
        prefix = len(_SYNTH_ARG)
        return tuple((key[prefix:], value) for key, value in self.env if key.startswith(_SYNTH_ARG))

    def get(self, key: str, default: str | None = None) -> str | None:
        """Return the first value of ``key``, ``default`` where the event has none."""
        return next((value for name, value in self.env if name == key), default)


def strip_modalias(modalias: bytes) -> bytes:
    """Return a modalias as sysfs or a uevent gives it without the newline or padding at its end."""
    return modalias.rstrip(b"\0\t\r\n ")


def parse_uevent(datagram: bytes) -> Uevent:
    """Return the event of one datagram of the kernel's multicast group.

    Entries that are no ``key=value`` are left out. Raises UeventError with the offset in the datagram where
    it is udev's own format, its first line has no ``action@/devpath``, it was cut off, or SEQNUM is no
    number.
    """
    if datagram.startswith(b"libudev\0"):
        raise UeventError("the datagram is in udev's own format, not the kernel's", offset=0)
    header, nul, rest = datagram.partition(b"\0")
    action, found, _ = header.partition(b"@/")
    if not found or not action:
        raise UeventError("the first line has no action@/devpath", offset=0)
    if not nul or (rest and not rest.endswith(b"\0")):
        raise UeventError("the datagram was cut off: its last line does not end", offset=len(datagram))
    env: list[tuple[str, str]] = []
    modaliases: list[str] = []
    seqnum: int | None = None
    offset = len(header) + 1
    for entry in rest.split(b"\0"):
        key, equals, value = entry.partition(b"=")
        if key and equals:
            env.append((to_text(key), to_text(value)))
            if key == b"MODALIAS" and (modalias := strip_modalias(value)):
                modaliases.append(to_text(modalias))
            elif key == b"SEQNUM":
                seqnum = _parse_seqnum(value, offset)
        offset += len(entry) + 1
    first = dict(reversed(env))
    return Uevent(
        action=to_text(action),
        devpath=to_text(header[len(action) + 1 :]),
        subsystem=first.get("SUBSYSTEM"),
        modaliases=tuple(modaliases),
        seqnum=seqnum,
        synth_uuid=first.get("SYNTH_UUID"),
        env=tuple(env),
    )


def _parse_seqnum(value: bytes, offset: int) -> int:
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        raise UeventError("SEQNUM is no number", offset=offset)
    return int(value)
