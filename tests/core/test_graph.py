"""Orders and cycles of dependencies."""

import pickle
from collections.abc import Callable, Iterable, Mapping

import pytest

from kmodkit.core.graph import find_cycles, hard_order, load_order
from kmodkit.errors import CycleError, DependencyError

Graph = Mapping[str, list[str]]


def edges(graph: Graph) -> Callable[[str], Iterable[str]]:
    """Return the function that the orders ask, for a graph where leaves need not be named."""
    return lambda name: graph.get(name, [])


def load(wanted: list[str], *, needs: Graph, before: Graph | None = None, after: Graph | None = None) -> list[str]:
    """Return the load order of a graph of three kinds of edges."""
    return load_order(wanted, edges(needs), edges(before or {}), edges(after or {}))


@pytest.mark.parametrize(
    ("graph", "wanted", "order"),
    [
        ({}, [], []),
        ({}, ["a"], ["a"]),
        ({"a": ["b"]}, ["a"], ["b", "a"]),
        ({"a": ["b", "c"], "b": ["c"]}, ["a"], ["c", "b", "a"]),
        ({"a": ["b", "c"]}, ["a"], ["b", "c", "a"]),
        ({"a": ["c"], "b": ["c"]}, ["a", "b"], ["c", "a", "b"]),
        ({"a": ["b"]}, ["b", "a"], ["b", "a"]),
        ({"a": ["b"]}, ["a", "a", "b"], ["b", "a"]),
        ({"a": ["b", "b"]}, ["a"], ["b", "a"]),
    ],
)
def test_what_is_needed_comes_first(graph: Graph, wanted: list[str], order: list[str]) -> None:
    """Each module stands once, behind all that it needs, in the order it was asked for."""
    assert hard_order(wanted, edges(graph)) == order
    assert load(wanted, needs=graph) == order


def test_what_is_done_is_left_out_with_what_only_it_leads_to() -> None:
    """Modules that are loaded already need nothing more."""
    graph = {"a": ["b", "c"], "b": ["d"], "c": []}
    assert hard_order(["a"], edges(graph), done={"b"}) == ["c", "a"]
    assert hard_order(["b"], edges(graph), done={"b"}) == []


@pytest.mark.parametrize(
    ("graph", "wanted", "cycle"),
    [
        ({"a": ["a"]}, "a", ("a", "a")),
        ({"a": ["b"], "b": ["a"]}, "a", ("a", "b", "a")),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, "x", ("a", "b", "c", "a")),
    ],
)
def test_a_hard_cycle_is_an_error_that_shows_it(graph: Graph, wanted: str, cycle: tuple[str, ...]) -> None:
    """The error names the members in order, the first one again at the end, without what led there."""
    for order in (hard_order, lambda names, needs: load_order(names, needs, edges({}), edges({}))):
        with pytest.raises(CycleError, match=" -> ".join(cycle)) as caught:
            order([wanted], edges(graph))
        assert caught.value.cycle == cycle
        assert isinstance(caught.value, DependencyError)
        assert pickle.loads(pickle.dumps(caught.value)).cycle == cycle  # noqa: S301 - our own bytes


def test_a_chain_of_100_000_is_followed() -> None:
    """No chain is too long: nothing here recurses."""
    chain = {str(i): [str(i + 1)] for i in range(100_000)}
    expected = [str(i) for i in range(100_000, -1, -1)]
    assert hard_order(["0"], edges(chain)) == expected
    assert load(["0"], needs=chain) == expected
    assert list(find_cycles(chain)) == []


def test_a_soft_chain_of_20_000_is_followed() -> None:
    """Neither do soft dependencies recurse."""
    chain = {str(i): [str(i + 1)] for i in range(20_000)}
    assert load(["0"], needs={}, before=chain) == [str(i) for i in range(20_000, -1, -1)]
    assert load(["0"], needs={}, after=chain) == [str(i) for i in range(20_001)]


def test_soft_dependencies_come_before_and_after() -> None:
    """pre: goes before the module and behind what it needs itself, post: behind the module."""
    order = load(["a"], needs={"a": ["b"], "p": ["q"]}, before={"a": ["p"]}, after={"a": ["z"]})
    assert order == ["b", "q", "p", "a", "z"]


def test_soft_dependencies_of_what_is_needed_count_too() -> None:
    """A dependency's own soft dependencies are followed."""
    order = load(["a"], needs={"a": ["b"]}, before={"b": ["p"]}, after={"b": ["z"]})
    assert order == ["p", "b", "z", "a"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": ["b"], "b": ["a"]}, {}),
        ({}, {"a": ["b"], "b": ["a"]}),
        ({"a": ["a"]}, {"a": ["a"]}),
        ({"a": ["b"]}, {"a": ["b"]}),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, {"c": ["b"]}),
    ],
)
def test_soft_cycles_are_tolerated(before: Graph, after: Graph) -> None:
    """Wishes that run in circles are granted as far as they go; each module still comes once."""
    order = load(["a"], needs={}, before=before, after=after)
    assert len(order) == len(set(order))
    assert set(order) >= {"a"}
    assert set(order) == {"a"} | {name for graph in (before, after) for names in graph.values() for name in names}


def test_a_soft_dependency_that_needs_the_asker_comes_behind_it() -> None:
    """A "pre: b" of a module that b itself needs cannot be had before, so b is loaded after."""
    assert load(["a"], needs={"b": ["a"]}, before={"a": ["b"]}) == ["a", "b"]


def test_a_soft_dependency_that_needs_the_asker_through_others_comes_behind_it() -> None:
    """The same over a longer way, and with other modules waiting."""
    order = load(["x"], needs={"x": ["a"], "b": ["c"], "c": ["a"]}, before={"a": ["b"]})
    assert order == ["a", "x", "c", "b"]
    assert order.index("a") < order.index("c") < order.index("b")


def test_every_cycle_is_broken_by_what_is_found() -> None:
    """Without the last step of each cycle that was found, none is left."""
    graph = {"a": ["b", "c"], "b": ["a"], "c": ["d", "c"], "d": ["a", "nothing"]}
    cycles = list(find_cycles(graph))
    assert set(cycles) == {("a", "b", "a"), ("a", "c", "d", "a"), ("c", "c")}
    left = {
        name: [need for need in needs if (name, need) not in {c[-2:] for c in cycles}]
        for name, needs in graph.items()
    }
    assert list(find_cycles(left)) == []


def test_diamonds_are_no_cycles() -> None:
    """Two ways to the same module lead nowhere back."""
    assert list(find_cycles({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []})) == []
