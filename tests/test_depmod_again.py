"""Depmod run again after a few changes: the same bytes as in full, with little opened and written."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kmodkit.core.depstate import MOST, State
from kmodkit.depmod import Checks, Layout, generate, write_files
from kmodkit.errors import CacheError
from kmodkit.testing import ModuleBuilder, write_tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kmodkit.depmod import Generated

LISTED = {
    "kernel/b.ko": ModuleBuilder("b", exports={"b1": 1}, undefined=["a1"], aliases=["pci:v1*", "pci:v2*"]),
    "kernel/a.ko": ModuleBuilder("a", exports={"a1": 1, "a2": 1}, aliases=["x-y", "char-major-10-200"]),
    "kernel/c.ko": ModuleBuilder("c", undefined=["b1", "printk"], softdeps=["pre: a"]),
}
NEW = ModuleBuilder("new", aliases=["new:*"])


class Again:
    """A tree with the files of a run in it, whose further runs are compared with full ones."""

    def __init__(self, root: Path, modules: Mapping[str, ModuleBuilder] = LISTED) -> None:
        self.tree = write_tree(root / "6.1.0", modules, builtin={"kernel/z.ko": [("alias", "q-1")]})
        self.cache = root / "cache"
        (self.tree / "extra").mkdir()
        time.sleep(0.06)  # what changed just now could change again unseen, so it is read by each run
        self.run()

    def run(self, **words: object) -> Generated:
        """Run, compare, write what has changed as the command does, and return what there was."""
        before = {path.name: path.read_bytes() for path in self.tree.glob("modules.*")}
        found = generate(self.tree, cache=self.cache, previous=self.tree, **words)  # type: ignore[arg-type]
        full = generate(self.tree, **words)  # type: ignore[arg-type]
        assert (found.files, found.messages, found.modules) == (full.files, full.messages, full.modules)
        assert list(found.files) == list(full.files)
        changed = {name for name, data in found.files.items() if before.get(name) != data}
        assert found.changed is None or set(found.changed) == changed
        write_files(self.tree, {name: found.files[name] for name in found.changed or found.files})
        return found

    def put(self, name: str, module: ModuleBuilder = NEW) -> None:
        """Write a module of the tree."""
        self.remove(name)
        module.write(self.tree / "extra" / module.filename.replace(module.name or "", name, 1))

    def remove(self, name: str) -> None:
        """Take a module away, if it is there."""
        for path in (self.tree / "extra").glob(f"{name}.ko*"):
            path.unlink()

    @property
    def patched(self) -> bool:
        """Whether a run now goes on from the one before, and gives what a full one does."""
        return self.run().changed is not None


@pytest.fixture
def again(tmp_path: Path) -> Again:
    """A tree of three listed modules, whose times are past."""
    found = Again(tmp_path)
    assert found.patched
    return found


def test_a_new_module_changes_four_files(again: Again) -> None:
    """Its lines and keys come in, and of all others nothing is opened."""
    again.put("new")
    found = again.run()
    assert set(found.changed or ()) == {"modules.dep", "modules.dep.bin", "modules.alias", "modules.alias.bin"}
    assert found.opened == 1
    assert found.files["modules.alias"].endswith(b"alias new:* new\n")


@pytest.mark.parametrize(
    "module",
    [
        ModuleBuilder("m"),
        ModuleBuilder("m", aliases=["pci:v1*", "pci:v1*", "a-b", "a_b", "x[-y]-z"]),
        ModuleBuilder("m", softdeps=["pre: b post: c"], weakdeps=["a"]),
        ModuleBuilder("m", aliases=["devname:net/tun", "char-major-10-200"]),
        ModuleBuilder("m", undefined=["b1", "printk", "a2"]),
        ModuleBuilder("m", undefined=["a1"], aliases=["x:y"], compression="xz"),
    ],
)
def test_modules_of_all_kinds_come_change_and_go(again: Again, module: ModuleBuilder) -> None:
    """Also with others beside them whose place moves, as they lie in depmod's hash table."""
    for name, each in (("m", module), ("n", NEW), ("m", NEW), ("m", module)):
        again.put(name, each)
        assert again.patched
    for name in ("n", "m"):
        again.remove(name)
        assert again.patched
    assert again.run().unchanged


def test_a_need_changes_the_order_in_which_others_list_theirs(tmp_path: Path) -> None:
    """A module that needs one which nothing needed before comes first in the order of all."""
    exporters = {f"kernel/{n}.ko": ModuleBuilder(n, exports={f"{n}1": 1}) for n in "stuvw"}
    users = {
        f"kernel/{n}.ko": ModuleBuilder(n, undefined=[f"{m}1" for m in needs])
        for n, needs in (("k", "stuvw"), ("l", "wvu"), ("m", "ts"))
    }
    again = Again(tmp_path, exporters | users)
    for number, needs in enumerate(("u", "tw", "s", "")):
        again.put(f"x{number}", ModuleBuilder(f"x{number}", undefined=[f"{need}1" for need in needs]))
        assert again.patched


