"""The Manager, over a fake kernel: loading, plans and results."""

from __future__ import annotations

import errno
import pickle
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from kmodkit.core.plan import Plan, Step
from kmodkit.errors import (
    ArgumentError,
    CycleError,
    FileError,
    KmodError,
    LoadError,
    ModuleNotFoundError,
    UnknownDependencyError,
)
from kmodkit.kernel.running import RunningKernel
from kmodkit.kernel.syscalls import ModuleFlags
from kmodkit.manager import Manager, Outcome, Result
from kmodkit.scanner import save_metadata, scan
from kmodkit.testing import FakeKernel, ModuleBuilder, write_tree
from tests.catalogs import catalog, module, network
from tests.managers import ROOT, loaded, loads, managed, outcomes

if TYPE_CHECKING:
    from pathlib import Path

    from kmodkit.core.catalog import Catalog


def test_a_module_is_loaded_with_what_it_needs() -> None:
    """Dependencies first, each by its path below the root; afterwards all of them are live."""
    manager, kernel = managed(network())
    result = manager.load("r8169")
    assert result.ok
    assert set(result.changed) == {"libphy", "mdio_devres", "realtek", "r8169"}
    assert loaded(kernel)[0] == "libphy"
    assert loaded(kernel)[-1] == "r8169"
    assert manager.loaded() == kernel.loaded()
    assert manager.is_loaded("r8169")
    assert not manager.is_loaded("e1000e")


def test_a_module_that_is_loaded_is_left_alone() -> None:
    """Loading again asks the kernel for nothing."""
    manager, kernel = managed(network())
    manager.load("e1000e")
    calls = list(kernel.calls)
    assert manager.load("e1000e", "debug=1").outcomes == ()
    assert kernel.calls == calls


def test_what_is_built_in_is_loaded() -> None:
    """There is nothing to do for it, and it counts as loaded."""
    manager, kernel = managed(network())
    assert manager.load("pps-core").outcomes == ()
    assert manager.is_loaded("pps-core")
    assert kernel.calls == []


def test_a_module_of_no_catalog_may_be_loaded() -> None:
    """The kernel knows, whoever loaded it; ``-`` and ``_`` are the same."""
    manager, _ = managed(network(), FakeKernel(loaded=["snd-hda-intel"]))
    assert manager.is_loaded("snd-hda-intel")
    assert manager.is_loaded("snd_hda_intel")


def test_a_module_that_is_coming_is_not_loaded_yet() -> None:
    """Only a live one is."""
    manager, kernel = managed(network())
    kernel.set_state("ptp", "coming")
    assert not manager.is_loaded("ptp")


def test_paths_are_relative_to_the_root() -> None:
    """The kernel is given whole paths and no flags."""

    class Recorder(FakeKernel):
        paths: list[str]

        def load(self, path: str, params: str = "", flags: ModuleFlags = ModuleFlags.NONE) -> None:
            self.paths.append(path)
            super().load(path, params, flags)

    kernel = Recorder(network())
    kernel.paths = []
    Manager(network(), ROOT, kernel=kernel).load("e1000e")
    assert kernel.paths == [f"{ROOT}/kernel/ptp.ko", f"{ROOT}/kernel/e1000e.ko"]
    assert kernel.flags == ModuleFlags.NONE


def test_options_come_before_the_parameters_given() -> None:
    """The kernel takes the last of two values, so what is asked for now wins; dependencies get their options."""
    manager, kernel = managed(network(), options={"e1000e": "debug=1", "ptp": "x=y"})
    assert str(manager.plan("e1000e", "debug=2")).splitlines()[-1].endswith("e1000e.ko debug=1 debug=2")
    manager.load("e1000e", "debug=2")
    assert loads(kernel) == [("ptp", "x=y"), ("e1000e", "debug=1 debug=2")]


def test_options_are_for_devices_too_and_know_no_hyphens() -> None:
    """An option of snd-x is one of snd_x."""
    modules = catalog(module("snd_x", aliases="pci:1"))
    manager, kernel = managed(modules, options={"snd-x": "index=1"})
    manager.load_for_device("pci:1").check()
    assert loads(kernel) == [("snd_x", "index=1")]


def test_a_name_may_be_an_alias_of_several_modules() -> None:
    """All of them are loaded, and each is given the parameters."""
    modules = catalog(module("x", aliases="net-pf-*"), module("y", aliases="net-pf-5"), module("z"))
    manager, kernel = managed(modules, jobs=1)
    assert manager.load("net-pf-5", "a=1").changed == ("x", "y")
    assert loads(kernel) == [("x", "a=1"), ("y", "a=1")]


