"""What the tests of the Manager share: managers over fake kernels, and time that tests control."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kmodkit.manager import Manager
from kmodkit.testing import FakeKernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmodkit.core.catalog import Catalog
    from kmodkit.manager import Result

ROOT = "/lib/modules/6.1"
PATIENCE = 30.0
"""Seconds until a test that hangs is broken off; nothing waits for so long otherwise."""


class Clock:
    """Time that passes only by sleeping; ``on_sleep`` is called at each sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps = 0
        self.on_sleep: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        """Return the seconds that were slept."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.sleeps += 1
        self.on_sleep()


class Gate:
    """Holds every load that has a delay until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._opened = threading.Event()

    def sleep(self, seconds: float) -> None:
        """Stand in for time.sleep in the fake kernel."""
        if seconds:
            self.entered.set()
            assert self._opened.wait(PATIENCE)

    def open(self) -> None:
        """Let all loads end."""
        self._opened.set()


def managed(modules: Catalog, kernel: FakeKernel | None = None, **options: object) -> tuple[Manager, FakeKernel]:
    """Return a manager and the fake kernel it works on."""
    kernel = kernel or FakeKernel(modules)
    return Manager(modules, ROOT, kernel=kernel, **options), kernel  # type: ignore[arg-type]


def loaded(kernel: FakeKernel) -> list[str]:
    """Return the names of what is loaded, the first first."""
    return [module.name for module in reversed(kernel.loaded())]


def loads(kernel: FakeKernel) -> list[tuple[str, str]]:
    """Return each load the kernel was asked for, as name and parameters."""
    return [(name, params) for operation, name, params in kernel.calls if operation == "load"]


def outcomes(result: Result) -> dict[str, str]:
    """Return what became of each step, by the name of its module."""
    return {outcome.step.name: outcome.status for outcome in result.outcomes}