@pytest.mark.parametrize(
    "module",
    [
        ModuleBuilder("m", exports={"m1": 1}),
        ModuleBuilder("m", aliases=["a[b"]),
        ModuleBuilder("m", aliases=["devname:x"]),
    ],
)
def test_what_touches_more_is_made_in_full(again: Again, module: ModuleBuilder) -> None:
    """Symbols that others may need, and all that there is something to say of."""
    again.put("m", module)
    assert not again.patched
    again.put("m", NEW)
    again.run()
    assert again.patched


def test_a_change_among_the_listed_modules_is_made_in_full_or_not(again: Again) -> None:
    """Three are few enough to go on from, unless they export something."""
    ModuleBuilder("c", aliases=["c:*"]).write(again.tree / "kernel")
    assert again.patched
    ModuleBuilder("b", exports={"b1": 1}).write(again.tree / "kernel")
    assert not again.patched


def test_only_so_many_modules_are_gone_on_from(tmp_path: Path) -> None:
    """Of more than that at the end, or of one further up, all is made anew."""
    again = Again(
        tmp_path, {f"kernel/m{n}.ko": ModuleBuilder(f"m{n}", aliases=[f"m{n}:*"]) for n in range(MOST + 5)}
    )
    ModuleBuilder("m0").write(again.tree / "kernel")
    time.sleep(0.06)
    assert not again.patched
    for number in range(3):
        again.put(f"n{number}")
        assert again.patched
    for number in range(MOST):
        again.put(f"o{number}")
    time.sleep(0.06)
    assert not again.patched
    assert again.patched


def test_a_file_that_is_not_as_it_was_made_is_made_anew(again: Again) -> None:
    """Whatever was done to it, and whichever it is."""
    for name in [path.name for path in again.tree.glob("modules.*.bin")]:
        (again.tree / name).write_bytes(b"damaged")
        assert not again.patched
        (again.tree / name).unlink()
        assert not again.patched
        assert again.patched


def test_other_lists_and_other_words_are_made_in_full(again: Again) -> None:
    """What the run before was made from has to be the same."""
    (again.tree / "modules.order").write_text("kernel/c.ko\n")
    assert not again.patched
    (again.tree / "modules.builtin").write_text("kernel/y.ko\n")
    assert not again.patched
    assert again.run(checks=Checks(duplicates=True)).changed is None
    assert again.run(layout=Layout.CHILDREN_FIRST).changed is None


def test_an_unreadable_module_is_named_by_each_run(again: Again) -> None:
    """A run with something to say is made in full, and so is the one after it."""
    again.put("m")
    (again.tree / "extra/m.ko").write_bytes(b"junk")
    for _ in range(2):
        found = again.run()
        assert found.changed is None and len(found.messages) == 1


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "head", "gone"])
def test_a_damaged_state_is_made_anew(again: Again, damage: str) -> None:
    """It says nothing of what is to be done."""
    path = again.cache.with_name("cache.state")
    data = path.read_bytes()
    changed = {
        "cut": data[:-1],
        "flip": data[:60] + bytes([data[60] ^ 1]) + data[61:],
        "empty": b"",
        "head": b"x" + data[1:],
    }
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(changed[damage])
    assert not again.patched
    assert again.patched


def test_a_state_comes_back_as_it_was() -> None:
    """With everything in it, and cut anywhere it is refused."""
    state = State(
        b"in", [b"a", b"b\xff"], bytes(80), [[1], []], [(b"x=1\0", True)], {"f": b"1 2"},
        {"modules.dep.bin": bytes(8), "modules.alias.bin": b""},
    )  # fmt: skip
    data = state.encode()
    found = State.decode(data)
    assert found.encode() == data
    assert ([*map(list, found.direct)], found.tail, found.outputs) == (state.direct, state.tail, state.outputs)
    assert (found.inputs, found.paths, found.states, found.places) == (b"in", state.paths, bytes(80), state.places)
    for size in range(len(data)):
        with pytest.raises(CacheError):
            State.decode(data[:size])


aliases = st.lists(st.sampled_from(["pci:v1*", "pci:v1d*", "x-y", "x_y", "new:*", "a[-b]c", ""]), max_size=3)
modules = st.builds(
    lambda aliases, undefined, softdeps: ModuleBuilder(
        "m", aliases=aliases, undefined=undefined, softdeps=softdeps
    ),
    aliases,
    st.lists(st.sampled_from(["a1", "b1", "printk"]), max_size=2, unique=True),
    st.lists(st.just("pre: a"), max_size=1),
)
steps = st.lists(
    st.dictionaries(st.sampled_from("mnopq"), modules | st.none(), min_size=1), min_size=1, max_size=4
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_any_changes_at_the_end_give_what_a_full_run_does(
    steps: Sequence[Mapping[str, ModuleBuilder | None]],
) -> None:
    """One after the other, several at once, the same module again and again."""
    root = Path(tempfile.mkdtemp())
    try:
        again = Again(root)
        for each in steps:
            for name, module in each.items():
                if module is None:
                    again.remove(name)
                else:
                    again.put(name, module)
            assert again.patched
    finally:
        shutil.rmtree(root)
