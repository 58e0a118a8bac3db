"""The catalog: what it holds, in which order, and what it answers."""

import copy
import pickle

import pytest

from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.modinfo import ModuleInfo, SoftDeps, parse_modinfo
from kmodkit.errors import (
    ArgumentError,
    CycleError,
    ModuleNotFoundError,
    PatternError,
    UnknownDependencyError,
)


def info(path: str | None, text: str = "") -> ModuleInfo:
    """Return the information of a module file whose .modinfo is ``text``, with spaces between the entries."""
    return parse_modinfo(text.replace(" ", "\0").encode(), path)


def names(modules: tuple[Module, ...] | Catalog) -> list[str]:
    """Return the names of modules in their order."""
    return [module.name for module in modules]


def chain(*modules: Module) -> Catalog:
    """Return a catalog of ``modules``."""
    return Catalog(modules)


# --- building -----------------------------------------------------------------------------------------------


def test_a_module_keeps_what_a_catalog_needs() -> None:
    """Dependencies get their underscores, everything else stays as written, each once."""
    text = b"name=a-b\0depends=c-d\0softdep=pre: e-f\0weakdep=g-h\0alias=x-y\0alias=x-y\0firmware=f\0firmware=f\0"
    assert Module.from_info(parse_modinfo(text, "a-b.ko")) == Module(
        "a_b", "a-b.ko", ("c_d",), SoftDeps(("e-f",), ()), ("g-h",), ("x-y",), ("f",)
    )


def test_modules_come_in_the_order_of_modules_order() -> None:
    """Listed modules come as listed, the rest by name, what is built in last; compression does not matter."""
    infos = [info("k/z.ko.xz"), info("k/b.ko"), info("k/a.ko"), info("k/c.ko"), info(None, "name=in")]
    catalog = Catalog.from_modinfo(infos, order=["k/c.ko", "k/z.ko", "k/gone.ko"])
    assert names(catalog) == ["c", "z", "a", "b", "in"]


def test_dashes_and_old_suffixes_in_modules_order_do_not_matter() -> None:
    """Kernels before 5.3 listed .o files, and a file's dashes may be underscores elsewhere."""
    infos = [info("k/a-x.ko"), info("k/b-x.ko.zst")]
    assert names(Catalog.from_modinfo(infos, order=["k/b-x.o", "k/a-x.o"])) == ["b_x", "a_x"]


def test_the_order_does_not_depend_on_the_order_of_reading() -> None:
    """Directories list files as they like."""
    infos = [info("b.ko"), info("a.ko"), info("sub/a.ko"), info("c.ko")]
    assert Catalog.from_modinfo(infos) == Catalog.from_modinfo(reversed(infos))


@pytest.mark.parametrize(
    ("paths", "search", "taken"),
    [
        (["kernel/a.ko", "updates/a.ko"], ("updates", "built-in"), "updates/a.ko"),
        (["kernel/a.ko", "updates/a.ko"], ("built-in", "updates"), "kernel/a.ko"),
        (["kernel/a.ko", "extra/a.ko"], ("updates", "extra", "built-in"), "extra/a.ko"),
        (["kernel/a.ko", "extra/a.ko"], ("updates",), "extra/a.ko"),
        (["updates/a.ko", "updates/dkms/a.ko"], ("updates/dkms", "updates", "built-in"), "updates/dkms/a.ko"),
        (["updates2/a.ko", "kernel/a.ko"], ("updates", "built-in"), "kernel/a.ko"),
        (["a/x-y.ko", "b/x_y.ko"], ("updates", "built-in"), "a/x-y.ko"),
    ],
)
def test_of_two_files_with_one_name_the_search_order_takes_one(
    paths: list[str], search: tuple[str, ...], taken: str
) -> None:
    """The directory that comes first in depmod.d's order wins, then the path that sorts first."""
    for order in (paths, paths[::-1]):
        (module,) = Catalog.from_modinfo(map(info, order), search=search)
        assert module.path == taken


def test_what_is_built_in_wins_over_any_file() -> None:
    """A module that the kernel has needs no file."""
    (module,) = Catalog.from_modinfo([info("updates/a.ko"), info(None, "name=a")])
    assert module.builtin


def test_two_modules_of_one_name_are_refused() -> None:
    """A catalog made by hand says which name is there twice."""
    with pytest.raises(ArgumentError, match="'a'"):
        chain(Module("a", "a.ko"), Module("a", "b.ko"))


# --- asking -------------------------------------------------------------------------------------------------


def test_names_are_found_with_dashes_or_underscores() -> None:
    """snd-hda-intel and snd_hda_intel are one module."""
    catalog = chain(Module("snd_hda_intel", "x.ko"))
    assert catalog["snd-hda_intel"] == catalog["snd_hda_intel"] == catalog.get("snd-hda-intel")
    assert "snd-hda-intel" in catalog
    assert 1 not in catalog
    assert len(catalog) == len(list(catalog)) == 1


