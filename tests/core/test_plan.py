"""Plans: what loading or unloading would do."""

import pickle
from collections.abc import Collection, Mapping

import pytest

from kmodkit.core.catalog import Catalog
from kmodkit.core.plan import Plan, Step, plan_load, plan_unload
from kmodkit.core.procmodules import LoadedModule
from kmodkit.errors import (
    CycleError,
    ModuleInUseError,
    ModuleNotFoundError,
    ModuleNotLoadedError,
    UnknownDependencyError,
    UnloadError,
)
from tests.catalogs import catalog, module, network


def names(plan: Plan) -> str:
    """Return the names of a plan's steps as words."""
    return " ".join(step.name for step in plan)


def steps(plan: Plan) -> dict[str, Step]:
    """Return a plan's steps by name."""
    return {step.name: step for step in plan}


@pytest.mark.parametrize(
    ("modules", "wanted", "loaded", "expected"),
    [
        pytest.param(catalog(module("a")), "a", "", "a", id="one"),
        pytest.param(catalog(module("a")), "", "", "", id="nothing wanted"),
        pytest.param(catalog(module("a")), "a a", "", "a", id="wanted twice"),
        pytest.param(catalog(module("a")), "a", "a", "", id="loaded already"),
        pytest.param(catalog(module("a", builtin=True)), "a", "", "", id="built in"),
        pytest.param(catalog(module("a_b")), "a-b", "", "a_b", id="hyphen"),
        pytest.param(catalog(module("a", "b"), module("b")), "a", "", "b a", id="dependency"),
        pytest.param(catalog(module("a", "b"), module("b")), "a", "b", "a", id="dependency loaded"),
        pytest.param(catalog(module("a", "b"), module("b", builtin=True)), "a", "", "a", id="dependency built in"),
        pytest.param(
            catalog(module("a", "b"), module("b", "c"), module("c")), "a", "b", "a", id="below what is loaded"
        ),
        pytest.param(
            catalog(module("a", "b"), module("b", "nowhere")), "a", "b", "a", id="unknown below what is loaded"
        ),
        pytest.param(
            catalog(module("a", "b c"), module("b", "c"), module("c")), "a", "", "c b a", id="shared dependency"
        ),
        pytest.param(
            catalog(module("a", "c"), module("b", "c"), module("c")), "a b", "", "c a b", id="two wanted"
        ),
        pytest.param(catalog(module("a", pre="p"), module("p")), "a", "", "p a", id="soft before"),
        pytest.param(catalog(module("a", post="p"), module("p")), "a", "", "a p", id="soft after"),
        pytest.param(catalog(module("a", pre="p", post="p"), module("p")), "a", "", "p a", id="soft both"),
        pytest.param(
            catalog(module("a", pre="p", post="q"), module("p"), module("q")), "a", "p q", "a", id="there"
        ),
        pytest.param(
            catalog(module("a", pre="p"), module("p", "q"), module("q")), "a", "", "q p a", id="soft with needs"
        ),
        pytest.param(catalog(module("a", pre="p"), module("p", builtin=True)), "a", "", "a", id="soft built in"),
        pytest.param(catalog(module("a", pre="nowhere", post="nor-here")), "a", "", "a", id="soft unknown"),
        pytest.param(catalog(module("a", pre="p"), module("p", "nowhere")), "a", "", "a", id="soft cannot load"),
        pytest.param(
            catalog(module("a", pre="crypto"), module("x", aliases="crypto"), module("y", aliases="cry*")),
            "a",
            "",
            "x y a",
            id="soft alias",
        ),
        pytest.param(
            catalog(module("a", "b"), module("b", pre="p"), module("p")), "a", "", "p b a", id="soft of need"
        ),
        pytest.param(
            catalog(module("a", "b c"), module("b", pre="c"), module("c")), "a", "", "c b a", id="soft among needs"
        ),
        pytest.param(catalog(module("a", weak="w"), module("w")), "a", "", "a", id="weak is never loaded"),
    ],
)
def test_what_a_plan_to_load_has(modules: Catalog, wanted: str, loaded: str, expected: str) -> None:
    """Exactly what is missing, in an order to load it in."""
    assert names(plan_load(modules, wanted.split(), loaded.split())) == expected


