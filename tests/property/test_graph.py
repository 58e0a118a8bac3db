"""Whatever the dependencies, an order to load in is right or the circle is shown, and plans do what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.graph import find_cycles, hard_order, load_order
from kmodkit.core.plan import plan_load
from kmodkit.errors import CycleError
from kmodkit.manager import Manager
from kmodkit.testing import FakeKernel
from tests.catalogs import catalog, module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kmodkit.core.catalog import Catalog

NAMES = [f"m{number}" for number in range(9)]
Graph = dict[str, list[str]]

WANTED = st.lists(st.sampled_from(NAMES), max_size=4)
SETS = st.lists(st.sampled_from(NAMES), max_size=3, unique=True)
GRAPH: st.SearchStrategy[Graph] = st.fixed_dictionaries(dict.fromkeys(NAMES, SETS))
# Each name needs only later ones, so that there are no circles.
ACYCLIC: st.SearchStrategy[Graph] = st.fixed_dictionaries(
    {
        name: st.lists(st.sampled_from(NAMES[number + 1 :]), max_size=3, unique=True)
        if NAMES[number + 1 :]
        else st.just([])
        for number, name in enumerate(NAMES)
    }
)
MOSTLY_ACYCLIC = GRAPH | ACYCLIC


def reachable(wanted: Iterable[str], *graphs: Mapping[str, list[str]]) -> set[str]:
    """Return all names that edges of any graph lead to, the wanted ones included."""
    found: set[str] = set()
    pending = list(wanted)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += [other for graph in graphs for other in graph[name]]
    return found


def circular(names: Iterable[str], needs: Graph) -> bool:
    """Return whether one of the names needs itself in the end."""
    return any(name in reachable(needs[name], needs) for name in names)


@given(WANTED, MOSTLY_ACYCLIC, GRAPH, GRAPH)
def test_a_load_order_is_right_or_shows_a_circle(
    wanted: list[str], needs: Graph, before: Graph, after: Graph
) -> None:
    """All that is reachable, each once, behind what it needs; a CycleError exactly where hard edges circle."""
    everything = reachable(wanted, needs, before, after)
    try:
        order = load_order(wanted, needs.__getitem__, before.__getitem__, after.__getitem__)
    except CycleError as error:
        assert circular(everything, needs)
        assert error.cycle[0] == error.cycle[-1]
        assert all(need in needs[name] for name, need in zip(error.cycle, error.cycle[1:], strict=False))
        return
    assert not circular(everything, needs)
    assert len(order) == len(set(order))
    assert set(order) == everything
    place = {name: position for position, name in enumerate(order)}
    assert all(place[need] < place[name] for name in order for need in needs[name])


@given(WANTED, ACYCLIC, ACYCLIC)
def test_wishes_that_contradict_nothing_are_granted(wanted: list[str], needs: Graph, before: Graph) -> None:
    """Where hard and soft edges together have no circle, what is wished for before a module comes before it."""
    order = load_order(wanted, needs.__getitem__, before.__getitem__, lambda _: [])
    place = {name: position for position, name in enumerate(order)}
    assert all(place[other] < place[name] for name in order for other in before[name])


@given(WANTED, MOSTLY_ACYCLIC, st.sets(st.sampled_from(NAMES)))
def test_what_is_done_is_left_out(wanted: list[str], needs: Graph, done: set[str]) -> None:
    """With what only it leads to; circles behind it do not matter."""
    open_needs = {name: [need for need in found if need not in done] for name, found in needs.items()}
    try:
        order = hard_order(wanted, needs.__getitem__, done=done)
    except CycleError:
        assert circular(reachable(set(wanted) - done, open_needs), open_needs)
    else:
        assert set(order) == reachable(set(wanted) - done, open_needs)


@given(GRAPH)
def test_without_the_circles_found_none_is_left(needs: Graph) -> None:
    """And none is found where there is none."""
    cycles = list(find_cycles(needs))
    assert bool(cycles) == circular(needs, needs)
    broken = {cycle[-2:] for cycle in cycles}
    left = {name: [need for need in found if (name, need) not in broken] for name, found in needs.items()}
    assert not circular(left, left)


@st.composite
def catalogs(draw: Callable[[st.SearchStrategy[Graph]], Graph], circles: bool = False) -> Catalog:
    """Return a catalog of random dependencies; a few modules are built in."""
    needs = draw(GRAPH if circles else ACYCLIC)
    before, after, builtin = draw(GRAPH), draw(GRAPH), draw(GRAPH)
    return catalog(
        *(
            module(
                name,
                "" if len(builtin[name]) == 3 else " ".join(needs[name]),
                pre=" ".join(before[name]),
                post=" ".join(after[name]),
                builtin=len(builtin[name]) == 3,
            )
            for name in NAMES
        )
    )


@given(catalogs(circles=True) | catalogs(), WANTED, st.sets(st.sampled_from(NAMES)))
def test_a_plan_can_be_done_step_by_step(modules: Catalog, wanted: list[str], loaded: set[str]) -> None:
    """Each step stands behind all that it waits for, none is there already, and nothing required is missing."""
    try:
        plan = plan_load(modules, wanted, loaded)
    except CycleError as error:
        assert loaded.isdisjoint(error.cycle)
        return
    there = loaded | {one.name for one in modules if one.builtin}
    seen: set[str] = set()
    for step in plan:
        assert step.name not in there | seen
        assert {*step.needs, *step.follows} <= seen
        assert set(modules[step.name].depends) <= there | seen
        seen.add(step.name)
    assert set(wanted) <= there | seen
    assert {step.name for step in plan if step.required} >= set(wanted) - there


@given(catalogs(), WANTED.filter(bool), st.sampled_from([1, 3]))
def test_what_is_wanted_is_loaded_where_nothing_fails(modules: Catalog, wanted: list[str], jobs: int) -> None:
    """Then nothing is left to do, and unloading one by one, with all that uses it, leaves nothing behind."""
    kernel = FakeKernel(modules)
    manager = Manager(modules, "/lib/modules/6.1", kernel=kernel, jobs=jobs)
    for name in wanted:
        assert manager.load(name).ok
        assert manager.is_loaded(name)
        assert not manager.plan(name)
    while loaded := kernel.loaded():
        assert manager.unload(loaded[-1].name, remove_holders=True, unused=True).ok
