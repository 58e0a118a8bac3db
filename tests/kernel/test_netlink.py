"""The uevent socket, over fakes of a netlink socket and, where the system has one, over a real one."""

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from kmodkit.core.uevent import Uevent
from kmodkit.errors import SyscallError
from kmodkit.kernel import netlink
from kmodkit.kernel.netlink import Overrun, Rejected, UeventSocket, judge

EVENT = b"add@/devices/pci0/0:1\0ACTION=add\0SUBSYSTEM=pci\0MODALIAS=pci:v1\0SEQNUM=7\0"
KERNEL = (0, 1)


def credentials(uid: int) -> list[tuple[int, int, bytes]]:
    """Return ancillary data with the credentials of process 0 of ``uid``."""
    return [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("=iII", 0, uid, 0))]


ROOT = credentials(0)


def test_a_datagram_of_the_kernel_is_an_event() -> None:
    """Port 0 with the credentials of uid 0 is the kernel."""
    event = judge(EVENT, ROOT, 0, KERNEL)
    assert isinstance(event, Uevent)
    assert (event.action, event.modalias, event.seqnum) == ("add", "pci:v1", 7)


@pytest.mark.parametrize(
    ("data", "ancillary", "flags", "sender", "reason"),
    [
        (EVENT, ROOT, socket.MSG_TRUNC, KERNEL, "longer than"),
        (EVENT, ROOT, 0, (4711, 1), "port 4711"),
        (EVENT, ROOT, 0, None, "port None"),
        (EVENT, [], 0, KERNEL, "without credentials"),
        (EVENT, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"\0" * 12)], 0, KERNEL, "without credentials"),
        (
            EVENT,
            [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, b"\0")],
            socket.MSG_CTRUNC,
            KERNEL,
            "without cred",
        ),
        (EVENT, credentials(1000), 0, KERNEL, "uid 1000"),
        (EVENT[:-1], ROOT, 0, KERNEL, "cut off"),
        (b"", ROOT, 0, KERNEL, "action@/devpath"),
        (b"libudev\0\xfe\xed\xca\xfe", ROOT, 0, KERNEL, "udev's own format"),
    ],
)
def test_anything_else_is_rejected_with_its_reason(
    data: bytes, ancillary: list[tuple[int, int, bytes]], flags: int, sender: Any, reason: str
) -> None:
    """A truncated, forged or malformed datagram is no event, and the reason says which."""
    refused = judge(data, ancillary, flags, sender)
    assert isinstance(refused, Rejected)
    assert reason in refused.reason
    assert refused.errno is None


class ScriptedSocket(socket.socket):
    """A socket whose recvmsg gives what the test put in ``script`` first, then what the socket has."""

    script: list[bytes | OSError]

    def recvmsg(self, *sizes: int) -> Any:
        """Return or raise the next of the script, else receive as if from the kernel."""
        if self.script:
            step = self.script.pop(0)
            if isinstance(step, OSError):
                raise step
            return step, ROOT, 0, KERNEL
        data, ancillary, flags, _ = super().recvmsg(*sizes)
        return data, ancillary, flags, KERNEL


@pytest.fixture
def pair() -> Iterator[tuple[ScriptedSocket, socket.socket]]:
    """Give two ends of a datagram socket, the first passing credentials as a netlink socket does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    fake = ScriptedSocket(fileno=ours.detach())
    fake.script = []
    fake.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with fake, theirs:
        yield fake, theirs


Pair = tuple[ScriptedSocket, socket.socket]


def test_datagrams_come_one_by_one_with_real_credentials(pair: Pair) -> None:
    """What a process sends is an event only if that process is root's."""
    ours, theirs = pair
    with UeventSocket(sock=ours) as events:
        theirs.send(EVENT)
        theirs.send(EVENT.replace(b"=7", b"=8"))
        received = [events.receive(1), events.receive(1)]
    if os.geteuid() == 0:
        assert [event.seqnum for event in received if isinstance(event, Uevent)] == [7, 8]
    else:
        assert all(isinstance(event, Rejected) and "uid" in event.reason for event in received)


def test_a_datagram_longer_than_any_of_the_kernel_is_rejected(pair: Pair) -> None:
    """The kernel cuts off what does not fit, and half an event is none."""
    ours, theirs = pair
    with UeventSocket(sock=ours) as events:
        theirs.send(EVENT + b"A=" + b"x" * (1 << 15) + b"\0")
        refused = events.receive(1)
    assert isinstance(refused, Rejected)
    assert "longer than" in refused.reason


