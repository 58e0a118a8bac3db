"""kmodkit deps."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from kmodkit.testing import ModuleBuilder, write_tree
from tests.commands import NETWORK_CARD, network_tree, run
from tests.require import need

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree of network drivers."""
    return network_tree(tmp_path)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("r8169",), "libphy mdio_devres realtek r8169"),
        (("r8169", "--no-soft"), "libphy mdio_devres r8169"),
        (("r8169", "--weak"), "libphy mdio_devres realtek r8169 firmware_helper"),
        (("r8169", "--builtin"), "ptp_core libphy mdio_devres realtek r8169"),
        (("mdio-devres", "firmware-helper"), "libphy mdio_devres firmware_helper"),
        ((NETWORK_CARD, "--no-soft"), "libphy mdio_devres r8169"),
        (("ptp_core",), ""),
        (("ptp_core", "--builtin"), "ptp_core"),
    ],
)
def test_what_is_needed_comes_in_load_order(
    tree: Path, words: tuple[str, ...], names: str, capsys: Capture
) -> None:
    """A name a line, the modules named last; an alias stands for its modules."""
    assert run(capsys, "deps", *words, "--tree", tree) == (0, "".join(f"{name}\n" for name in names.split()), "")


def test_paths_are_relative_to_the_tree(tree: Path, capsys: Capture) -> None:
    """What is built in has none."""
    ran = run(capsys, "deps", "mdio_devres", "--paths", "--builtin", "--tree", tree)
    assert ran.lines == ["(builtin)", "kernel/net/libphy.ko", "kernel/net/mdio_devres.ko.xz"]


def test_json_has_every_kind_of_dependency(tree: Path, capsys: Capture) -> None:
    """Soft and weak ones as the modules that they mean."""
    records = run(capsys, "deps", "r8169", "--json", "--tree", tree).json
    assert [record["name"] for record in records] == ["libphy", "mdio_devres", "realtek", "r8169"]
    assert records[-1] == {
        "name": "r8169",
        "path": "kernel/net/r8169.ko",
        "depends": ["mdio_devres", "libphy"],
        "softdep_pre": ["realtek"],
        "softdep_post": [],
        "weakdep": ["firmware_helper"],
    }


def test_dot_is_a_graph_with_an_arrow_for_each_dependency(tree: Path, capsys: Capture) -> None:
    """Soft ones dashed, weak ones dotted; arrows lead only to what is shown."""
    ran = run(capsys, "deps", "r8169", "--weak", "--dot", "--tree", tree)
    assert ran.lines == [
        "digraph modules {",
        "  rankdir=LR;",
        "  node [shape=box];",
        '  "libphy";',
        '  "mdio_devres";',
        '  "realtek";',
        '  "r8169";',
        '  "firmware_helper";',
        '  "mdio_devres" -> "libphy";',
        '  "realtek" -> "libphy";',
        '  "r8169" -> "mdio_devres";',
        '  "r8169" -> "libphy";',
        '  "r8169" -> "realtek" [style=dashed];',
        '  "r8169" -> "firmware_helper" [style=dotted];',
        "}",
    ]


def test_graphviz_takes_the_graph(tmp_path: Path, capsys: Capture) -> None:
    """Whatever the modules are called."""
    dot = need(shutil.which("dot"), "Graphviz is not there", "graphviz")
    tree = write_tree(tmp_path, {"kernel/a.ko": ModuleBuilder(None, modinfo=[("name", 'a"b\\')])})
    text = run(capsys, "deps", 'a"b\\', "--dot", "--tree", tree).out
    subprocess.run([dot, "-Tplain"], input=text, text=True, timeout=60, check=True, stdout=subprocess.DEVNULL)


def test_a_name_that_is_not_there_is_an_error(tree: Path, capsys: Capture) -> None:
    """Nothing is printed for the others, for the order would lack it."""
    ran = run(capsys, "deps", "libphy", "none", "--tree", tree)
    assert ran == (1, "", "kmodkit deps: module 'none' does not exist\n")


def test_dependencies_that_cannot_be_followed_are_an_error(tmp_path: Path, capsys: Capture) -> None:
    """It shows the circle, or what is missing."""
    tree = write_tree(
        tmp_path,
        {
            "kernel/a.ko": ModuleBuilder("a", depends=["b"]),
            "kernel/b.ko": ModuleBuilder("b", depends=["a"]),
            "kernel/c.ko": ModuleBuilder("c", depends=["nowhere"]),
        },
    )
    assert run(capsys, "deps", "a", "--tree", tree).err == "kmodkit deps: dependency cycle: a -> b -> a\n"
    ran = run(capsys, "deps", "c", "--tree", tree)
    assert ran == (1, "", "kmodkit deps: module 'c' depends on 'nowhere', which does not exist\n")


def test_one_form_at_a_time(capsys: Capture) -> None:
    """And at least one name."""
    assert run(capsys, "deps", "a", "--dot", "--json").status == 2
    assert run(capsys, "deps").status == 2