@pytest.mark.parametrize(
    ("modules", "expected", "follows"),
    [
        (catalog(module("a", pre="b"), module("b", pre="a")), "b a", {"a": ("b",)}),
        (catalog(module("a", post="b"), module("b", post="a")), "a b", {"b": ("a",)}),
        (catalog(module("a", pre="a", post="a")), "a", {}),
        (catalog(module("a", pre="b"), module("b", post="a")), "b a", {"a": ("b",)}),
        (catalog(module("a", pre="b"), module("b", "a")), "a b", {}),
        (
            catalog(module("a", pre="b"), module("b", pre="c"), module("c", pre="a")),
            "c b a",
            {"b": ("c",), "a": ("b",)},
        ),
    ],
)
def test_circles_of_soft_dependencies_are_kept_as_far_as_they_go(
    modules: Catalog, expected: str, follows: Mapping[str, tuple[str, ...]]
) -> None:
    """Each module comes once, and no step waits for a later one."""
    plan = plan_load(modules, ["a"], ())
    assert names(plan) == expected
    assert {step.name: step.follows for step in plan if step.follows} == follows


def test_a_step_says_what_it_needs_and_follows() -> None:
    """Hard dependencies that are missing are needed, soft ones only followed."""
    plan = steps(plan_load(network(), ["r8169"], ()))
    assert plan["r8169"].needs == ("mdio_devres", "libphy")
    assert plan["r8169"].follows == ("realtek",)
    assert plan["realtek"].needs == ("libphy",)
    assert steps(plan_load(network(), ["r8169"], ["libphy"]))["r8169"].needs == ("mdio_devres",)


def test_only_what_soft_dependencies_bring_is_not_required() -> None:
    """A module that is a hard dependency as well is required; so is a soft target that is wanted itself."""
    modules = catalog(
        module("a", "h", pre="s h w"), module("h"), module("s", "under_s"), module("under_s"), module("w")
    )
    plan = plan_load(modules, ["a", "w"], ())
    assert {step.name for step in plan if not step.required} == {"s", "under_s"}


def test_parameters_go_to_the_modules_they_are_for() -> None:
    """Those of modules that are not in the plan do not matter."""
    plan = steps(plan_load(network(), ["e1000e"], (), {"e1000e": "debug=1", "r8169": "x=1"}))
    assert plan["e1000e"].params == "debug=1"
    assert plan["ptp"].params == ""


@pytest.mark.parametrize(
    ("modules", "wanted", "error"),
    [
        (catalog(module("a")), "b", ModuleNotFoundError),
        (catalog(module("a", "nowhere")), "a", UnknownDependencyError),
        (catalog(module("a", "b"), module("b", "nowhere")), "a", UnknownDependencyError),
        (catalog(module("a", "b"), module("b", "a")), "a", CycleError),
        (catalog(module("a", "a")), "a", CycleError),
    ],
)
def test_what_cannot_be_planned(modules: Catalog, wanted: str, error: type[Exception]) -> None:
    """Unknown modules and hard circles are errors, before anything is loaded."""
    with pytest.raises(error):
        plan_load(modules, [wanted], ())


def test_plans_compare_hash_and_print() -> None:
    """A plan is a value: equal for equal reasons, printable, a line a step, and it crosses process borders."""
    one = plan_load(network(), ["r8169"], (), {"r8169": "a=1 b=2"})
    two = plan_load(network(), ["r8169"], (), {"r8169": "a=1 b=2"})
    assert one == two
    assert hash(one) == hash(two)
    assert one != plan_load(network(), ["r8169"], ())
    assert str(one).splitlines() == [
        "load libphy kernel/libphy.ko",
        "load mdio_devres kernel/mdio_devres.ko",
        "load realtek kernel/realtek.ko",
        "load r8169 kernel/r8169.ko a=1 b=2",
    ]
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own bytes
    assert len(one) == 4


def test_an_empty_plan_is_false_and_prints_nothing() -> None:
    """Nothing to do is no line."""
    assert not Plan()
    assert str(Plan()) == ""


# --- unloading ----------------------------------------------------------------------------------------------


def state(
    *modules: str, permanent: Collection[str] = (), users: Mapping[str, int] | None = None
) -> list[LoadedModule]:
    """Return loaded modules, each given as its name and, behind a colon, those that use it."""
    loaded = []
    for text in modules:
        name, _, holders = text.partition(":")
        used = tuple(holders.split())
        count = len(used) + (users or {}).get(name, 0)
        loaded.append(LoadedModule(name, 4096, count, used, "Live", 0, permanent=name in permanent))
    return loaded