def test_an_unknown_name_is_an_error_that_names_it() -> None:
    """It is a LookupError too; get() gives None instead."""
    with pytest.raises(ModuleNotFoundError, match="'no-such' does not exist") as caught:
        chain()["no-such"]
    assert caught.value.name == "no-such"
    assert isinstance(caught.value, LookupError)
    assert chain().get("no-such") is None


def test_answers_come_in_the_order_of_the_catalog() -> None:
    """One modalias may match many modules, which come as the catalog has them and not as patterns match."""
    catalog = chain(
        Module("z", "z.ko", aliases=("pci:*",)),
        Module("a", "a.ko", aliases=("pci:v1*", "pci:*")),
        Module("m", "m.ko", aliases=("*",)),
        Module("other", "o.ko", aliases=("usb:*",)),
    )
    assert names(catalog.lookup("pci:v1d2")) == ["z", "a", "m"]
    assert catalog.lookup("PCI:v1").__class__ is tuple
    assert names(catalog.lookup(b"usb:")) == ["m", "other"]


def test_dashes_in_aliases_and_modaliases_count_as_underscores() -> None:
    """Both sides are normalised, outside of brackets."""
    catalog = chain(Module("a", "a.ko", aliases=("of:Cbrcm,bcm2835-mmc", "x[a-c]-y")))
    assert names(catalog.lookup("of:Cbrcm,bcm2835_mmc")) == ["a"]
    assert names(catalog.lookup("of:Cbrcm,bcm2835-mmc")) == ["a"]
    assert names(catalog.lookup("xb_y")) == ["a"]
    assert catalog.lookup("x-_y") == ()


def test_what_is_built_in_is_reported_when_asked_for() -> None:
    """Nothing has to be loaded for it, so a lookup leaves it out unless told."""
    catalog = chain(Module("a", "a.ko", aliases=("x*",)), Module("in", aliases=("x1", "y")))
    assert names(catalog.lookup("x1")) == ["a"]
    assert names(catalog.lookup("x1", builtin=True)) == ["a", "in"]
    assert catalog.lookup("y") == ()
    assert catalog.lookup("nothing", builtin=True) == ()


def test_a_name_resolves_to_its_module_before_any_alias() -> None:
    """As modprobe has it: the module of that name, else all that have it as an alias."""
    catalog = chain(
        Module("a", "a.ko"), Module("b", "b.ko", aliases=("a", "net-pf-10")), Module("c", aliases=("net-pf-*",))
    )
    assert names(catalog.resolve("a")) == ["a"]
    assert names(catalog.resolve("net-pf-10")) == ["b", "c"]
    assert catalog.resolve("nothing") == ()


def test_an_alias_made_by_hand_with_a_nul_is_an_error_when_asked() -> None:
    """No module file can hold one, so only the lookup finds out."""
    with pytest.raises(PatternError):
        chain(Module("a", "a.ko", aliases=("x\0",))).lookup("x")


# --- dependencies -------------------------------------------------------------------------------------------


def test_the_closure_is_in_load_order_and_leaves_out_what_is_built_in() -> None:
    """Each module once, behind what it needs."""
    catalog = chain(
        Module("r8169", "r.ko", ("mdio_devres", "libphy")),
        Module("mdio_devres", "m.ko", ("libphy",)),
        Module("libphy", "l.ko", ("core",)),
        Module("core"),
    )
    assert names(catalog.closure(["r8169"])) == ["libphy", "mdio_devres", "r8169"]
    assert names(catalog.closure(["r8169"], builtin=True)) == ["core", "libphy", "mdio_devres", "r8169"]
    assert names(catalog.dependencies("r8169")) == ["core", "libphy", "mdio_devres"]
    assert names(catalog.closure(["libphy", "mdio-devres"])) == ["libphy", "mdio_devres"]
    assert catalog.closure(["core"]) == ()
    assert catalog.closure([]) == ()


def test_an_unknown_dependency_is_recorded_and_an_error_to_load() -> None:
    """It is not taken for the first module of the catalog, as the format's first writer did."""
    catalog = chain(
        Module("first", "f.ko"), Module("a", "a.ko", ("gone", "first", "lost")), Module("b", "b.ko", ("a",))
    )
    assert catalog.unknown_dependencies == {"a": ("gone", "lost")}
    for name in ("a", "b"):
        with pytest.raises(UnknownDependencyError, match="'a' depends on 'gone'") as caught:
            catalog.closure([name])
        assert (caught.value.module, caught.value.dependency) == ("a", "gone")
        with pytest.raises(UnknownDependencyError):
            catalog.dependencies(name)
    assert names(catalog.closure(["first"])) == ["first"]


def test_a_cycle_is_shown_and_an_error_to_load() -> None:
    """cycles() lists it, and loading a member says it."""
    catalog = chain(Module("a", "a.ko", ("b",)), Module("b", "b.ko", ("a",)), Module("c", "c.ko"))
    assert catalog.cycles() == [("a", "b", "a")]
    with pytest.raises(CycleError, match="a -> b -> a"):
        catalog.closure(["a"])
    assert names(catalog.closure(["c"])) == ["c"]


