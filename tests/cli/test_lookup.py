"""kmodkit lookup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kmodkit import depmod
from kmodkit.kernel import uevents
from kmodkit.testing import ModuleBuilder, write_tree
from tests.commands import NETWORK_CARD, network_tree, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree of network drivers."""
    return network_tree(tmp_path)


def test_one_modalias_gives_its_modules_a_line_each(tmp_path: Path, capsys: Capture) -> None:
    """In the order of modules.order, then by name."""
    tree = write_tree(
        tmp_path,
        {f"kernel/{name}.ko": ModuleBuilder(name, aliases=["pci:*"]) for name in ("b", "c", "a")},
        order=["kernel/c.ko"],
    )
    assert run(capsys, "lookup", "pci:1", "--tree", tree) == (0, "c\na\nb\n", "")


def test_several_give_a_line_each(tree: Path, capsys: Capture) -> None:
    """The modalias, a tab and the modules; the status is 1 where one has none."""
    ran = run(capsys, "lookup", NETWORK_CARD, "mdio:1", "--tree", tree)
    assert ran == (0, f"{NETWORK_CARD}\tr8169\nmdio:1\trealtek\n", "")
    ran = run(capsys, "lookup", NETWORK_CARD, "usb:none", "--tree", tree)
    assert ran == (1, f"{NETWORK_CARD}\tr8169\nusb:none\t\n", "")


def test_one_that_matches_nothing_is_status_1(tree: Path, capsys: Capture) -> None:
    """And no line."""
    assert run(capsys, "lookup", "usb:none", "--tree", tree) == (1, "", "")


def test_what_is_built_in_is_shown_where_asked_for(tree: Path, capsys: Capture) -> None:
    """There is nothing to load for it otherwise."""
    assert run(capsys, "lookup", "cpu:type:x86,", "--tree", tree).status == 1
    assert run(capsys, "lookup", "cpu:type:x86,", "--tree", tree, "--builtin") == (0, "ptp_core\n", "")


def test_json_has_an_object_for_each_modalias(tree: Path, capsys: Capture) -> None:
    """With the path of each module, null for what is built in; one document also for none."""
    ran = run(capsys, "lookup", NETWORK_CARD, "cpu:type:x86", "x", "--tree", tree, "--builtin", "--json")
    assert ran.status == 1
    assert ran.json == [
        {"modalias": NETWORK_CARD, "modules": [{"name": "r8169", "path": "kernel/net/r8169.ko"}]},
        {"modalias": "cpu:type:x86", "modules": [{"name": "ptp_core", "path": None}]},
        {"modalias": "x", "modules": []},
    ]


def test_sysfs_looks_up_all_devices(tree: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line starts with the device, and those without a module are left out; the status is always 0."""

    def found() -> Iterator[tuple[str, str]]:
        yield from (("/devices/a", NETWORK_CARD), ("/devices/b", "usb:none"), ("/devices/c", "mdio:\udcff"))

    monkeypatch.setattr(uevents, "read_modaliases", found)
    ran = run(capsys, "lookup", "--sysfs", "--tree", tree)
    assert ran == (0, f"/devices/a\t{NETWORK_CARD}\tr8169\n/devices/c\tmdio:\\udcff\trealtek\n", "")
    records = run(capsys, "lookup", "--sysfs", "--tree", tree, "--json").json
    assert [(record["device"], len(record["modules"])) for record in records] == [
        ("/devices/a", 1),
        ("/devices/b", 0),
        ("/devices/c", 1),
    ]


@pytest.mark.parametrize("words", [(), ("--sysfs", "x"), ("x", "--tree", "a", "--meta", "b")])
def test_words_that_contradict_each_other_are_status_2(words: tuple[str, ...], capsys: Capture) -> None:
    """Either modaliases or --sysfs, and one source of modules."""
    assert run(capsys, "lookup", *words).status == 2


def test_a_file_that_is_skipped_is_named(tree: Path, capsys: Capture) -> None:
    """The answer may lack its module; the others stand."""
    (tree / "kernel/broken.ko.gz").write_bytes(b"\x1f\x8b")
    ran = run(capsys, "lookup", NETWORK_CARD, "--tree", tree)
    assert (ran.status, ran.out) == (0, "r8169\n")
    assert ran.err.startswith(f"kmodkit: warning: skipped {tree}/kernel/broken.ko.gz: ")


def test_metadata_that_is_none_is_named(tmp_path: Path, capsys: Capture) -> None:
    """With what is wrong."""
    file = tmp_path / "meta.pb"
    assert run(capsys, "lookup", "x", "--meta", file).err == f"kmodkit lookup: {file}: No such file or directory\n"
    file.write_bytes(b"junk")
    ran = run(capsys, "lookup", "x", "--meta", file)
    assert (ran.status, ran.out) == (1, "")
    assert str(file) in ran.err


@pytest.fixture
def indexed(tree: Path) -> Path:
    """Give the same tree with depmod's files, and a module that came after depmod was run."""
    depmod.write_files(tree, depmod.generate(tree).files)
    write_tree(tree, {"kernel/late.ko": ModuleBuilder("late", aliases=["late:*"])})
    return tree


def test_what_depmod_left_is_taken_as_modprobe_takes_it(indexed: Path, capsys: Capture) -> None:
    """A module that came later is not known there; --scan reads the modules themselves."""
    assert run(capsys, "lookup", NETWORK_CARD, "--tree", indexed) == (0, "r8169\n", "")
    assert run(capsys, "lookup", "late:1", "--tree", indexed) == (1, "", "")
    assert run(capsys, "lookup", "late:1", "--tree", indexed, "--scan") == (0, "late\n", "")


def test_depmods_files_are_found_below_a_root(indexed: Path, tmp_path: Path, capsys: Capture) -> None:
    """Where the tree of the only kernel is, as everywhere else."""
    place = tmp_path / "root/lib/modules/6.1.0"
    place.parent.mkdir(parents=True)
    place.symlink_to(indexed)
    assert run(capsys, "lookup", "late:1", "--tree", tmp_path / "root") == (1, "", "")
    assert run(capsys, "lookup", NETWORK_CARD, "--tree", tmp_path / "root") == (0, "r8169\n", "")


def test_depmods_files_give_the_same_json(indexed: Path, capsys: Capture) -> None:
    """Paths and what is built in included."""
    words = ["lookup", NETWORK_CARD, "cpu:type:x86,", "x-y", "--tree", indexed, "--builtin", "--json"]
    assert run(capsys, *words) == run(capsys, *words, "--scan")


def test_a_damaged_index_is_an_error_with_its_name(indexed: Path, capsys: Capture) -> None:
    """And not a reason to scan: modprobe would fail as well."""
    (indexed / "modules.alias.bin").write_bytes(b"junk")
    ran = run(capsys, "lookup", NETWORK_CARD, "--tree", indexed)
    assert (ran.status, ran.out) == (1, "")
    assert f"{indexed}/modules.alias.bin" in ran.err
