"""Work on several threads that waits for other work."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from kmodkit.kernel.together import Answer, run_together

PATIENCE = 30.0


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_all_is_done_and_nothing_before_what_it_waits_for(jobs: int) -> None:
    """Each once, on no more threads than that, whatever they wait for."""
    rng = Random(jobs)
    before = {number: rng.sample(range(number), min(number, rng.randrange(4))) for number in range(60)}
    ended: list[int] = []
    threads: set[int] = set()
    results: dict[int, str] = {}

    def do(number: int) -> str:
        threads.add(threading.get_ident())
        assert set(ended) >= set(before[number])
        time.sleep(rng.random() / 1000)
        ended.append(number)
        return f"n{number}"

    run_together(before, do, results, jobs)
    assert sorted(ended) == list(range(60))
    assert results == {number: f"n{number}" for number in range(60)}
    assert len(threads) <= jobs


def test_what_does_not_wait_is_done_at_the_same_time() -> None:
    """Two meet, which one after the other they could not."""
    barrier = threading.Barrier(2)
    run_together({"a": [], "b": []}, lambda _: barrier.wait(PATIENCE), {}, 2)
    assert not barrier.broken


def test_nothing_to_do_is_done() -> None:
    """No thread is needed for it."""
    results: dict[str, int] = {}
    run_together({}, len, results, 4)
    assert results == {}


@pytest.mark.parametrize("here", [True, False])
def test_an_error_is_raised_here_once_the_others_have_ended(*, here: bool) -> None:
    """Whichever thread it comes from; and nothing is begun after it."""
    main = threading.get_ident()
    both = threading.Barrier(2)
    ended: list[str] = []

    def do(name: str) -> None:
        if name not in "ab":
            ended.append(name)
            return
        both.wait(PATIENCE)
        if (threading.get_ident() == main) is here:
            raise KeyError(name)
        time.sleep(0.05)
        ended.append(name)

    with pytest.raises(KeyError):
        run_together({"a": [], "b": [], "c": ["a"], "d": ["b"]}, do, {}, 2)
    assert len(ended) == 1 and ended[0] in "ab"


def test_an_answer_comes_to_all_who_wait_for_it() -> None:
    """And to those who ask later."""
    answer = Answer()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(answer.wait) for _ in range(4)]
        time.sleep(0.02)
        assert not any(one.done() for one in waiting)
        answer.give("it")
        assert [one.result(PATIENCE) for one in waiting] == ["it"] * 4
    assert answer.wait() == "it"
