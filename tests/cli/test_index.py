"""kmodkit index."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from kmodkit.scanner import load_metadata, scan
from kmodkit.testing import ModuleBuilder, write_tree
from tests.commands import NETWORK_CARD, network_tree, run

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree of network drivers."""
    return network_tree(tmp_path)


def test_the_index_of_a_tree_goes_into_it(tree: Path, capsys: Capture) -> None:
    """One line says where, what and how much; the file holds what a scan finds."""
    ran = run(capsys, "index", tree)
    size = (tree / "meta.pb").stat().st_size
    expected = f"{tree}/meta.pb: 5 modules, 1 built in, 4 aliases, {size} bytes\n"
    assert ran == (0, expected, "")
    assert load_metadata(tree / "meta.pb") == scan(tree).catalog


def test_the_index_goes_where_it_is_wanted(tree: Path, tmp_path: Path, capsys: Capture) -> None:
    """And answers from there."""
    assert run(capsys, "index", tree, "-o", tmp_path / "here.pb").status == 0
    assert not (tree / "meta.pb").exists()
    assert run(capsys, "lookup", NETWORK_CARD, "--meta", tmp_path / "here.pb") == (0, "r8169\n", "")


def test_json_has_what_the_line_has(tree: Path, capsys: Capture) -> None:
    """One object."""
    ran = run(capsys, "index", tree, "--json")
    size = (tree / "meta.pb").stat().st_size
    assert ran.status == 0
    assert ran.json == {
        "tree": str(tree),
        "output": f"{tree}/meta.pb",
        "size": size,
        "modules": 5,
        "builtin": 1,
        "aliases": 4,
        "skipped": [],
        "problems": [],
        "changed": True,
    }


