"""``kmodkit depmod``: its words, messages and exit statuses; the real depmod is asked in tests/real."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from kmodkit.cli.depmod import CACHE_NAME
from kmodkit.installed import InstalledIndex
from kmodkit.testing import ModuleBuilder, write_tree
from tests.commands import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Ran

RELEASE = "6.1.0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one tree of two modules."""
    write_tree(
        tmp_path / "lib/modules" / RELEASE,
        {
            "kernel/a.ko": ModuleBuilder("a", exports={"a1": 1}, aliases=["x:1"]),
            "kernel/b.ko": ModuleBuilder("b", undefined=["a1", "gone"]),
        },
        builtin={},
    )
    return tmp_path


def depmod(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> Ran:
    """Run the command on a root, without the machine's depmod.d."""
    return run(capsys, "depmod", "-b", str(root), "-C", "/dev/null", *words)


def tree_of(root: Path) -> Path:
    """Return the tree below a root."""
    return root / "lib/modules" / RELEASE


def test_it_writes_all_files_and_says_nothing(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    """As the original does; no cache appears unasked."""
    before = {path.name for path in tree_of(root).iterdir()}
    assert depmod(capsys, root, RELEASE) == (0, "", "")
    written = {path.name for path in tree_of(root).iterdir()} - before
    assert len(written) == 11 and CACHE_NAME not in written
    assert InstalledIndex.open(tree_of(root)).dependencies("b") == ("kernel/a.ko",)


def test_show_prints_the_text_files_and_writes_none(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    """One behind the other, without the binary ones."""
    ran = depmod(capsys, root, "-n", RELEASE)
    assert ran.status == 0
    assert ran.lines[:2] == ["kernel/a.ko:", "kernel/b.ko: kernel/a.ko"]
    assert "alias x:1 a" in ran.lines and "alias symbol:a1 a" in ran.lines
    assert not (tree_of(root) / "modules.dep").exists()


def test_outdir_takes_the_files(capsys: pytest.CaptureFixture[str], root: Path, tmp_path: Path) -> None:
    """In a tree of their own, which is made; relative paths are from here."""
    assert depmod(capsys, root, "-o", str(tmp_path / "out"), RELEASE).status == 0
    assert (tmp_path / "out/lib/modules" / RELEASE / "modules.dep").exists()
    assert not (tree_of(root) / "modules.dep").exists()


def test_quick_does_nothing_where_nothing_is_newer(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    """And all the work where something is."""
    assert depmod(capsys, root, RELEASE).status == 0
    dep = tree_of(root) / "modules.dep"
    dep.write_text("mine")
    assert depmod(capsys, root, "-A", RELEASE) == (0, "", "")
    assert dep.read_text() == "mine"
    time.sleep(0.02)
    (tree_of(root) / "kernel/a.ko").touch()
    assert depmod(capsys, root, "-A", RELEASE).status == 0
    assert dep.read_text() != "mine"


def test_unknown_symbols_are_named(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    """With -e and a list of what the kernel has."""
    (root / "map").write_text("0 T x\n0 R __ksymtab_printk\n")
    ran = depmod(capsys, root, "-e", "-F", str(root / "map"), RELEASE)
    assert ran == (0, "", f"depmod: WARNING: {tree_of(root)}/kernel/b.ko needs unknown symbol gone\n")
    assert depmod(capsys, root, "-e", RELEASE).err == "depmod: WARNING: -e needs -E or -F\n"


def test_incremental_keeps_a_cache_where_it_is_asked_to(
    capsys: pytest.CaptureFixture[str], root: Path, tmp_path: Path
) -> None:
    """Beside the indexes, or where --cache says; and the files are the same."""
    depmod(capsys, root, RELEASE)
    full = {path.name: path.read_bytes() for path in tree_of(root).glob("modules.*")}
    for words in (["--incremental"], ["--incremental"], ["--cache", str(tmp_path / "new/cache")]):
        assert depmod(capsys, root, *words, RELEASE) == (0, "", "")
    assert (tree_of(root) / CACHE_NAME).exists() and (tmp_path / "new/cache").exists()
    assert {name: (tree_of(root) / name).read_bytes() for name in full} == full


def test_formats_differ_in_the_binary_files_alone(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    """--format=30 writes what kmod did before 34, which knew no weak dependencies in its first releases."""
    for form in ("30", "34"):
        assert depmod(capsys, root, f"--format={form}", "-o", str(root / form), RELEASE).status == 0
    one, other = (
        {path.name: path.read_bytes() for path in (root / form / "lib/modules" / RELEASE).iterdir()}
        for form in ("30", "34")
    )
    assert other.keys() - one.keys() == {"modules.weakdep"}
    assert {name for name in one if one[name] != other[name]} == {
        "modules.dep.bin", "modules.alias.bin", "modules.symbols.bin",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nothing"], "depmod: unrecognized option '--nothing'"),
        (["-b"], "depmod: option requires an argument -- 'b'"),
        (["-P", "ab", RELEASE], "depmod: FATAL: -P only takes a single char"),
        (["six"], "depmod: ERROR: Bad version passed six"),
        (["-E", "/nothing", RELEASE], "depmod: FATAL: could not load /nothing: No such file or directory"),
        ([RELEASE, "kernel/a.ko"], "depmod: FATAL: kernel/a.ko: not absolute path."),
        (["--format=29"], "depmod: no such format: '29'"),
        (["--jobs=0"], "depmod: not a number of threads: '0'"),
        (["--diff", "one"], "depmod: --diff takes two trees"),
    ],
)
def test_wrong_words_end_with_one(
    capsys: pytest.CaptureFixture[str], root: Path, words: list[str], message: str
) -> None:
    """As for all commands of kmod; nothing is written."""
    ran = run(capsys, "depmod", *words)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == message + "\n"
    assert not (tree_of(root) / "modules.dep").exists()


def test_a_tree_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In the two lines of the original."""
    ran = depmod(capsys, tmp_path, RELEASE)
    assert (ran.status, ran.err) == (
        1,
        f"depmod: ERROR: could not open directory {tmp_path}/lib/modules/{RELEASE}: No such file or directory\n"
        "depmod: FATAL: could not search modules: No such file or directory\n",
    )


def test_help_and_version_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output, with status 0, whatever else is there."""
    ran = run(capsys, "depmod", "-h", "--nothing")
    assert ran.status == 0
    assert all(
        f"--{name}" in ran.out for name in ("basedir", "outdir", "moduledir", "incremental", "diff", "symvers")
    )
    assert run(capsys, "depmod", "-V").out.startswith("kmodkit version ")


def test_diff_shows_what_came_and_went(capsys: pytest.CaptureFixture[str], root: Path, tmp_path: Path) -> None:
    """Between a tree with indexes and one without; compression is no difference."""
    depmod(capsys, root, RELEASE)
    other = write_tree(
        tmp_path / "other",
        {
            "kernel/a.ko": ModuleBuilder("a", exports={"a2": 1}, aliases=["x:2"], compression="xz"),
            "kernel/c.ko": ModuleBuilder("c"),
        },
        builtin={},
    )
    ran = run(capsys, "depmod", "--diff", tree_of(root), other)
    assert (ran.status, ran.err) == (0, "")
    assert ran.lines == [
        "modules: 1 added, 1 removed", "- b kernel/b.ko", "+ c kernel/c.ko",
        "aliases: 1 added, 1 removed", "- x:1 a", "+ x:2 a",
        "symbols: 1 added, 1 removed", "- a1 a", "+ a2 a",
        "dependencies: 0 added, 0 removed",
    ]  # fmt: skip
    found = run(capsys, "depmod", "--json", "--diff", tree_of(root), other).json
    assert found["aliases"] == {"added": [["x:2", "a"]], "removed": [["x:1", "a"]]}


def test_diff_of_a_tree_with_itself_is_empty(capsys: pytest.CaptureFixture[str], root: Path) -> None:
    """Every count is 0."""
    ran = run(capsys, "depmod", "--diff", tree_of(root), root)
    assert all(line.endswith("0 added, 0 removed") for line in ran.lines) and len(ran.lines) == 4
