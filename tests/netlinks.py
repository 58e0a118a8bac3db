"""A stand-in for the uevent socket, which tests send events through."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any

from kmodkit.kernel.netlink import UeventSocket

CREDENTIALS = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("=iII", 0, 0, 0))]


class FakeNetlink(socket.socket):
    """One end of a socket pair, whose datagrams seem to come from the kernel.

    A datagram ``!CODE`` makes the receive fail with that errno; ``lost`` makes the next one fail with ENOBUFS.
    """

    lost = False

    def recvmsg(self, *sizes: int) -> Any:
        """Receive, or fail as the datagram says."""
        data, _, flags, _ = super().recvmsg(*sizes)
        if self.lost:
            # The datagram at hand goes with those that were lost.
            self.lost = False
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        if data.startswith(b"!"):
            raise OSError(int(data[1:]), os.strerror(int(data[1:])))
        return data, CREDENTIALS, flags, (0, 1)


class Line:
    """The two ends: ``ours`` for the watch, ``theirs`` for the test."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.netlink = FakeNetlink(fileno=ours.detach())
        self.ours = UeventSocket(sock=self.netlink)

    def close(self) -> None:
        """Close both ends."""
        self.ours.close()
        self.theirs.close()

    def send(self, *modaliases: str, action: str = "add") -> None:
        """Send an event for each modalias."""
        for modalias in modaliases:
            self.theirs.send(event(modalias, action))

    def fail(self, code: int) -> None:
        """Let one receive fail."""
        self.theirs.send(b"!%d" % code)


def event(modalias: str, action: str = "add") -> bytes:
    """Return the datagram of one event."""
    return f"{action}@/devices/x\0ACTION={action}\0DEVPATH=/devices/x\0MODALIAS={modalias}\0SEQNUM=1\0".encode()
