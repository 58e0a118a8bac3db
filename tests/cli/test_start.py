"""What commands that have to start quickly must not import, and the quick reading of their words."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmodkit.cli import coldplug, lookup
from kmodkit.depmod import generate, write_files
from kmodkit.scanner import save_metadata, scan
from kmodkit.testing import ModuleBuilder
from tests.commands import NETWORK_CARD, network_tree

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

# Each of these takes as long as all the rest of the answer of a lookup, or longer.
HEAVY = {"argparse", "dataclasses", "enum", "typing", "re", "contextlib", "pathlib", "json", "google.protobuf"}


def imported(*words: object) -> tuple[list[str], set[str]]:
    """Return the lines that a command prints, the last one its status, and all modules that it imports."""
    code = (
        "import sys; before = set(sys.modules); from kmodkit.cli import main\n"
        f"status = main({[*map(str, words)]!r})\n"
        "print(status); print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    *lines, names = done.stdout.splitlines()
    return lines, set(names.split())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of network drivers with depmod's files and a meta.pb, whose times are past."""
    found = network_tree(tmp_path / "lib/modules")
    save_metadata(scan(found).catalog, found / "meta.pb")
    time.sleep(0.06)
    write_files(found, generate(found, cache=found / "modules.kmodkit-cache").files)
    return found


@pytest.mark.parametrize("source", ["meta", "tree"])
def test_a_lookup_of_one_shot(tree: Path, source: str) -> None:
    """From either source, and what a builtin search costs is not paid."""
    place = {"meta": tree / "meta.pb", "tree": tree}[source]
    lines, names = imported("lookup", f"--{source}", place, NETWORK_CARD)
    assert lines == ["r8169", "0"]
    assert not (HEAVY | {"collections"}) & names
    assert not [name for name in names if name.partition(".")[0] in ("google", "rich", "asn1crypto")]


def test_a_dry_coldplug(tree: Path, tmp_path: Path) -> None:
    """Soft dependencies, one of which is no module's name, included."""
    device = tmp_path / "sys/devices/card"
    device.mkdir(parents=True)
    (device / "modalias").write_text(NETWORK_CARD + "\n")
    lines, names = imported("coldplug", "-n", "--meta", tree / "meta.pb", "--sys", tmp_path / "sys")
    assert lines[-2:] == ["load r8169 kernel/net/r8169.ko", "0"]
    assert not (HEAVY | {"ctypes", "socket", "threading", "kmodkit.core.matcher"}) & names


@pytest.mark.parametrize("new", [False, True])
def test_a_depmod_that_goes_on(tree: Path, tmp_path: Path, *, new: bool) -> None:
    """Where nothing has changed, and after one new module."""
    if new:
        ModuleBuilder("new", aliases=["new:*"]).write(tree / "kernel")
    lines, names = imported("depmod", "-b", tmp_path, "-C", "/dev/null", "--incremental", tree.name)
    assert lines == ["0"]
    assert (b"new:*" in (tree / "modules.alias").read_bytes()) is new
    assert not (HEAVY | {"hashlib", "kmodkit.core.depfiles", "kmodkit.kernel.files"}) & names


WORDS = {
    lookup: ["--sysfs", "--builtin", "--json", "--scan", "--meta", "--tree", "--meta=x", "pci:b*"],
    coldplug: ["-n", "--dry-run", "--json", "--meta", "--tree", "--sys", "--sys=x", "-nx"],
}
ODD = ["--", "-", "-h", "", "a"]


@pytest.mark.parametrize("verb", [lookup, coldplug])
@given(data=st.data())
def test_plain_words_mean_what_argparse_takes_them_for(verb: ModuleType, data: st.DataObject) -> None:
    """Where the quick reading of the words gives an answer at all."""
    words = data.draw(st.lists(st.sampled_from([*WORDS[verb], *ODD]), max_size=6))
    plain = verb.plain_words(words)
    if plain is None:
        return
    parser = argparse.ArgumentParser(allow_abbrev=False)
    verb.add_arguments(parser)
    with contextlib.redirect_stderr(None):
        parsed = vars(parser.parse_args(words))
    parsed.pop("parser", None)
    assert vars(plain) == parsed