def test_nothing_within_the_timeout_is_none(pair: Pair) -> None:
    """A timeout ends the wait, and 0 does not wait at all."""
    with UeventSocket(sock=pair[0]) as events:
        start = time.monotonic()
        assert events.receive(0) is None
        assert events.receive(-1) is None
        assert events.receive(0.05) is None
        assert 0.05 <= time.monotonic() - start < 5


def test_a_wait_without_end_ends_with_an_event(pair: Pair) -> None:
    """No timeout, or an infinite one, waits until something comes."""
    ours, theirs = pair
    with UeventSocket(sock=ours) as events:
        for timeout in (None, float("inf")):
            timer = threading.Timer(0.05, theirs.send, [EVENT])
            timer.start()
            assert events.receive(timeout) is not None
            timer.join()


def test_lost_events_are_an_overrun(pair: Pair) -> None:
    """ENOBUFS says that events were lost, and the next ones still come."""
    ours, _ = pair
    ours.script = [OSError(errno.ENOBUFS, "No buffer space available"), EVENT]
    with UeventSocket(sock=ours) as events:
        assert events.receive(0) == Overrun()
        assert isinstance(events.receive(0), Uevent)


def test_any_other_receive_error_is_reported_and_ends_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each error comes as a value with its number, and the loop goes on to the events behind it."""
    ours, _ = pair
    failure = OSError(errno.ENOMEM, "Cannot allocate memory")
    ours.script = [failure, EVENT, b"junk", failure, failure, failure, EVENT]
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    with UeventSocket(sock=ours) as events:
        received = list(islice(events, 7))
    failed = Rejected("receiving failed: Cannot allocate memory", errno.ENOMEM)
    assert [type(item) for item in received[1:3]] == [Uevent, Rejected]
    assert [received[0], *received[3:6]] == [failed] * 4
    assert isinstance(received[6], Uevent)
    # An error that stays is waited out, longer each time; one alone is not.
    assert naps == sorted(naps)
    assert len(naps) == 2


def test_iterating_ends_with_the_socket(pair: Pair) -> None:
    """After close there are no more events, and receiving says so."""
    ours, _ = pair
    ours.script = [EVENT] * 3
    events = UeventSocket(sock=ours)
    seen = 0
    for _event in events:
        seen += 1
        if seen == 2:
            events.close()
    assert seen == 2
    assert events.fileno() == -1
    with pytest.raises(SyscallError) as caught:
        events.receive(0)
    assert caught.value.errno == errno.EBADF


def test_the_receive_buffer_is_raised_but_never_shrunk(pair: Pair) -> None:
    """The size asked for is a lower bound, as far as the system allows it."""
    ours, theirs = pair
    before = ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert UeventSocket(sock=ours, buffer_size=1).buffer_size == before
    assert UeventSocket(sock=ours, buffer_size=before).buffer_size >= before
    assert theirs.fileno() >= 0


def test_without_privileges_the_ordinary_option_is_used(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the buffer may not be forced beyond the system's limit, it is asked for within it."""
    ours, _ = pair
    asked: list[int] = []

    def setsockopt(_self: socket.socket, _level: int, option: int, _value: int) -> None:
        asked.append(option)
        if option == netlink._SO_RCVBUFFORCE:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(ScriptedSocket, "setsockopt", setsockopt, raising=False)
    with UeventSocket(sock=ours, buffer_size=1 << 30) as events:
        assert events.receive(0) is None
    assert asked[-1] == socket.SO_RCVBUF


def test_a_socket_that_cannot_be_made_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without netlink is a SyscallError with its number."""

    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(SyscallError) as caught:
        UeventSocket()
    assert caught.value.errno == errno.EAFNOSUPPORT


@pytest.fixture
def real() -> Iterator[UeventSocket]:
    """Give a real uevent socket, where this system lets us have one."""
    try:
        events = UeventSocket(buffer_size=1 << 16)
    except SyscallError as error:
        pytest.skip(f"no uevent socket here: {error}")
    with events:
        yield events


def test_a_forged_datagram_on_a_real_socket_is_rejected(real: UeventSocket) -> None:
    """Root may send to a netlink socket too, but from a port that is not the kernel's."""
    # Bound by the kernel to a port of its choice, which getsockname tells.
    with socket.socket(fileno=os.dup(real.fileno())) as same:
        port = same.getsockname()[0]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as forger:
        try:
            forger.sendto(EVENT.replace(b"pci0", b"forged"), (port, 0))
        except PermissionError:
            pytest.skip("only root may send here")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        # Real events of this machine may come in between.
        received = real.receive(1)
        assert not (isinstance(received, Uevent) and "forged" in received.devpath)
        if isinstance(received, Rejected):
            assert "not from the kernel" in received.reason
            return
    pytest.fail("the forged datagram did not arrive")
