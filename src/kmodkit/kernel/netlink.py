"""The kernel's uevents from a netlink socket.

The socket is bound to multicast group 1 of NETLINK_KOBJECT_UEVENT, on which the kernel sends one datagram for
each event; group 2 is udev's. See netlink(7), unix(7) for the credentials, and the kernel's
lib/kobject_uevent.c. :mod:`kmodkit.core.uevent` reads the datagrams.
"""

from __future__ import annotations

import errno as codes
import os
import select
import socket
import struct
import time

from kmodkit.core.uevent import Uevent, parse_uevent
from kmodkit.errors import SyscallError, UeventError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from dataclasses import dataclass
    from typing import Any, Self
else:
    from kmodkit.core.values import dataclass

_NETLINK_KOBJECT_UEVENT = 15
_KERNEL_GROUP = 1

# Python's socket module does not have it. Architectures with other values of SOL_SOCKET number it otherwise.
_SO_RCVBUFFORCE = 33 if socket.SOL_SOCKET == 1 else None

# The kernel holds an event's variables in 2 KiB, and a device's path is shorter than a page.
_DATAGRAM_LIMIT = 1 << 14

_UCRED = struct.Struct("=iII")

# Seconds. poll() takes a C int of milliseconds.
_LONGEST_POLL = 86400.0

DEFAULT_BUFFER_SIZE = 64 << 20
"""Bytes of receive buffer asked for. It is a limit: memory is used only as events wait, 2 KiB or so each."""


@dataclass(frozen=True, slots=True)
class Overrun:
    """Events were lost because the receive buffer was full: coldplug again to learn what they were about."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One datagram was refused, or one receive failed; those after it are not affected.

    ``reason`` says why, in words. ``errno`` is the error of the receive, None for a refused datagram.
    """

    reason: str
    errno: int | None = None


Received = Uevent | Overrun | Rejected


def judge(data: bytes, ancillary: Sequence[tuple[int, int, bytes]], flags: int, sender: Any) -> Uevent | Rejected:
    """Return the event of one received datagram, or why it is refused.

    Takes what :meth:`socket.socket.recvmsg` returns. Any process may send to a netlink socket, so only
    datagrams from port 0, which is the kernel, with the credentials of uid 0 are taken.
    """
    if flags & socket.MSG_TRUNC:
        return Rejected(f"the datagram is longer than {_DATAGRAM_LIMIT} bytes")
    port = sender[0] if isinstance(sender, tuple) and sender else None
    if port != 0:
        return Rejected(f"the datagram comes from port {port}, not from the kernel")
    uid = _sender_uid(ancillary)
    if uid is None:
        return Rejected("the datagram comes without credentials")
    if uid != 0:
        return Rejected(f"the datagram comes from uid {uid}, not from uid 0")
    try:
        return parse_uevent(data)
    except UeventError as error:
        return Rejected(str(error))


def _sender_uid(ancillary: Sequence[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _UCRED.size:
            uid: int = _UCRED.unpack_from(data)[1]
            return uid
    return None


class UeventSocket:
    """A socket that receives the kernel's uevents from the moment it is made.

    ``buffer_size`` is the receive buffer to ask for, in bytes; without CAP_NET_ADMIN the system's limit
    (net.core.rmem_max) cuts it. ``sock`` takes over a socket that is already bound.

    Iterating yields events, `Overrun` and `Rejected` for ever, until `close`. Raises SyscallError where the
    socket cannot be made. One thread at a time may receive.
    """

    def __init__(self, *, buffer_size: int = DEFAULT_BUFFER_SIZE, sock: socket.socket | None = None) -> None:
        self._sock = _open() if sock is None else sock
        self._sock.settimeout(0)
        _enlarge(self._sock, buffer_size)
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Received]:
        failures = 0
        while True:
            try:
                received = self.receive()
            except SyscallError:
                return
            if received is None:
                continue
            yield received
            failed = isinstance(received, Rejected) and received.errno is not None
            failures = failures + 1 if failed else 0
            if failures > 1:
                # An error that stays must not turn the loop into a spin.
                time.sleep(min(0.01 * 2 ** min(failures, 10), 1.0))

    @property
    def buffer_size(self) -> int:
        """The receive buffer in force, in bytes; the kernel doubles a request, for its own overhead."""
        return self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def fileno(self) -> int:
        """Return the descriptor, to wait on with others; -1 once closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Stop receiving. Does not wake a thread that waits in `receive`."""
        self._sock.close()

    def receive(self, timeout: float | None = None) -> Received | None:
        """Return the next event, or None when none came within ``timeout`` seconds (0 polls, None waits).

        An error never ends the flow: lost events give `Overrun`, a refused datagram and any other receive
        error `Rejected`. Raises SyscallError once the socket is closed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if self.fileno() < 0:
                raise SyscallError("recvmsg", codes.EBADF, "the uevent socket is closed")
            received = self._receive_now()
            if received is not None:
                return received
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return None
            # Rounded up, or the last fraction of a millisecond would be spent spinning.
            self._poll.poll(None if remaining is None else int(min(remaining, _LONGEST_POLL) * 1000) + 1)

    def _receive_now(self) -> Received | None:
        try:
            data, ancillary, flags, sender = self._sock.recvmsg(
                _DATAGRAM_LIMIT, socket.CMSG_SPACE(_UCRED.size), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == codes.ENOBUFS:
                return Overrun()
            return Rejected(f"receiving failed: {error.strerror or error}", error.errno)
        return judge(data, ancillary, flags, sender)


def _open() -> socket.socket:
    sock = None
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_KOBJECT_UEVENT)
        # Before bind, for the first datagram has to bring its credentials too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.bind((0, _KERNEL_GROUP))
    except OSError as error:
        if sock is not None:
            sock.close()
        number = error.errno or codes.EIO
        raise SyscallError("uevent socket", number, error.strerror or os.strerror(number)) from error
    return sock


def _enlarge(sock: socket.socket, size: int) -> None:
    """Raise the receive buffer to ``size`` bytes, as far as this process may. Never shrinks it."""
    # The kernel doubles what it is asked for, so that half of what it reports compares with the request.
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2 >= size:
        return
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        if option is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, size)
            except OSError:
                continue
            return
