"""Devices: load what those that are there need (coldplug), and follow them as they come (watch)."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import threading
from collections import deque

from kmodkit.core.uevent import Uevent
from kmodkit.errors import KmodError, SyscallError
from kmodkit.kernel.uevents import read_modaliases
from kmodkit.manager import Result

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from dataclasses import dataclass
    from typing import Final, Literal, Self

    from kmodkit.kernel.netlink import UeventSocket
    from kmodkit.manager import Manager, Outcome

    Cause = Literal["coldplug", "event", "overrun", "rejected"]
else:
    from kmodkit.core.values import dataclass

    Cause = str

# "bind" too: a driver that binds may bring a MODALIAS of what it found.
_ACTIONS: Final = ("add", "bind")
_SYS: Final = "/sys"
_WORKERS: Final = 4
_LONGEST_BATCH: Final = 512
_MOST_EVENTS: Final = 1 << 16
_WAKE_READ: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Report:
    """What one round of looking at devices did.

    ``cause``: ``coldplug`` (all devices, at the start), ``event``, ``overrun`` (events were lost, so all devices
    again) or ``rejected`` (a datagram that was refused, or an error receiving).
    ``modaliases`` are those that were looked up, ``result`` what was loaded for them. ``reason`` says why
    something was rejected, or which error ended the round.
    """

    cause: Cause
    modaliases: tuple[str, ...] = ()
    result: Result = Result()
    reason: str = ""


def coldplug(manager: Manager, *, sys: str = _SYS) -> Result:
    """Load the modules of every device in sysfs, and of those that appear by loading them.

    Devices that a module finds only after its load has returned (USB, for one) are not waited for: `Watcher`
    follows them. Raises FileError where there is no sysfs.
    """
    seen: set[str] = set()
    outcomes: list[Outcome] = []
    seconds = 0.0
    with contextlib.ExitStack() as stack:
        # Opened before the first walk, so that no device falls in between.
        sock = _socket() if sys == _SYS else None
        if sock is not None:
            stack.callback(sock.close)
        new = _unseen(read_modaliases(sys), seen)
        # Each round that finds nothing new ends it, so a device can add no round for ever without a new modalias.
        while new:
            seen.update(new)
            result = manager.load_for_devices(new)
            outcomes += result.outcomes
            seconds += result.seconds
            if not result.changed:
                break
            # The kernel has said which devices these modules found: going over all of sysfs after each round took
            # a third of coldplug's time. Only where it has named none, that is done, to be sure.
            new = _unseen(_events(sock), seen) if sock is not None else []
            new = new or _unseen(read_modaliases(sys), seen)
    return Result(tuple(outcomes), seconds)


def _unseen(found: Iterable[tuple[str, str]], seen: Collection[str]) -> list[str]:
    return list(dict.fromkeys(alias for _, alias in found if alias not in seen))


def _socket() -> UeventSocket | None:
    """Return a socket for uevents, None where this process cannot have one."""
    from kmodkit.kernel.netlink import UeventSocket

    try:
        return UeventSocket()
    except SyscallError:
        return None


def _events(sock: UeventSocket) -> Iterator[tuple[str, str]]:
    """Yield the device path and each modalias of the events that have come."""
    from kmodkit.kernel.netlink import Rejected

    for _ in range(_MOST_EVENTS):
        received = sock.receive(0)
        # What is refused or lost, the next walk finds; an error that stays must not hold us up.
        if received is None or (isinstance(received, Rejected) and received.errno is not None):
            return
        if isinstance(received, Uevent) and received.action in _ACTIONS:
            yield from ((received.devpath, alias) for alias in received.modaliases)


class Watcher:
    """Loads the modules of every device, now and as devices come; iterating yields a `Report` for each round.

    The socket is bound before the devices that are there are looked at, so none falls in between. Modules load on
    threads of their own: one that takes long holds up neither the events nor the modules of other devices.
    Iterate it from one thread, as ``for`` or ``async for``, until `stop`, which any thread or signal handler may
    call.

    ``sock`` takes a socket already made. Without ``coldplug`` only what comes is followed.
    Raises SyscallError where the socket cannot be made.
    """

    def __init__(
        self, manager: Manager, *, sock: UeventSocket | None = None, sys: str = "/sys", coldplug: bool = True
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor  # brings logging along, of no use to a coldplug

        from kmodkit.kernel.netlink import UeventSocket

        self._manager = manager
        self._sys = sys
        self._sock = UeventSocket() if sock is None else sock
        # A pipe and no eventfd, for a signal's wake-up is one byte.
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="kmodkit-load")
        self._reports: deque[Report] = deque()
        # No Event: a signal handler must not take the lock that setting one needs.
        self._stopped = False
        self._failures = 0
        # Set while a walk over all devices is queued and has not begun: losing events twice asks for one walk.
        self._walk_queued = threading.Event()
        if coldplug:
            self._queue_walk("coldplug")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and wait for loads that are under way to end."""
        self.stop()
        self._pool.shutdown(cancel_futures=True)
        self._sock.close()
        ends = self._wake, self._waker
        self._wake = self._waker = -1
        for end in ends:
            if end >= 0:
                os.close(end)

    def stop(self) -> None:
        """End the iteration; safe in a signal handler (under asyncio, one of ``loop.add_signal_handler``)."""
        self._stopped = True
        self._wake_up()

    def __iter__(self) -> Iterator[Report]:
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        wake = select.poll()
        for one in (poll, wake):
            one.register(self._wake, select.POLLIN)
        while not self._stopped:
            self._wait(poll)
            yield from self._turn()
            if self._failures > 1:
                self._wait(wake, self._pause())
        yield from self._drain()

    async def __aiter__(self) -> AsyncIterator[Report]:
        import asyncio  # 60 ms, which those who watch with it have paid

        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        descriptors = (self._sock.fileno(), self._wake)
        for descriptor in descriptors:
            loop.add_reader(descriptor, ready.set)
        try:
            while not self._stopped:
                await ready.wait()
                ready.clear()
                for report in self._turn():
                    yield report
                if self._failures > 1:
                    await asyncio.sleep(self._pause())
        finally:
            for descriptor in descriptors:
                loop.remove_reader(descriptor)
        for report in self._drain():
            yield report

    def _wait(self, poll: select.poll, seconds: float | None = None) -> None:
        """Wait for what ``poll`` has, or a signal."""
        before = None
        if threading.current_thread() is threading.main_thread():
            # Python runs a handler only when the wait ends, and a signal just before it would not end it.
            before = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        try:
            poll.poll(None if seconds is None else seconds * 1000)
        finally:
            if before is not None:
                signal.set_wakeup_fd(before)

    def _turn(self) -> list[Report]:
        """Take what the socket has, start what it asks for, and return what has ended."""
        from kmodkit.kernel.netlink import Overrun, Rejected

        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, _WAKE_READ)
        modaliases: dict[str, None] = {}
        lost = False
        for _ in range(_LONGEST_BATCH):
            received = self._sock.receive(0)
            if received is None:
                self._failures = 0
                break
            failed = isinstance(received, Rejected) and received.errno is not None
            self._failures = self._failures + 1 if failed else 0
            if isinstance(received, Overrun):
                lost = True
            elif isinstance(received, Rejected):
                self._reports.append(Report("rejected", reason=received.reason))
                if failed:
                    break
            elif isinstance(received, Uevent) and received.action in _ACTIONS:
                modaliases.update(dict.fromkeys(received.modaliases))
        if lost:
            self._queue_walk("overrun")
        if modaliases:
            self._submit("event", self._load, list(modaliases))
        return list(self._drain())

    def _pause(self) -> float:
        """Return the seconds to wait after receiving failed again: an error that stays must not make us spin."""
        return float(min(0.01 * 2 ** min(self._failures, 10), 1.0))

    def _queue_walk(self, cause: Cause) -> None:
        if not self._walk_queued.is_set():
            self._walk_queued.set()
            self._submit(cause, self._walk)

    def _submit(self, cause: Cause, work: Callable[..., Report], *args: object) -> None:
        self._pool.submit(work, cause, *args).add_done_callback(functools.partial(self._note, cause))

    def _walk(self, cause: Cause) -> Report:
        self._walk_queued.clear()
        return self._load(cause, list(dict.fromkeys(alias for _, alias in read_modaliases(self._sys))))

    def _load(self, cause: Cause, modaliases: Sequence[str]) -> Report:
        return Report(cause, tuple(modaliases), self._manager.load_for_devices(modaliases))

    def _note(self, cause: Cause, future: Future[Report]) -> None:
        if not future.cancelled():
            error = future.exception()
            # An unforeseen error ends one round, never the watch.
            reason = str(error) if isinstance(error, KmodError) else repr(error)
            self._reports.append(Report(cause, reason=reason) if error else future.result())
            self._wake_up()

    def _drain(self) -> Iterator[Report]:
        while self._reports:
            yield self._reports.popleft()

    def _wake_up(self) -> None:
        if self._waker >= 0:
            # EAGAIN means that the pipe is full: it wakes up then, too.
            with contextlib.suppress(OSError):
                os.write(self._waker, b"\0")
