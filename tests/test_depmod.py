"""depmod: from modules to indexes, incrementally, and what the indexes answer."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from kmodkit.core.kmodtext import Devname
from kmodkit.core.modcache import FileState, ModuleFacts, decode_cache, encode_cache
from kmodkit.core.modinfo import SoftDeps
from kmodkit.depmod import Checks, generate, load_config, write_files
from kmodkit.errors import CacheError, CyclesError, FileError, KmodIndexError, ModuleNotFoundError
from kmodkit.installed import InstalledIndex
from kmodkit.scanner import scan
from kmodkit.testing import ModuleBuilder, write_tree
from tests.commands import NETWORK_CARD, network_tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kmodkit.depmod import Generated


def small_tree(root: Path) -> Path:
    """Write three modules, two of which need another by its symbols, and return their tree."""
    return write_tree(
        root / "6.1.0",
        {
            "kernel/b.ko": ModuleBuilder("b", exports={"b1": 1}, undefined=["a1"], aliases=["pci:v1*"]),
            "kernel/c.ko": ModuleBuilder("c", undefined=["b1", "printk"], compression="xz"),
            "kernel/a.ko": ModuleBuilder(
                "a", exports={"a1": 1}, aliases=["x-y", "char-major-10-200", "devname:net/tun"], weakdeps=["c"]
            ),
        },
        builtin={"kernel/z-z.ko": [("alias", "q-1")]},
    )


def made(tree: Path, *, cache: Path | None = None, **checks: object) -> Generated:
    """Run depmod on a tree."""
    return generate(tree, cache=cache, checks=Checks(**checks))  # type: ignore[arg-type]


def indexed(tree: Path) -> InstalledIndex:
    """Run depmod on a tree, write the files, and open them."""
    write_files(tree, made(tree).files)
    return InstalledIndex.open(tree)


# --- what is written ----------------------------------------------------------------------------------------


def test_dependencies_come_from_symbols(tmp_path: Path) -> None:
    """modules.dep lists all that a module needs, what is to be loaded first coming last."""
    files = made(small_tree(tmp_path)).files
    assert files["modules.dep"].decode() == (
        "kernel/b.ko: kernel/a.ko\nkernel/c.ko.xz: kernel/b.ko kernel/a.ko\nkernel/a.ko:\n"
    )


def test_the_text_files_say_what_modules_say(tmp_path: Path) -> None:
    """In the order of modules.order, aliases as they were written."""
    files = made(small_tree(tmp_path)).files
    lines = {name: data.decode().splitlines() for name, data in files.items() if not name.endswith(".bin")}
    assert lines["modules.alias"][1:] == [
        "alias pci:v1* b", "alias x-y a", "alias char-major-10-200 a", "alias devname:net/tun a",
    ]  # fmt: skip
    assert lines["modules.devname"][1:] == ["a net/tun c10:200"]
    assert lines["modules.weakdep"][1:] == ["weakdep a c"]
    assert lines["modules.softdep"][1:] == []
    assert sorted(lines["modules.symbols"][1:]) == ["alias symbol:a1 a", "alias symbol:b1 b"]


def test_the_order_of_directories_does_not_matter(tmp_path: Path) -> None:
    """Two trees with the same modules, made in another order, give the same bytes."""
    modules = {f"kernel/{name}.ko": ModuleBuilder(name, aliases=[f"x:{name}"]) for name in "abcdefgh"}
    one = write_tree(tmp_path / "one", modules, order=[])
    other = write_tree(tmp_path / "other", dict(reversed(modules.items())), order=[])
    assert made(one).files == made(other).files


def test_a_module_that_cannot_be_read_is_named_and_listed(tmp_path: Path) -> None:
    """As depmod does; the rest is whole."""
    tree = small_tree(tmp_path)
    (tree / "kernel/b.ko").write_bytes(b"junk")
    found = made(tree)
    assert [level for level, _ in found.messages] == ["ERROR"]
    assert f"failed to load symbols from {tree}/kernel/b.ko: not an ELF file" in found.messages[0][1]
    assert b"kernel/b.ko:\n" in found.files["modules.dep"]


def test_cycles_are_an_error_that_shows_them(tmp_path: Path) -> None:
    """There is no order to load such modules in, and nothing is returned."""
    pairs = (("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"))
    tree = write_tree(
        tmp_path, {f"{a}.ko": ModuleBuilder(a, exports={f"{a}1": 1}, undefined=[f"{b}1"]) for a, b in pairs}
    )
    with pytest.raises(CyclesError, match="a -> b -> a") as caught:
        made(tree)
    assert caught.value.cycles == (("a", "b", "a"), ("c", "d", "c"))


def test_updates_hide_modules_of_their_name(tmp_path: Path) -> None:
    """Unless depmod.d says otherwise."""
    tree = write_tree(
        tmp_path / "6.1.0",
        {"kernel/a.ko": ModuleBuilder("a"), "updates/a.ko": ModuleBuilder("a"), "extra/a.ko": ModuleBuilder("a")},
    )
    assert made(tree).files["modules.dep"] == b"updates/a.ko:\n"
    conf = tmp_path / "depmod.d"
    conf.mkdir()
    (conf / "a.conf").write_text("search extra updates built-in\n")
    (conf / "ignored").write_text("search built-in\n")
    config = load_config("6.1.0", [str(conf)])
    assert generate(tree, config=config).files["modules.dep"] == b"extra/a.ko:\n"


def test_files_are_taken_from_the_first_directory_that_has_them(tmp_path: Path) -> None:
    """As with all configuration of kmod: a file of /etc hides that of its name in /usr/lib."""
    for name, text in (("etc", "search a\n"), ("lib", "search b\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.conf").write_text(text)
    (tmp_path / "lib/y.conf").write_text("search c\n")
    assert load_config("6.1", [str(tmp_path / "etc"), str(tmp_path / "lib")]).search == ("a", "c")


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """It names the directory."""
    with pytest.raises(FileError, match="nothing"):
        generate(tmp_path / "nothing")


def test_an_alias_that_no_index_can_hold_is_an_error(tmp_path: Path) -> None:
    """As for depmod, and nothing is written."""
    tree = write_tree(tmp_path, {"a.ko": ModuleBuilder("a", aliases=[b"caf\xe9"])})
    with pytest.raises(KmodIndexError, match=r"modules\.alias\.bin.*7-bit"):
        made(tree)


# --- writing ------------------------------------------------------------------------------------------------


def test_writing_leaves_nothing_but_the_files(tmp_path: Path) -> None:
    """No temporary file stays behind, the old contents are gone, and links are replaced."""
    (tmp_path / "modules.dep").symlink_to("elsewhere")
    write_files(tmp_path, {"modules.dep": b"new", "modules.alias": b""})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "modules.dep": b"new", "modules.alias": b"",
    }  # fmt: skip
    assert not (tmp_path / "modules.dep").is_symlink()


def test_a_failure_to_write_changes_no_file(tmp_path: Path) -> None:
    """One file that cannot be written leaves all others as they were."""
    (tmp_path / "modules.dep").write_bytes(b"old")
    with pytest.raises(FileError) as caught:
        write_files(tmp_path, {"modules.dep": b"new", "no/such/modules.alias": b"new"})
    assert caught.value.errno == errno.ENOENT
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"modules.dep": b"old"}


# --- incrementally ------------------------------------------------------------------------------------------


class Incremental:
    """A tree with a cache, whose runs are compared with full ones."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.cache = tree.parent / "cache"

    def settle(self) -> None:
        """Wait until the files' times are past: what changed just now is not kept."""
        time.sleep(0.06)

    def run(self) -> tuple[int, Mapping[str, bytes]]:
        """Return how many files a run opened, after comparing what it gave with a full run."""
        found = made(self.tree, cache=self.cache)
        assert found.files == made(self.tree).files
        return found.opened, found.files


