"""Choosing modules: each way of wishing, what comes with it, and the reasons."""

from __future__ import annotations

import pytest

from kmodkit.core.selection import Reason, Selection
from kmodkit.core.snapshot import Device, Snapshot
from kmodkit.errors import ArgumentError, CycleError, ModuleNotFoundError, PatternError, UnknownDependencyError
from tests.catalogs import catalog, module, network

XHCI = module("xhci", aliases="pci:v*d*sv*sd*bc0Csc03i30*")
MACHINE = Snapshot(
    devices=(
        Device("/devices/nic", ("pci:v00008086d0000105Esv1",)),
        Device("/devices/none", ("acpi:NONE:",)),
    ),
    loaded=("libphy", "out_of_tree"),
)


def names(selection: Selection) -> list[str]:
    """The names of what is in, in its order."""
    return [module.name for module in selection.modules]


def test_a_name_brings_what_it_needs() -> None:
    """Hard and soft dependencies come in load order, what is built in does not."""
    assert names(network().select(names=["r8169"])) == ["libphy", "mdio_devres", "realtek", "r8169"]
    assert names(network().select(names=["e1000e"])) == ["ptp", "e1000e"]


def test_an_alias_is_a_name() -> None:
    """As for modprobe."""
    selection = network().select(names=["pci:v000010ECd00008168sv0"])
    assert selection.chain("r8169") == (Reason("r8169", "name", "pci:v000010ECd00008168sv0"),)


def test_no_wish_is_every_module() -> None:
    """A builder who says nothing gets the whole kernel."""
    assert set(names(network().select())) == {"r8169", "mdio_devres", "libphy", "realtek", "e1000e", "ptp"}


def test_a_path_is_a_glob() -> None:
    """It chooses by where the file is, and says so."""
    selection = network().select(paths=["kernel/e1000*"])
    assert names(selection) == ["ptp", "e1000e"]
    assert selection.chain("e1000e") == (Reason("e1000e", "path", "kernel/e1000*"),)


def test_a_modalias_pattern_meets_aliases() -> None:
    """Every module some matching device would bring, those whose own pattern is wider included."""
    chosen = catalog(*network().modules, XHCI).select(modaliases=["pci:v00008086d*"])
    assert set(names(chosen)) == {"e1000e", "ptp", "xhci"}
    assert chosen.chain("xhci") == (Reason("xhci", "modalias", "pci:v00008086d*", "pci:v*d*sv*sd*bc0Csc03i30*"),)


def test_a_modalias_is_looked_up() -> None:
    """Without wildcards it is one device's."""
    assert names(network().select(modaliases=["pci:v00008086d0000105Esv1"])) == ["ptp", "e1000e"]


def test_a_snapshot_brings_devices_and_what_was_loaded() -> None:
    """Each with its reason; a loaded module that this kernel does not have is reported, a device without none."""
    selection = network().select(snapshot=MACHINE)
    assert set(names(selection)) == {"ptp", "e1000e", "libphy"}
    assert selection.chain("e1000e") == (Reason("e1000e", "device", "/devices/nic", "pci:v00008086d0000105Esv1"),)
    assert selection.chain("libphy") == (Reason("libphy", "loaded"),)
    assert selection.unmatched == ("out_of_tree",)


def test_chains_lead_from_the_wish() -> None:
    """Step by step, as short as can be."""
    chain = network().select(names=["r8169"]).chain("realtek")
    assert chain == (Reason("r8169", "name", "r8169"), Reason("realtek", "softdep", "r8169"))
    assert list(map(str, chain or ())) == ["r8169: named as r8169", "realtek: a soft dependency of r8169"]


def test_rules_alone_that_take_away_begin_with_all() -> None:
    """And rules that add begin with none."""
    assert set(names(network().select(rules=["!e1000e"]))) == {"r8169", "mdio_devres", "libphy", "realtek", "ptp"}
    assert names(network().select(rules=["ptp"])) == ["ptp"]


def test_rules_take_away_from_devices() -> None:
    """What a device wants and a rule takes away is out, and known to be."""
    selection = network().select(snapshot=MACHINE, rules=["!e1000e"])
    assert names(selection) == ["libphy"]
    assert selection.excluded == {"e1000e": "!e1000e"}


def test_what_is_named_or_needed_comes_against_rules() -> None:
    """As a blacklist stops aliases only; soft dependencies are stopped."""
    selection = network().select(names=["r8169"], rules=["!*"])
    assert names(selection) == ["libphy", "mdio_devres", "r8169"]
    assert selection.excluded == {"realtek": "!*"}


def test_weak_dependencies_come_unless_refused() -> None:
    """They are shipped though never loaded by us."""
    modules = catalog(module("fs", weak="codec"), module("codec", "tables"), module("tables"))
    assert set(names(modules.select(names=["fs"]))) == {"fs", "codec", "tables"}
    assert modules.select(names=["fs"]).chain("tables") == (
        Reason("fs", "name", "fs"),
        Reason("codec", "weakdep", "fs"),
        Reason("tables", "needs", "codec"),
    )
    assert names(modules.select(names=["fs"], weak=False)) == ["fs"]


def test_soft_dependencies_can_be_refused() -> None:
    """With ``soft`` False."""
    assert names(network().select(names=["r8169"], soft=False)) == ["libphy", "mdio_devres", "r8169"]


def test_an_unknown_name_is_an_error_and_an_unmatched_pattern_is_told() -> None:
    """A typing error must not make an image without the driver."""
    with pytest.raises(ModuleNotFoundError):
        network().select(names=["r8168"])
    selection = network().select(paths=["nowhere/"], modaliases=["usb:*"], rules=["none"])
    assert selection.unmatched == ("nowhere/", "usb:*", "none")
    assert names(selection) == []


def test_a_rule_that_a_later_one_always_overrides_is_not_unmatched() -> None:
    """It does mean modules."""
    assert network().select(rules=["e1000e", "!*"]).unmatched == ()


def test_what_cannot_be_loaded() -> None:
    """Named, it is an error; found by a device or rule, it is left out and told."""
    broken = catalog(module("a", "gone", aliases="x:*"), module("b", "c"), module("c", "b"), module("d"))
    with pytest.raises(UnknownDependencyError):
        broken.select(names=["a"])
    with pytest.raises(CycleError):
        broken.select(names=["b"])
    selection = broken.select()
    assert names(selection) == ["d"]
    assert sorted(selection.broken) == ["a", "b", "c"]


def test_bad_patterns_are_errors() -> None:
    """Of our own type."""
    with pytest.raises(PatternError):
        network().select(modaliases=["a\0"])
    with pytest.raises(ArgumentError):
        network().select(rules=["re:("])


def test_the_subset_keeps_what_is_built_in() -> None:
    """For a meta.pb that answers as the whole one, as far as files are there."""
    subset = network().select(names=["e1000e"]).subset()
    assert [module.name for module in subset] == ["e1000e", "ptp", "pps_core"]