def test_a_hyphen_writes_to_standard_output(tree: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The bytes of the file, and nothing else."""
    from kmodkit.cli import main

    assert main(["index", str(tree)]) == 0
    capfdbinary.readouterr()
    assert main(["index", str(tree), "-o", "-"]) == 0
    assert capfdbinary.readouterr().out == (tree / "meta.pb").read_bytes()


def test_a_file_that_cannot_be_read_is_skipped_and_named(tree: Path, capsys: Capture) -> None:
    """The rest is written, and the status is 1."""
    (tree / "kernel/net/broken.ko").write_bytes(b"\x7fELF")
    ran = run(capsys, "index", tree)
    assert ran.status == 1
    assert "5 modules, 1 built in" in ran.out
    assert ran.out.endswith("; 1 files skipped\n")
    assert ran.err.startswith(f"kmodkit: warning: skipped {tree}/kernel/net/broken.ko: ")
    assert len(load_metadata(tree / "meta.pb")) == 6
    skipped = run(capsys, "index", tree, "--json").json["skipped"]
    assert [text.partition(":")[0] for text in skipped] == [f"{tree}/kernel/net/broken.ko"]


def test_strict_writes_nothing_where_anything_is_wrong(tree: Path, capsys: Capture) -> None:
    """Each problem is named; an index that was there stays as it was."""
    (tree / "meta.pb").write_bytes(b"old")
    (tree / "kernel/net/broken.ko").write_bytes(b"\x7fELF")
    ModuleBuilder("lost", depends=["nowhere"]).write(tree / "kernel/net")
    ModuleBuilder("ring", depends=["ring"]).write(tree / "kernel/net")
    ran = run(capsys, "index", tree, "--strict")
    assert (ran.status, ran.out) == (1, "")
    problems = ran.err.splitlines()
    assert all(line.startswith("kmodkit index: ") for line in problems)
    assert "kernel/net/broken.ko" in problems[0]
    assert problems[1:] == [
        "kmodkit index: module 'lost' depends on 'nowhere', which does not exist",
        "kmodkit index: dependency cycle: ring -> ring",
    ]
    assert (tree / "meta.pb").read_bytes() == b"old"


def test_strict_is_content_with_a_good_tree(tree: Path, capsys: Capture) -> None:
    """There is nothing to say."""
    assert run(capsys, "index", tree, "--strict")[::2] == (0, "")


def test_problems_between_modules_are_warnings(tree: Path, capsys: Capture) -> None:
    """Without --strict nothing is lost by them, so the status is 0."""
    ModuleBuilder("lost", depends=["nowhere"]).write(tree / "kernel/net")
    ran = run(capsys, "index", tree)
    assert ran.status == 0
    assert ran.err == "kmodkit: warning: module 'lost' depends on 'nowhere', which does not exist\n"
    assert run(capsys, "index", tree, "--json").json["problems"] == [
        "module 'lost' depends on 'nowhere', which does not exist"
    ]


def test_an_index_is_replaced_whole_or_not_at_all(
    tree: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full leaves the old one, and nothing beside it."""
    (tree / "meta.pb").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    before = sorted(path.name for path in tree.iterdir())
    ran = run(capsys, "index", tree)
    assert ran == (1, "", f"kmodkit index: {tree}/meta.pb: No space left on device\n")
    assert (tree / "meta.pb").read_bytes() == b"old"
    assert sorted(path.name for path in tree.iterdir()) == before


def test_a_place_that_is_not_there_is_named(tree: Path, tmp_path: Path, capsys: Capture) -> None:
    """As for any file that cannot be written."""
    ran = run(capsys, "index", tree, "-o", tmp_path / "none/meta.pb")
    assert ran == (1, "", f"kmodkit index: {tmp_path}/none/meta.pb: No such file or directory\n")


def test_a_directory_without_modules_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    """An empty index would look like one of a kernel."""
    assert run(capsys, "index", tmp_path) == (1, "", f"kmodkit index: {tmp_path}: no modules here\n")


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_the_number_of_threads_is_above_0(tree: Path, number: str, capsys: Capture) -> None:
    """Anything else is a wrong word."""
    ran = run(capsys, "index", tree, "-j", number)
    assert ran.status == 2
    assert f"'{number}'" in ran.err


def test_threads_do_not_change_the_index(tmp_path: Path, capsys: Capture) -> None:
    """The same bytes, however many there are."""
    tree = write_tree(tmp_path, {f"kernel/m{n}.ko": ModuleBuilder(f"m{n}", compression="xz") for n in range(20)})
    outputs = set()
    for jobs in (1, 2, 7):
        assert run(capsys, "index", tree, "-j", jobs).status == 0
        outputs.add((tree / "meta.pb").read_bytes())
    assert len(outputs) == 1


def settle(tree: Path) -> None:
    """Wait until the clock has gone on, so that what is there is not too new to be relied on."""
    newest = max(path.stat().st_ctime_ns for path in tree.rglob("*"))
    while time.time_ns() < newest + 40_000_000:
        time.sleep(0.01)


def test_an_index_that_is_up_to_date_is_left_as_it_is(tree: Path, capsys: Capture) -> None:
    """The line is the same; once a module comes, it is read and the index written."""
    settle(tree)
    first = run(capsys, "index", tree, "--incremental")
    assert first.status == 0
    assert (tree / "meta.pb.cache").exists()
    before = (tree / "meta.pb").stat()
    assert run(capsys, "index", tree, "--incremental") == first
    assert (tree / "meta.pb").stat() == before
    assert run(capsys, "index", tree, "--incremental", "--json").json["changed"] is False
    ModuleBuilder("late", aliases=["late:*"]).write(tree / "kernel/net")
    assert "6 modules" in run(capsys, "index", tree, "--incremental").out
    assert load_metadata(tree / "meta.pb") == scan(tree).catalog


def test_an_index_that_somebody_changed_is_written_again(tree: Path, tmp_path: Path, capsys: Capture) -> None:
    """Its contents count, not its times."""
    settle(tree)
    words = ["index", tree, "--cache", tmp_path / "cache"]
    run(capsys, *words)
    good = (tree / "meta.pb").read_bytes()
    for damage in (b"", b"x" + good[1:]):
        (tree / "meta.pb").write_bytes(damage)
        assert run(capsys, *words).status == 0
        assert (tree / "meta.pb").read_bytes() == good


def test_what_was_wrong_is_said_again(tree: Path, capsys: Capture) -> None:
    """A run that has something to say is never left out."""
    (tree / "kernel/net/broken.ko").write_bytes(b"\x7fELF")
    ModuleBuilder("lost", depends=["nowhere"]).write(tree / "kernel/net")
    settle(tree)
    first = run(capsys, "index", tree, "--incremental")
    assert first.status == 1
    assert run(capsys, "index", tree, "--incremental") == first


def test_nothing_can_be_kept_beside_standard_output(tree: Path, capsys: Capture) -> None:
    """Wrong words."""
    assert run(capsys, "index", tree, "--incremental", "-o", "-").status == 2
