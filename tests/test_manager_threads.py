"""The Manager asked by many threads, and loading several modules at once."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from kmodkit.kernel.together import Answer
from kmodkit.manager import Manager, Result
from kmodkit.testing import FakeKernel, fake_kernel
from tests.catalogs import catalog, module, network
from tests.managers import PATIENCE, ROOT, Gate, loaded, loads, managed, outcomes

if TYPE_CHECKING:
    from typing import Any

    from kmodkit.core.catalog import Catalog


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Give the fake kernel a gate in place of delays."""
    gate = Gate()
    monkeypatch.setattr(fake_kernel, "time", gate)
    return gate


def independent(count: int) -> Catalog:
    """Return modules that need nothing of each other."""
    return catalog(*(module(f"m{number}", aliases="dev:*") for number in range(count)))


@pytest.mark.parametrize("jobs", [2, 4])
def test_independent_modules_load_at_the_same_time(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are jobs, and no more."""
    barrier = threading.Barrier(jobs)
    monkeypatch.setattr(fake_kernel, "time", SimpleNamespace(sleep=lambda _: barrier.wait(PATIENCE)))
    manager, kernel = managed(independent(4), jobs=jobs)
    assert manager.load_for_device("dev:1").ok
    assert kernel.most_at_once == jobs


def test_one_job_loads_one_after_the_other() -> None:
    """In the plan's order."""
    manager, kernel = managed(independent(5), jobs=1)
    manager.load_for_device("dev:1")
    assert kernel.most_at_once == 1
    assert loaded(kernel) == ["m0", "m1", "m2", "m3", "m4"]


def test_a_slow_module_holds_up_only_what_needs_it(gate: Gate) -> None:
    """Another thread loads and unloads other modules meanwhile."""
    manager, kernel = managed(network(), FakeKernel(network(), delays={"ptp": 1}))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(manager.load, "e1000e")
        assert gate.entered.wait(PATIENCE)
        assert manager.load("r8169").ok
        manager.unload("r8169")
        assert not slow.done()
        assert kernel.initstate("ptp") == "coming"
        gate.open()
        assert slow.result(PATIENCE).changed == ("ptp", "e1000e")


class WatchedAnswer(Answer):
    """An answer that says when somebody waits for it."""

    waited_for = threading.Event()

    def wait(self) -> Any:
        """Say so, and wait."""
        self.waited_for.set()
        return super().wait()


@pytest.mark.parametrize(("code", "second"), [(0, "already"), (errno.ENODEV, "failed")])
def test_two_threads_that_ask_for_one_module_get_one_load(
    code: int, second: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first, and has its answer, good or bad."""
    monkeypatch.setattr(WatchedAnswer, "waited_for", threading.Event())
    monkeypatch.setattr("kmodkit.manager.Answer", WatchedAnswer)
    manager, kernel = managed(network(), FakeKernel(errors={"ptp": [code]}, delays={"ptp": 1}))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(manager.execute, manager.plan("ptp"))
        assert gate.entered.wait(PATIENCE)
        later = pool.submit(manager.execute, manager.plan("ptp", "debug=1"))
        assert WatchedAnswer.waited_for.wait(PATIENCE)
        gate.open()
        one, two = first.result(PATIENCE), later.result(PATIENCE)
    assert loads(kernel) == [("ptp", "")]
    assert outcomes(one) == {"ptp": "failed" if code else "done"}
    assert outcomes(two) == {"ptp": second}
    assert one.failures == two.failures


def wide(count: int = 12) -> Catalog:
    """Return modules of which each needs the two below it, so that all sets overlap."""
    return catalog(
        *(
            module(f"m{number}", " ".join(f"m{need}" for need in (number - 1, number - 2) if need >= 0))
            for number in range(count)
        )
    )


@pytest.mark.parametrize("managers", [1, 4])
def test_nothing_is_loaded_twice_by_many_threads(managers: int) -> None:
    """Threads that ask for overlapping sets all succeed, through one manager or, as processes do, several."""
    modules = wide()
    kernel = FakeKernel(modules)
    used = [Manager(modules, ROOT, kernel=kernel, jobs=3) for _ in range(managers)]
    barrier = threading.Barrier(8)

    def ask(number: int) -> list[Result]:
        barrier.wait(PATIENCE)
        return [used[number % managers].load(f"m{(number * 5 + turn * 7) % 12}") for turn in range(6)]

    with ThreadPoolExecutor(8) as pool:
        results = [result for some in pool.map(ask, range(8)) for result in some]
    done = Counter(name for result in results for name in result.changed)
    assert done == {f"m{number}": 1 for number in range(12)}
    assert all(result.ok for result in results)
    if managers == 1:
        assert Counter(name for name, _ in loads(kernel)) == done