def test_an_unknown_name_is_named() -> None:
    """Nothing is loaded then."""
    manager, kernel = managed(network())
    with pytest.raises(ModuleNotFoundError, match="module 'nowhere' does not exist"):
        manager.load("nowhere")
    assert kernel.calls == []


@pytest.mark.parametrize(
    ("modules", "error"),
    [
        (catalog(module("a", "nowhere")), UnknownDependencyError),
        (catalog(module("a", "b"), module("b", "a")), CycleError),
    ],
)
def test_dependencies_that_cannot_be_followed_are_an_error(modules: Catalog, error: type[KmodError]) -> None:
    """By name it is raised, for a device it is a failure of the result, and nothing is loaded."""
    manager, kernel = managed(modules)
    with pytest.raises(error):
        manager.load("a")
    assert kernel.calls == []


def test_a_device_brings_every_module_that_matches_once() -> None:
    """However many devices share a module, and whatever the order of the devices."""
    modules = catalog(
        module("x", "common", aliases="pci:v1*"), module("y", "common", aliases="pci:*d2"), module("common")
    )
    manager, kernel = managed(modules)
    result = manager.load_for_devices(["pci:v1d2", "pci:v1d3", "pci:v1d2", "usb:none"])
    assert result.ok
    assert Counter(loads(kernel)) == {("x", ""): 1, ("y", ""): 1, ("common", ""): 1}


def test_a_device_that_matches_nothing_is_no_failure() -> None:
    """Most devices need no module."""
    manager, _ = managed(network())
    assert manager.load_for_device("usb:v1").ok
    assert manager.load_for_devices([]).outcomes == ()


def test_the_blacklist_is_for_devices_only() -> None:
    """A module on it still loads by name, and as a dependency."""
    modules = catalog(module("snd_x", aliases="pci:1"), module("y", "snd_x", aliases="pci:1 pci:2"))
    manager, kernel = managed(modules, blacklist=["snd-x"])
    assert [step.name for step in manager.plan_for_devices(["pci:1"])[0]] == ["snd_x", "y"]
    manager, kernel = managed(modules, blacklist=["y", "snd-x"])
    assert manager.load_for_devices(["pci:1", "pci:2"]).outcomes == ()
    manager.load("y")
    assert loaded(kernel) == ["snd_x", "y"]


def test_a_device_module_that_cannot_be_planned_does_not_stop_the_others() -> None:
    """It is reported among the outcomes as skipped, and makes the result a failure."""
    modules = catalog(
        module("broken", "nowhere", aliases="pci:*"),
        module("good", aliases="pci:*"),
        module("ring", "ring", aliases="pci:*"),
    )
    manager, kernel = managed(modules)
    plan, errors = manager.plan_for_devices(["pci:1"])
    assert [step.name for step in plan] == ["good"]
    assert [type(error) for error in errors] == [UnknownDependencyError, CycleError]
    result = manager.load_for_device("pci:1")
    assert outcomes(result) == {"good": "done", "broken": "skipped", "ring": "skipped"}
    assert loaded(kernel) == ["good"]
    with pytest.raises(ExceptionGroup) as caught:
        result.check()
    assert [str(error) for error in caught.value.exceptions] == [
        "module 'broken' depends on 'nowhere', which does not exist",
        "dependency cycle: ring -> ring",
    ]


def test_dependencies_of_what_is_loaded_do_not_matter_for_devices() -> None:
    """As for a module that is loaded by name."""
    modules = catalog(module("a", "b", aliases="pci:*"), module("b", "nowhere"))
    for there in (["a"], ["b"], ["a", "b"]):
        manager, _ = managed(modules, FakeKernel(loaded=there))
        assert manager.load_for_device("pci:1").ok


# --- plans and results ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_plan_that_was_cut_down_can_be_carried_out(jobs: int) -> None:
    """What a step needs and the plan does not have counts as done: the kernel has the last word."""
    manager, kernel = managed(network(), jobs=jobs)
    plan = manager.plan("r8169")
    cut = Plan(tuple(step for step in plan if step.name != "libphy"))
    result = manager.execute(cut)
    assert outcomes(result) == {"mdio_devres": "failed", "realtek": "failed", "r8169": "skipped"}
    manager.load("libphy")
    assert manager.execute(cut).ok
    assert "r8169" in loaded(kernel)


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_plan_in_the_wrong_order_ends(jobs: int) -> None:
    """Steps wait only for those before them, so that none waits for ever."""
    manager, _ = managed(network(), jobs=jobs)
    plan = manager.plan("e1000e")
    result = manager.execute(Plan(plan.steps[::-1]))
    assert [outcome.step.name for outcome in result.outcomes] == ["e1000e", "ptp"]
    assert result.outcomes[1].ok


