"""Devices: load what those that are there need (coldplug), and follow them as they come (watch)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

from kmodkit.core.uevent import Uevent
from kmodkit.kernel.netlink import Overrun, Rejected, UeventSocket
from kmodkit.kernel.uevents import read_modaliases
from kmodkit.manager import Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from kmodkit.manager import Manager, Outcome

# "bind" too: a driver that binds may bring a MODALIAS of what it found.
_ACTIONS: Final = ("add", "bind")
_WORKERS: Final = 4
_LONGEST_BATCH: Final = 512

Cause = Literal["coldplug", "event", "overrun", "rejected"]


@dataclass(frozen=True, slots=True)
class Report:
    """What one round of looking at devices did.

    ``cause``: ``coldplug`` (all devices, at the start), ``event``, ``overrun`` (events were lost, so all devices
    again) or ``rejected`` (a datagram that was refused, or an error receiving; ``reason`` says why).
    ``modaliases`` are those that were looked up, ``result`` what was loaded for them.
    """

    cause: Cause
    modaliases: tuple[str, ...] = ()
    result: Result = Result()  # noqa: RUF009 - frozen
    reason: str = ""


def coldplug(manager: Manager, *, sys: str = "/sys") -> Result:
    """Load the modules of every device in sysfs, and of those that appear by loading them.

    Devices that a module finds only after its load has returned (USB, for one) are not waited for: `Watcher`
    follows them. Raises FileError where there is no sysfs.
    """
    seen: set[str] = set()
    outcomes: list[Outcome] = []
    seconds = 0.0
    # Each round that finds nothing new ends it, so a device can add no round for ever without a new modalias.
    while new := [alias for _, alias in read_modaliases(sys) if alias not in seen]:
        seen.update(new)
        result = manager.load_for_devices(new)
        outcomes += result.outcomes
        seconds += result.seconds
        if not result.changed:
            break
    return Result(tuple(outcomes), seconds)


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
        self._manager = manager
        self._sys = sys
        self._sock = UeventSocket() if sock is None else sock
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="kmodkit-load")
        self._reports: deque[Report] = deque()
        self._stopped = threading.Event()
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
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    def stop(self) -> None:
        """End the iteration; safe in a signal handler."""
        self._stopped.set()
        self._wake_up()

    def __iter__(self) -> Iterator[Report]:
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self._stopped.is_set():
            poll.poll()
            yield from self._turn()
        yield from self._drain()

    async def __aiter__(self) -> AsyncIterator[Report]:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        descriptors = (self._sock.fileno(), self._wake)
        for descriptor in descriptors:
            loop.add_reader(descriptor, ready.set)
        try:
            while not self._stopped.is_set():
                await ready.wait()
                ready.clear()
                for report in self._turn():
                    yield report
        finally:
            for descriptor in descriptors:
                loop.remove_reader(descriptor)
        for report in self._drain():
            yield report

    def _turn(self) -> list[Report]:
        """Take what the socket has, start what it asks for, and return what has ended."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        modaliases: dict[str, None] = {}
        for _ in range(_LONGEST_BATCH):
            received = self._sock.receive(0)
            if received is None:
                break
            if isinstance(received, Overrun):
                self._queue_walk("overrun")
            elif isinstance(received, Rejected):
                self._reports.append(Report("rejected", reason=received.reason))
            elif isinstance(received, Uevent) and received.action in _ACTIONS:
                modaliases.update(dict.fromkeys(received.modaliases))
        if modaliases:
            self._pool.submit(self._load, "event", list(modaliases)).add_done_callback(self._note)
        return list(self._drain())

    def _queue_walk(self, cause: Cause) -> None:
        if not self._walk_queued.is_set():
            self._walk_queued.set()
            self._pool.submit(self._walk, cause).add_done_callback(self._note)

    def _walk(self, cause: Cause) -> Report:
        self._walk_queued.clear()
        return self._load(cause, list(dict.fromkeys(alias for _, alias in read_modaliases(self._sys))))

    def _load(self, cause: Cause, modaliases: Sequence[str]) -> Report:
        return Report(cause, tuple(modaliases), self._manager.load_for_devices(modaliases))

    def _note(self, future: Future[Report]) -> None:
        if not future.cancelled():
            error = future.exception()
            # An unforeseen error ends one round, never the watch.
            self._reports.append(Report("rejected", reason=str(error)) if error else future.result())
            self._wake_up()

    def _drain(self) -> Iterator[Report]:
        while self._reports:
            yield self._reports.popleft()

    def _wake_up(self) -> None:
        if self._wake >= 0:
            with contextlib.suppress(OSError):
                os.eventfd_write(self._wake, 1)