@pytest.fixture
def incremental(tmp_path: Path) -> Incremental:
    """A tree of which all is in the cache."""
    found = Incremental(small_tree(tmp_path))
    found.settle()
    assert found.run()[0] == 3
    assert found.run()[0] == 0
    return found


def test_only_a_changed_module_is_opened(incremental: Incremental) -> None:
    """And what comes of it is what a full run gives."""
    ModuleBuilder("b", exports={"b1": 1}).write(incremental.tree / "kernel/b.ko")
    incremental.settle()
    opened, files = incremental.run()
    assert opened == 1
    assert b"kernel/b.ko:\n" in files["modules.dep"]
    assert incremental.run()[0] == 0


def test_modules_that_go_and_come_are_seen(incremental: Incremental) -> None:
    """A removed module is in no file any more, and is opened when it is back."""
    kept = (incremental.tree / "kernel/a.ko").read_bytes()
    (incremental.tree / "kernel/a.ko").unlink()
    opened, files = incremental.run()
    assert (opened, b"a.ko" in files["modules.dep"]) == (0, False)
    (incremental.tree / "kernel/a.ko").write_bytes(kept)
    assert incremental.run()[0] == 1


def test_a_rewrite_of_the_same_size_and_time_is_seen(incremental: Incremental) -> None:
    """The time of the change of the inode tells, which cannot be set back."""
    path = incremental.tree / "kernel/b.ko"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"pci:v1*", b"pci:v2*"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_size == before.st_size
    opened, files = incremental.run()
    assert opened == 1
    assert b"pci:v2*" in files["modules.alias"]