SOFT = chain(
    Module("a", "a.ko", ("n",), SoftDeps(("p-x", "gone", "alias-q"), ("z",)), ("w", "lost")),
    Module("n", "n.ko"),
    Module("p_x", "p.ko", ("pn",)),
    Module("pn", "pn.ko"),
    Module("q1", "q1.ko", aliases=("alias-*",)),
    Module("q2", "q2.ko", aliases=("alias_q",)),
    Module("z", "z.ko"),
    Module("w", "w.ko", ("wn",)),
    Module("wn", "wn.ko"),
)


def test_soft_dependencies_are_followed_where_they_exist() -> None:
    """They may be names or aliases, come with what they need, and may be missing without harm."""
    order = names(SOFT.closure(["a"]))
    assert order == ["n", "pn", "p_x", "q1", "q2", "a", "z"]
    assert names(SOFT.closure(["a"], soft=False)) == ["n", "a"]


def test_weak_dependencies_are_left_out_unless_asked_for() -> None:
    """They belong into an image but are never loaded by us."""
    assert names(SOFT.closure(["a"], weak=True)) == ["n", "pn", "p_x", "q1", "q2", "a", "z", "wn", "w"]
    assert names(SOFT.closure(["a"], soft=False, weak=True)) == ["n", "a", "wn", "w"]


@pytest.mark.parametrize("needs", [("gone",), ("b",)])
def test_a_soft_dependency_that_cannot_be_loaded_is_passed_over(needs: tuple[str, ...]) -> None:
    """An unknown dependency or a cycle further down makes the wish void, not the module that has it."""
    catalog = chain(Module("a", "a.ko", softdeps=SoftDeps(("b",))), Module("b", "b.ko", needs))
    assert names(catalog.closure(["a"])) == ["a"]


def test_soft_cycles_end() -> None:
    """Two modules that wish for each other are both loaded, once."""
    catalog = chain(
        Module("a", "a.ko", softdeps=SoftDeps(("b",))), Module("b", "b.ko", softdeps=SoftDeps(("a",), ("a",)))
    )
    assert names(catalog.closure(["a"])) == ["b", "a"]


# --- values -------------------------------------------------------------------------------------------------


def test_catalogs_are_values() -> None:
    """Equal modules make equal catalogs, whatever was asked of them before."""
    one, other = chain(Module("a", "a.ko", aliases=("x",))), chain(Module("a", "a.ko", aliases=("x",)))
    one.lookup("x")
    assert one == other
    assert hash(one) == hash(other)
    assert one != chain(Module("a", "a.ko"))


def test_the_pattern_tree_has_the_aliases_as_written() -> None:
    """It shows what the modules say, of what is loadable or of what is built in."""
    catalog = chain(Module("a", "a.ko", aliases=("x-y*",)), Module("in", aliases=("z",)))
    assert catalog.pattern_tree().format(lambda value: catalog.modules[value].name) == '"x-y"\n  * -> a'
    assert catalog.pattern_tree(builtin=True).format() == '"z" -> 1'


@pytest.mark.parametrize("text", ["x:caf\u00e9-1", "x:caf\u00e9_1", "x:caf\u00e9-1".encode(), b"x:caf\xc3\xa9_1"])
def test_lookups_take_text_and_bytes_of_any_kind(text: str | bytes) -> None:
    """Text is encoded, dashes are underscores, and a set that a text holds stays as it is."""
    catalog = chain(Module("a", "a.ko", aliases=("x:caf\u00e9-?",)), Module("b", "b.ko", aliases=("x:??]-*",)))
    for _ in range(2):
        assert names(catalog.lookup(text)) == ["a"]
        assert names(catalog.lookup("x:[-]-y")) == names(catalog.lookup(b"x:[-]_y")) == ["b"]


def test_answers_have_the_order_of_the_catalog_and_each_module_once() -> None:
    """Two, three or more modules, each by several patterns, whichever pattern is found first."""
    aliases = {"one": ("pci:v*",), "two": ("pci:*", "pci:v0*"), "three": ("pci:v0*", "pci:v0x", "pci:*x")}
    catalog = chain(*[Module(name, f"{name}.ko", aliases=aliases[name]) for name in ("three", "one", "two")])
    assert names(catalog.lookup("pci:v0x")) == ["three", "one", "two"]
    assert names(catalog.lookup("pci:v1")) == ["one", "two"]
    assert names(catalog.lookup("pci:x")) == ["three", "two"]
    assert names(catalog.lookup("pci:")) == ["two"]


def test_a_catalog_is_copied_without_its_indexes() -> None:
    """A copy after lookups is equal and answers the same."""
    catalog = chain(
        Module("a", "a.ko", aliases=("pci:v*d*sv*sd*bc*sc*i*",)), Module("b", "b.ko", aliases=("i2c:b",))
    )
    assert names(catalog.lookup("i2c:b")) == ["b"]
    for copied in (pickle.loads(pickle.dumps(catalog)), copy.deepcopy(catalog)):  # noqa: S301 - our own bytes
        assert copied == catalog
        assert names(copied.lookup("i2c:b")) == ["b"]
