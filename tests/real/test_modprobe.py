"""Real kernels, as our modprobe and kmod's see them."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmodkit.config.cmdline import parse_cmdline
from kmodkit.modprobe.insert import parameters, probe_list
from kmodkit.modprobe.lookup import Modules, NameIndex
from kmodkit.modprobe.settings import load_config
from tests.modprobes import OURS, SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.conftest import Depmodded
    from tools.material import Kernel

SAMPLE = 250  # of some thousands; each costs a process


@pytest.fixture
def words(trixie: Kernel, depmodded: Depmodded, trixie_tool: Callable[[str], list[str]]) -> list[str]:
    """The words that choose the kernel."""
    root = depmodded(trixie, trixie_tool("depmod"))
    return ["-d", str(root), "-S", trixie.release, "-C", "/dev/null"]


def test_the_whole_configuration_is_shown_alike(words: list[str], trixie_tool: Callable[[str], list[str]]) -> None:
    """Byte for byte, with 30,000 aliases and symbols, but for this kernel's command line."""
    real = subprocess.run([*trixie_tool("modprobe"), *words, "-c"], capture_output=True, check=True).stdout
    ours = subprocess.run(
        [*OURS, *words, "-c"], capture_output=True, check=True, env={"PYTHONPATH": str(SOURCES)}
    ).stdout
    cmdline = {line.encode() for line in parse_cmdline(Path("/proc/cmdline").read_bytes()).lines()}
    assert len(ours.splitlines()) > 20_000
    assert b"\n".join(line for line in real.split(b"\n") if line not in cmdline) == ours


def test_what_a_module_brings_is_the_same(words: list[str], trixie_tool: Callable[[str], list[str]]) -> None:
    """--show-depends of a sample of modules, soft dependencies and built-in ones included."""
    root, release = words[1], words[3]
    tree = f"{root}/lib/modules/{release}"
    index = NameIndex(tree)
    modules = Modules(tree, index, load_config(tree, ["/dev/null"], cmdline=None))
    names = [*random.Random(1).sample(index.names(), SAMPLE), "btrfs", "ext4", "kvm_intel", "r8169"]
    for name in names:
        real = subprocess.run(
            [*trixie_tool("modprobe"), *words, "-D", name], capture_output=True, text=True, check=True
        ).stdout
        (target,) = modules.lookup(name).targets
        ours = []
        for one in probe_list(modules, target):
            if one.path is not None:
                ours.append(f"insmod {one.path} {parameters(modules, one, '')}\n")
            elif one.builtin:
                ours.append(f"builtin {one.name}\n")
        assert "".join(ours) == real


def test_what_an_alias_means_is_the_same(words: list[str], trixie_tool: Callable[[str], list[str]]) -> None:
    """--resolve-alias of names that match aliases of every kind."""
    root, release = words[1], words[3]
    tree = f"{root}/lib/modules/{release}"
    index = NameIndex(tree)
    modules = Modules(tree, index, load_config(tree, ["/dev/null"], cmdline=None))
    aliases = [alias.replace("*", "x1") for alias, _ in index.aliases() if "[" not in alias]
    symbols = [symbol for symbol, _ in index.symbols()]
    builtin = list(index.builtins())
    chance = random.Random(2)
    for name in [*chance.sample(aliases, SAMPLE), *chance.sample(symbols, 30), *chance.sample(builtin, 30)]:
        real = subprocess.run(
            [*trixie_tool("modprobe"), *words, "-R", name], capture_output=True, text=True, check=False
        ).stdout
        assert "".join(f"{target.name}\n" for target in modules.lookup(name).targets) == real