def test_execute_does_not_take_a_plan_to_unload() -> None:
    """It says so before anything is done."""
    manager, kernel = managed(network())
    manager.load("ptp")
    calls = list(kernel.calls)
    with pytest.raises(ArgumentError, match="unload ptp"):
        manager.execute(manager.plan_unload("ptp"))
    assert kernel.calls == calls


def test_an_old_plan_is_carried_out_against_the_state_of_now() -> None:
    """What was loaded meanwhile is found loaded."""
    manager, kernel = managed(network())
    plan = manager.plan("e1000e")
    kernel.load("ptp.ko")
    assert outcomes(manager.execute(plan)) == {"ptp": "already", "e1000e": "done"}


def test_outcomes_come_in_the_plans_order_with_their_times() -> None:
    """Starts count from the start of the whole, and no step takes longer than that."""
    manager, _ = managed(network())
    plan = manager.plan("r8169")
    result = manager.execute(plan)
    assert [outcome.step for outcome in result.outcomes] == list(plan)
    for outcome in result.outcomes:
        assert 0 <= outcome.start <= outcome.start + outcome.seconds <= result.seconds
    starts = {outcome.step.name: outcome.start for outcome in result.outcomes}
    assert starts["libphy"] <= starts["mdio_devres"] <= starts["r8169"]


def failure(name: str, *, required: bool = True) -> Outcome:
    """Return the outcome of a load that failed."""
    step = Step("load", name, f"{name}.ko", required=required)
    return Outcome(step, "failed", LoadError(name, errno.EIO, "reason"))


def test_check_returns_a_good_result_and_raises_one_error_or_a_group() -> None:
    """A single failure comes as itself; failures of soft dependencies do not count."""
    good = Result((Outcome(Step("load", "a", "a.ko"), "done"), failure("soft", required=False)))
    assert good.check() is good
    with pytest.raises(LoadError, match="'a'"):
        Result((failure("a"), failure("soft", required=False))).check()
    with pytest.raises(ExceptionGroup, match="2 modules failed") as caught:
        Result((failure("a"), failure("soft", required=False), failure("b"))).check()
    assert [str(error) for error in caught.value.exceptions] == [
        "cannot load module 'a': reason",
        "cannot load module 'b': reason",
    ]


def test_results_are_values_that_cross_process_borders() -> None:
    """Equal where they say the same, and whole after pickling, errors included."""
    manager, _ = managed(network(), FakeKernel(network(), errors={"ptp": [errno.ENOEXEC]}))
    result = manager.execute(manager.plan("e1000e"))
    copy = pickle.loads(pickle.dumps(result))  # noqa: S301 - our own bytes
    assert [outcome.step for outcome in copy.outcomes] == [outcome.step for outcome in result.outcomes]
    assert outcomes(copy) == outcomes(result)
    assert copy.seconds == result.seconds
    assert list(map(str, copy.failures)) == list(map(str, result.failures))
    assert vars(copy.failures[0]) == vars(result.failures[0])
    assert Result() == Result()
    good = manager.load("ptp")
    assert pickle.loads(pickle.dumps(good)) == good  # noqa: S301 - our own bytes


# --- where it comes from ------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a module tree with two modules."""
    return write_tree(
        tmp_path / "6.1",
        {"kernel/a.ko": ModuleBuilder("a", depends=["b"]), "kernel/b.ko": ModuleBuilder("b", compression="xz")},
    )


def test_a_manager_is_made_from_a_tree_or_its_metadata(tree: Path) -> None:
    """From a tree its modules are read, unless it has a meta.pb; a meta.pb is relative to its directory."""
    scanned = Manager.from_tree(tree, kernel=FakeKernel())
    assert str(scanned.plan("a")).splitlines() == ["load b kernel/b.ko.xz", "load a kernel/a.ko"]
    save_metadata(scan(tree).catalog, tree / "meta.pb")
    for made in (
        Manager.from_metadata(tree, kernel=FakeKernel()),
        Manager.from_metadata(tree / "meta.pb", kernel=FakeKernel()),
    ):
        assert made.catalog == scanned.catalog
        assert made.root == tree
    (tree / "kernel/a.ko").unlink()
    assert "a" in Manager.from_tree(tree, kernel=FakeKernel()).catalog


def test_without_metadata_there_is_no_manager_from_it(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(FileError, match=r"meta\.pb: No such file"):
        Manager.from_metadata(tmp_path)


def test_without_a_kernel_it_is_the_running_one(tree: Path) -> None:
    """That of this machine."""
    assert isinstance(Manager.from_tree(tree).kernel, RunningKernel)
