"""Timing: medians of whole rounds, lookups on one core."""

from __future__ import annotations

import os
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result: a median of ours, and of what it is compared with where there is such a thing."""

    name: str
    unit: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    note: str = ""
    target: float | None = None
    """The ratio, or where there is no peer the value of ours, that is aimed at or better."""

    @property
    def passed(self) -> bool | None:
        """Whether the target is met, None where there is none."""
        reached = self.ratio if self.peer else self.ours
        return None if self.target is None or reached is None else reached <= self.target

    @property
    def ratio(self) -> float | None:
        """Ours for one of the peer's: below 1 is less time or less space than theirs."""
        return self.ours / self.peer if self.peer else None


def seconds(function: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def median_seconds(function: Callable[[], object], rounds: int) -> float:
    """Return the median over ``rounds`` calls."""
    return statistics.median(seconds(function) for _ in range(rounds))


def medians(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median of each of ``functions``, which take turns: other work on the machine falls on all."""
    taken = [[seconds(function) for function in functions] for _ in range(rounds)]
    return [statistics.median(each) for each in zip(*taken, strict=True)]


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and those it starts, on one core: moving costs more than a lookup."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
