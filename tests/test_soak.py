"""Ten thousand loads and unloads by sixteen threads, with a kernel that fails at random."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal

from kmodkit import manager as manager_module
from kmodkit.errors import KmodError, LoadError, UnloadError
from kmodkit.kernel.syscalls import ModuleFlags
from kmodkit.manager import Manager, Result
from kmodkit.testing import FakeKernel
from tests.catalogs import catalog, module
from tests.managers import PATIENCE, ROOT

if TYPE_CHECKING:
    import pytest

    from kmodkit.core.catalog import Catalog

THREADS = 16
CYCLES = 10_000
SHARED = 10
FAILING = 0.03
LOAD_ERRORS = (errno.ENODEV, errno.ENOMEM, errno.EBUSY, errno.ENOEXEC)
UNLOAD_ERRORS = (errno.EBUSY, errno.EAGAIN)


def soak_catalog() -> Catalog:
    """Return modules that all threads use, and one for each thread that nobody else asks for."""
    shared = [
        module(f"s{n}", f"s{n // 2}" if n else "", pre=f"s{SHARED - 1}" if n == SHARED // 2 else "")
        for n in range(SHARED)
    ]
    return catalog(*shared, *(module(f"own{n}", f"s{n % SHARED}", post="s1") for n in range(THREADS)))


class CountingKernel(FakeKernel):
    """A fake kernel that fails at random and counts what it did."""

    def __init__(self, modules: Catalog, seed: int) -> None:
        chance = random.Random(seed)

        def fail(operation: str, _: str) -> int:
            if chance.random() >= FAILING:
                return 0
            return chance.choice(LOAD_ERRORS if operation == "load" else UNLOAD_ERRORS)

        super().__init__(modules, fail=fail)
        self.modules = modules
        self._counting = threading.Lock()
        self.succeeded: Counter[tuple[str, str]] = Counter()

    def load(self, path: str, params: str = "", flags: ModuleFlags = ModuleFlags.NONE) -> None:
        """Load and count."""
        super().load(path, params, flags)
        self._count("load", path.rpartition("/")[2].removesuffix(".ko"))

    def unload(self, name: str) -> None:
        """Unload and count."""
        super().unload(name)
        self._count("unload", name)

    def _count(self, operation: str, name: str) -> None:
        with self._counting:
            self.succeeded[operation, name] += 1

    def check(self) -> None:
        """Check that everything that is loaded has all that it needs."""
        with self._lock:
            live = set(self._states)
        for name in live:
            assert live >= set(self.modules[name].depends)


class Worker:
    """One thread's work: its own module comes and goes, and others in between."""

    def __init__(self, number: int, manager: Manager, kernel: CountingKernel) -> None:
        self.done: Counter[tuple[str, str]] = Counter()
        self.failures = 0
        self._own = f"own{number}"
        self._chance = random.Random(number)
        self._manager = manager
        self._kernel = kernel

    def run(self, cycles: int) -> Worker:
        """Load and unload, and look at the state after each."""
        for _ in range(cycles):
            name = self._own if self._chance.random() < 0.5 else f"s{self._chance.randrange(SHARED)}"
            result = self._manager.execute(self._manager.plan(name))
            self._take(result)
            if name == self._own:
                assert self._manager.is_loaded(name) == result.ok
            self._kernel.check()
            self._unload(name)
            self._kernel.check()
        return self

    def _unload(self, name: str) -> None:
        unused = self._chance.random() < 0.3
        there: bool | Literal["unknown"] = "unknown"
        try:
            self._take(self._manager.unload(name, unused=unused))
            there = False
        except UnloadError as error:
            self.failures += 1
            if error.module == name:
                # The kernel refused it, or it never was there; a dependency that stays is another matter.
                there = error.errno is not None
        if name == self._own and there != "unknown":
            assert self._manager.is_loaded(name) == there

    def _take(self, result: Result) -> None:
        bad: set[str] = set()
        for outcome in result.outcomes:
            step = outcome.step
            if outcome.status == "done":
                self.done[step.action, step.name] += 1
            if outcome.ok:
                assert outcome.error is None
                assert step.action == "unload" or self._kernel.succeeded["load", step.name]
            else:
                assert isinstance(outcome.error, KmodError)
                assert outcome.status == "failed" or bad.intersection(step.needs)
                bad.add(step.name)
        self.failures += len(result.failures)
        assert all(isinstance(error, LoadError) for error in result.failures)


def test_state_stays_true_over_ten_thousand_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reported as done was done, once; what is loaded has what it needs; nothing hangs."""
    monkeypatch.setattr(
        manager_module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: time.sleep(0))
    )
    modules = soak_catalog()
    kernel = CountingKernel(modules, seed=1)
    managers = [Manager(modules, ROOT, kernel=kernel, jobs=jobs) for jobs in (1, 2)]
    workers = [Worker(number, managers[number % len(managers)], kernel) for number in range(THREADS)]
    done: Counter[tuple[str, str]] = Counter()
    with ThreadPoolExecutor(THREADS) as pool:
        for worker in pool.map(lambda worker: worker.run(CYCLES // THREADS), workers, timeout=4 * PATIENCE):
            done += worker.done
    # A module that an unload of others' dependencies took away counts there; both sides have to agree in the end.
    loads = Counter({name: count for (operation, name), count in kernel.succeeded.items() if operation == "load"})
    unloads = Counter(
        {name: count for (operation, name), count in kernel.succeeded.items() if operation != "load"}
    )
    assert {key: count for key, count in done.items() if key[0] == "load"} == {
        ("load", name): count for name, count in loads.items()
    }
    assert loads - unloads == Counter(one.name for one in kernel.loaded())
    assert all(count <= loads[name] for name, count in unloads.items())
    # The errors did come, and came through.
    assert sum(worker.failures for worker in workers) > CYCLES * FAILING / 2
