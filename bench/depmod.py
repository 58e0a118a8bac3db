"""`kmodkit depmod` beside the real one: whole commands, in full and incrementally."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import commands
from bench.measure import Row, seconds
from kmodkit.testing import ModuleBuilder
from tools import material

if TYPE_CHECKING:
    from tools.material import Kernel


def rows(kernel: Kernel, root: Path, *, rounds: int, cores: float) -> list[Row]:
    """Return the times of depmod on ``kernel``; ``root`` is its copy on which the real one may be run.

    ``cores`` is how long two busy processes take for the time of one: packed modules are unpacked by both.
    """
    words = ["-C", "/dev/null"]
    theirs = [str(material.machine_depmod()), "-b", str(root), *words, kernel.release]
    packed = kernel.key.startswith("trixie")
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch, commands.runner() as runner:
        tree = copy_tree(root, Path(scratch, "root"))
        modules = tree / kernel.modules.relative_to(kernel.root)
        full = [*commands.KMODKIT, "depmod", "-b", str(tree), *words, kernel.release]
        again = [*full[:-1], "--incremental", kernel.release]
        runner.run(again)
        time.sleep(0.1)
        runner.run(again)  # the first one's files were too new to be relied on
        taken: dict[str, list[float]] = {"theirs": [], "full": [], "same": [], "one new": []}
        for number in range(rounds):
            taken["theirs"].append(seconds(lambda: subprocess.run(theirs, check=True)))
            taken["full"].append(seconds(lambda: runner.run(full)))
            runner.run(again)
            taken["same"].append(seconds(lambda: runner.run(again)))
            ModuleBuilder(f"new{number}", aliases=[f"new{number}:*"]).write(modules / "kernel")
            time.sleep(0.1)
            taken["one new"].append(seconds(lambda: runner.run(again)))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    limit = (0.6 if cores < commands.ALONE else 1.0) if packed else 0.9
    limits = {"full": limit, "same": None, "one new": 0.2}
    return [
        Row(f"depmod, {name}, {kernel.key}", "s", medians[name], medians["theirs"], "depmod", "", target)
        for name, target in limits.items()
    ]


def copy_tree(root: Path, target: Path) -> Path:
    """Copy a tree, whose modules are only linked; what depmod writes is not shared."""

    def link(source: str, copy: str) -> None:
        if Path(source).name.startswith("modules."):
            shutil.copy2(source, copy)
        else:
            os.link(source, copy)

    shutil.copytree(root, target, symlinks=True, copy_function=link)
    return target