def test_a_file_put_in_place_of_another_is_seen(incremental: Incremental) -> None:
    """With the same size and times, as a package of the same day has them."""
    path = incremental.tree / "kernel/b.ko"
    other = incremental.tree.parent / "other"
    other.write_bytes(path.read_bytes().replace(b"pci:v1*", b"pci:v3*"))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)
    opened, files = incremental.run()
    assert opened == 1
    assert b"pci:v3*" in files["modules.alias"]


def test_times_that_go_back_are_a_change(incremental: Incremental) -> None:
    """An older file than the one that was read is another one."""
    path = incremental.tree / "kernel/b.ko"
    os.utime(path, ns=(1, 1))
    assert incremental.run()[0] == 1


def test_what_changed_just_now_is_read_again(tmp_path: Path) -> None:
    """Within a tick of the clock a second change would not show, so such files are not kept."""
    found = Incremental(small_tree(tmp_path))
    soon = time.time() + 100
    assert all(path.stat().st_ctime < soon for path in found.tree.rglob("*.ko*"))
    ModuleBuilder("b", aliases=["one"]).write(found.tree / "kernel/b.ko")
    found.run()
    path = found.tree / "kernel/b.ko"
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))
    assert b"alias two b" in found.run()[1]["modules.alias"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "junk", "version"])
def test_a_damaged_cache_is_made_anew(incremental: Incremental, damage: str) -> None:
    """Whatever is in it, the result is that of a full run."""
    data = incremental.cache.read_bytes()
    changed = {
        "cut": data[:-20],
        "flip": data[:200] + bytes([data[200] ^ 1]) + data[201:],
        "empty": b"",
        "junk": b"junk" * 100,
        "version": data[:16] + b"\x63" + data[17:],
    }[damage]
    incremental.cache.write_bytes(changed)
    assert incremental.run()[0] == 3
    assert incremental.run()[0] == 0


def test_a_cache_comes_back_as_it_was() -> None:
    """Paths of any bytes, and every field of the state of a file."""
    cache = {
        b"kernel/\xff.ko": (FileState(1, -2, 3, 2**64 - 1, 5), ModuleFacts(b"name=a\0", b"x\0y", b"")),
        b"": (FileState(0, 0, 0, 0, 0), ModuleFacts(b"", b"", b"")),
    }
    data = encode_cache(cache)
    assert decode_cache(data) == cache
    for size in range(len(data)):
        with pytest.raises(CacheError):
            decode_cache(data[:size])


def test_nothing_is_made_again_where_nothing_changed(tmp_path: Path) -> None:
    """With the files of before in place; one of them damaged or a list changed, all are made again."""
    tree = small_tree(tmp_path)
    time.sleep(0.06)

    def again() -> Generated:
        found = generate(tree, cache=tmp_path / "cache", previous=tree)
        assert found.files == made(tree).files
        return found

    write_files(tree, again().files)
    assert again().unchanged
    (tree / "modules.alias").write_bytes(b"damaged")
    assert not again().unchanged
    write_files(tree, again().files)
    assert again().unchanged
    (tree / "modules.order").write_text("kernel/c.ko\n")
    assert not again().unchanged
    (tree / "modules.order").unlink()
    assert [level for level, _ in again().messages] == [level for level, _ in again().messages] == ["WARNING"]


PROGRAM = """
import sys
from kmodkit.kernel.beside import beside
def work():
    {work}
with beside(work) as result:
    {use}
print("ended")
"""


