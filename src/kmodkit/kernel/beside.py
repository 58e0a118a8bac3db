"""Work in a second process: what is all Python gains nothing from threads.

A forked child inherits everything as it is and sends back bytes; a pipe and a length for each piece are cheap
where pickling thousands of objects would cost what the second processor brings.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from itertools import islice

from kmodkit.core.packing import pack, unpack

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Final, TypeVar

    T = TypeVar("T")


MANY: Final = 400
"""Modules that take as long to read as a second process to start."""


def can_fork() -> bool:
    """Return whether a second process is of use, and forking safe."""
    return len(os.sched_getaffinity(0)) > 1 and threading.active_count() == 1 and sys.gettrace() is None


def spread(
    items: Sequence[T], read: Callable[[T], Sequence[bytes] | None], width: int, jobs: int
) -> list[Sequence[bytes] | None]:
    """Return what ``read`` gives for each of ``items``, found by ``jobs`` processes.

    That is ``width`` pieces, or None where an item cannot be read: why, the caller finds out by reading it again.
    """

    def share(number: int) -> list[bytes]:
        found = [read(item) for item in items[number::jobs]]
        flags = bytes([pieces is not None for pieces in found])
        return [flags, *[piece for pieces in found if pieces is not None for piece in pieces]]

    found: list[Sequence[bytes] | None] = [None] * len(items)
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(beside(functools.partial(share, number))) for number in range(1, jobs)]
        found[0::jobs] = map(read, items[0::jobs])
        for number, result in enumerate(others, 1):
            flags, *pieces = result()
            rest = iter(pieces)
            found[number::jobs] = [tuple(islice(rest, width)) if good else None for good in flags]
    return found


@contextlib.contextmanager
def beside(work: Callable[[], Sequence[bytes]]) -> Iterator[Callable[[], Sequence[bytes]]]:
    """Begin ``work`` in a child process and give a function that waits for what it returned.

    It is done here instead, when that function is called, where there is one processor, where other threads run,
    whose locks a fork would copy, and where the child fails for any reason: an error then comes from here. The
    child is gone when the block ends.
    """
    if not can_fork():
        yield work
        return
    receive, send = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(receive)
        os.close(send)
        yield work
        return
    if child == 0:
        _run(work, send)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        ended = False

        def result() -> Sequence[bytes]:
            nonlocal ended
            data = pipe.read()
            _, status = os.waitpid(child, 0)
            ended = True
            return unpack(data) if status == 0 else work()

        try:
            yield result
        finally:
            if not ended:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def _run(work: Callable[[], Sequence[bytes]], send: int) -> None:
    """Send what ``work`` returns and end this process, whatever happens, without a word or any cleaning up."""
    status = 1
    try:
        pieces = work()
        with os.fdopen(send, "wb") as pipe:
            pipe.write(pack(pieces))
        status = 0
    finally:
        os._exit(status)