CHAIN = ("r8169", "mdio_devres:r8169", "libphy:r8169 mdio_devres")


@pytest.mark.parametrize(
    ("name", "loaded", "holders", "unused", "expected"),
    [
        ("r8169", CHAIN, False, False, "r8169"),
        ("r8169", CHAIN, True, False, "r8169"),
        ("r8169", CHAIN, False, True, "r8169 mdio_devres libphy"),
        ("mdio-devres", CHAIN, True, False, "r8169 mdio_devres"),
        ("mdio_devres", CHAIN, True, True, "r8169 mdio_devres libphy"),
        ("libphy", CHAIN, True, False, "r8169 mdio_devres libphy"),
        ("libphy", CHAIN, True, True, "r8169 mdio_devres libphy"),
        ("r8169", (*CHAIN[:2], "libphy:r8169 mdio_devres other", "other"), False, True, "r8169 mdio_devres"),
        ("r8169", ("r8169", "mdio_devres:r8169 other", "libphy:r8169 mdio_devres", "other"), False, True, "r8169"),
        ("stranger", ("stranger", "below:stranger"), False, True, "stranger below"),
        ("stranger", ("above", "stranger:above gone"), True, False, "above stranger"),
    ],
)
def test_what_a_plan_to_unload_has(
    name: str, loaded: tuple[str, ...], holders: bool, unused: bool, expected: str
) -> None:
    """The module, with its holders before it and unused dependencies behind it where that is asked for."""
    plan = plan_unload(network(), name, state(*loaded), remove_holders=holders, unused=unused)
    assert names(plan) == expected
    assert str(plan) == "\n".join(f"unload {one}" for one in expected.split())


def test_a_dependency_with_users_that_are_no_modules_stays() -> None:
    """A count beyond the holders means that something else uses it."""
    loaded = state(*CHAIN, users={"mdio_devres": 1})
    assert names(plan_unload(network(), "r8169", loaded, remove_holders=False, unused=True)) == "r8169"


def test_a_permanent_dependency_stays() -> None:
    """It cannot go, and that is no reason to refuse the rest."""
    loaded = state(*CHAIN, permanent=["libphy"])
    assert names(plan_unload(network(), "r8169", loaded, remove_holders=False, unused=True)) == "r8169 mdio_devres"


def test_unused_dependencies_are_those_the_kernel_knows() -> None:
    """A catalog whose dependencies cannot be followed does not keep a module from being unloaded."""
    modules = catalog(module("r8169", "nowhere"), module("mdio_devres", "mdio_devres"))
    plan = plan_unload(modules, "r8169", state(*CHAIN), remove_holders=False, unused=True)
    assert names(plan) == "r8169 mdio_devres libphy"


def test_a_step_to_unload_needs_its_holders_gone() -> None:
    """What uses a module has to go first, whether it was asked for or not."""
    plan = steps(plan_unload(network(), "r8169", state(*CHAIN), remove_holders=False, unused=True))
    assert plan["libphy"].needs == ("r8169", "mdio_devres")
    assert plan["r8169"].needs == ()


@pytest.mark.parametrize(
    ("name", "loaded", "permanent", "holders", "error", "words"),
    [
        ("libphy", (), (), False, ModuleNotLoadedError, "'libphy': it is not loaded"),
        ("stranger-x", (), (), False, ModuleNotLoadedError, "'stranger_x': it is not loaded"),
        ("pps-core", (), (), False, UnloadError, "'pps_core': it is built into the kernel"),
        ("libphy", CHAIN, (), False, ModuleInUseError, "'libphy': it is in use by r8169, mdio_devres"),
        ("r8169", CHAIN, ("r8169",), False, UnloadError, "'r8169': it has no exit function"),
        ("libphy", CHAIN, ("r8169",), True, UnloadError, "'r8169': it has no exit function"),
    ],
)
def test_what_cannot_be_unloaded(
    name: str,
    loaded: tuple[str, ...],
    permanent: tuple[str, ...],
    holders: bool,
    error: type[UnloadError],
    words: str,
) -> None:
    """The error is of its own kind and says why."""
    with pytest.raises(error, match=words) as caught:
        plan_unload(network(), name, state(*loaded, permanent=permanent), remove_holders=holders, unused=False)
    assert type(caught.value) is error