@pytest.mark.parametrize(
    ("work", "use", "out"),
    [
        (
            "return [b'', b'x' * 100_000, b'y']",
            "print(*[len(piece) for piece in result()])",
            "0 100000 1\nended\n",
        ),
        ("import os; os._exit(7)", "pass", "ended\n"),
        ("import time; time.sleep(600)", "pass", "ended\n"),
        ("return [b'x' * 10_000_000]", "pass", "ended\n"),
    ],
)
def test_work_in_a_second_process_comes_back_or_ends(work: str, use: str, out: str) -> None:
    """What it returns, of any size; and where nobody wants it any more it does not go on."""
    program = PROGRAM.format(work=work, use=use)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (out, "", 0)


def test_an_error_in_a_second_process_is_raised_here() -> None:
    """The work is done again, so that the error is the one that it raises."""
    program = PROGRAM.format(work="raise KeyError('here')", use="result()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.splitlines()[-1] == "KeyError: 'here'" and done.returncode == 1


# --- what the files answer ----------------------------------------------------------------------------------


def test_names_paths_and_dependencies(tmp_path: Path) -> None:
    """Dependencies come in load order, names are found with either dash."""
    index = indexed(small_tree(tmp_path))
    assert index.names() == ("a", "b", "c")
    assert index.path("c") == "kernel/c.ko.xz"
    assert index.dependencies("c") == ("kernel/a.ko", "kernel/b.ko")
    assert "b" in index and "d" not in index and index.path("d") is None
    with pytest.raises(ModuleNotFoundError):
        index.dependencies("d")


def test_lookups_of_each_index(tmp_path: Path) -> None:
    """Devices, symbols and what is built in, with dashes equal to underscores."""
    index = indexed(small_tree(tmp_path))
    assert index.lookup("pci:v12") == ("b",)
    assert index.lookup("x_y") == index.lookup("x-y") == ("a",)
    assert index.lookup("nothing") == ()
    assert index.lookup_symbol("b1") == index.lookup_symbol(b"symbol:b1") == ("b",)
    assert index.lookup_builtin("q_1") == ("z_z",)
    assert index.builtin("z-z") and not index.builtin("a")
    assert index.builtins() == ("z_z",)
    assert index.weakdeps("a") == ("c",) and index.softdeps("a") == SoftDeps()
    assert index.devnames() == [Devname("a", "net/tun", "c", 10, 200)]


def test_a_catalog_needs_no_module_file(tmp_path: Path) -> None:
    """With every module file gone it answers what a scan of them answered."""
    tree = network_tree(tmp_path)
    scanned = scan(tree).catalog
    index = indexed(tree)
    for path in tree.rglob("*.ko*"):
        path.unlink()
    catalog = index.catalog()
    assert [module.name for module in catalog] == [module.name for module in scanned]
    for module in catalog:
        before = scanned[module.name]
        assert (module.path, module.aliases, module.softdeps, module.weakdeps) == (
            before.path, before.aliases, before.softdeps, before.weakdeps,
        )  # fmt: skip
    assert [found.name for found in catalog.lookup(NETWORK_CARD)] == ["r8169"] == list(index.lookup(NETWORK_CARD))


def test_the_dependencies_of_a_catalog_are_all_there_are(tmp_path: Path) -> None:
    """Depmod's files have what a module needs through others too, and the load order stays right."""
    catalog = indexed(small_tree(tmp_path)).catalog()
    assert catalog["c"].depends == ("a", "b")
    assert [module.name for module in catalog.closure(["c"])] == ["a", "b", "c"]


def test_a_tree_without_indexes_is_an_error(tmp_path: Path) -> None:
    """It names the file that is missing; the other files may be."""
    with pytest.raises(FileError, match=r"modules\.dep\.bin"):
        InstalledIndex.open(tmp_path)
    index = indexed(small_tree(tmp_path))
    for name in ("modules.alias.bin", "modules.softdep", "modules.builtin.alias.bin"):
        (tmp_path / "6.1.0" / name).unlink()
    assert index.lookup("pci:v12") == index.lookup_builtin("q_1") == ()
    assert index.softdeps("a") == SoftDeps()


def test_a_corrupt_index_is_named(tmp_path: Path) -> None:
    """With the offset of what is wrong."""
    tree = small_tree(tmp_path)
    index = indexed(tree)
    (tree / "modules.alias.bin").write_bytes(b"x" * 40)
    with pytest.raises(KmodIndexError, match=r"modules\.alias\.bin: not an index of depmod \(at offset 0x0\)"):
        index.lookup("x")
