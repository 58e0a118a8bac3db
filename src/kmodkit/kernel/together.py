"""Work on several threads, where some of it waits for other work.

Not with concurrent.futures, which brings logging along: that is a tenth of a coldplug's time at boot.
"""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, MutableMapping
    from typing import Any, TypeVar

    K = TypeVar("K")
    R = TypeVar("R")


class Answer:
    """What becomes of something under way, which other threads may wait for."""

    __slots__ = ("_done", "_value")

    def __init__(self) -> None:
        self._done = allocate_lock()
        self._done.acquire()

    def give(self, value: object) -> None:
        """Give the answer, once, to all who wait and will."""
        self._value = value
        self._done.release()

    def wait(self) -> Any:
        """Wait for the answer and return it."""
        with self._done:
            return self._value


def run_together(
    before: Mapping[K, Collection[K]], do: Callable[[K], R], results: MutableMapping[K, R], jobs: int
) -> None:
    """Do each of ``before`` once all that it names there has been done, on up to ``jobs`` threads with this one.

    ``before`` is in an order in which one thread could do all. What ``do`` returns is put into ``results`` at
    once. What it raises is raised here, after what others have begun has ended; nothing more is begun then.
    """
    from threading import Condition, Thread

    todo = list(before)
    changed = Condition()
    broken: list[BaseException] = []

    def following() -> K | None:
        with changed:
            while todo:
                for key in todo:
                    if results.keys() >= set(before[key]):
                        todo.remove(key)
                        return key
                changed.wait()
        return None

    def work() -> None:
        try:
            while (key := following()) is not None:
                result = do(key)
                with changed:
                    results[key] = result
                    changed.notify_all()
        except BaseException as error:
            with changed:
                broken.append(error)
                todo.clear()
                changed.notify_all()

    others = [Thread(target=work, name="kmodkit-load") for _ in range(min(jobs, len(todo)) - 1)]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if broken:
        raise broken[0]
