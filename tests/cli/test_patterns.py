"""kmodkit patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kmodkit.testing import ModuleBuilder, write_tree
from tests.commands import network_tree, run

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


def test_the_tree_is_printed_a_node_a_line(tmp_path: Path, capsys: Capture) -> None:
    """Literal text quoted, with the modules whose pattern ends there."""
    tree = write_tree(
        tmp_path,
        {
            "kernel/b.ko": ModuleBuilder("b", aliases=["pci:v1*", "pci:v2[0-9]"]),
            "kernel/a.ko": ModuleBuilder("a", aliases=["pci:v1*", "usb:?"]),
        },
    )
    ran = run(capsys, "patterns", "--tree", tree)
    assert (ran.status, ran.err) == (0, "")
    assert ran.lines == [
        '"pci:v"',
        '  "1"',
        "    * -> b a",
        '  "2"',
        "    [0-9] -> b",
        '"usb:"',
        "  ? -> a",
    ]


def test_what_is_built_in_has_a_tree_of_its_own(tmp_path: Path, capsys: Capture) -> None:
    """It is shown only where it is asked for."""
    tree = network_tree(tmp_path)
    assert "ptp_core" not in run(capsys, "patterns", "--tree", tree).out
    assert run(capsys, "patterns", "--builtin", "--tree", tree).lines == ['"cpu:type:x86"', "  * -> ptp_core"]


def test_json_has_each_pattern_with_its_modules(tmp_path: Path, capsys: Capture) -> None:
    """As they were written."""
    records = run(capsys, "patterns", "--json", "--tree", network_tree(tmp_path)).json
    assert records == [
        {"pattern": "fs-xfs", "modules": ["realtek"]},
        {"pattern": "mdio:*", "modules": ["realtek"]},
        {"pattern": "pci:v000010ECd00008125sv*sd*bc*sc*i*", "modules": ["r8169"]},
        {"pattern": "pci:v000010ECd00008168sv*sd*bc*sc*i*", "modules": ["r8169"]},
    ]


def test_the_picture_does_not_depend_on_where_it_comes_from(tmp_path: Path, capsys: Capture) -> None:
    """A tree and the metadata made of it print the same."""
    tree = network_tree(tmp_path)
    assert run(capsys, "index", tree, "-o", tmp_path / "meta.pb").status == 0
    for form in ((), ("--json",), ("--builtin",)):
        one = run(capsys, "patterns", *form, "--tree", tree)
        assert run(capsys, "patterns", *form, "--meta", tmp_path / "meta.pb") == one


def test_bytes_that_are_no_text_are_printed_with_escapes(tmp_path: Path, capsys: Capture) -> None:
    """So that the picture is always text."""
    tree = write_tree(tmp_path, {"kernel/a.ko": ModuleBuilder("a", aliases=[b"x:\xff"])})
    assert run(capsys, "patterns", "--tree", tree).out == '"x:\\udcff" -> a\n'


def test_a_tree_without_patterns_prints_nothing(tmp_path: Path, capsys: Capture) -> None:
    """And an empty list as JSON."""
    tree = write_tree(tmp_path, {"kernel/a.ko": ModuleBuilder("a")})
    assert run(capsys, "patterns", "--tree", tree) == (0, "", "")
    assert run(capsys, "patterns", "--json", "--tree", tree).json == []
