"""Indexing a kernel, beside depmod; the size and the opening of the result, beside depmod's files and libkmod."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import kmodkit
from bench.measure import Row, median_seconds, medians
from tools import material

if TYPE_CHECKING:
    from bench.peers import Libkmod
    from tools.material import Kernel

# What libkmod maps to answer lookups and dependencies; the text files beside them hold the same again.
_BINARIES = ("modules.alias.bin", "modules.dep.bin", "modules.symbols.bin", "modules.builtin.alias.bin")
_CARD = "pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00"


def rows(kernel: Kernel, root: Path, *, rounds: int) -> list[Row]:
    """Return the times of indexing ``kernel``; ``root`` is its copy on which depmod may be run."""
    depmod = [str(material.machine_depmod()), "-b", str(root), "-C", "/dev/null", kernel.release]
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch, "meta.pb")
        index = [sys.executable, "-m", "kmodkit", "index", str(kernel.root), "-o", str(target)]

        def run_index() -> None:
            subprocess.run(index, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def scan_and_save() -> None:
            kmodkit.save_metadata(kmodkit.scan(kernel.root).catalog, target)

        theirs, scan, saved, command = medians(
            [
                lambda: subprocess.run(depmod, check=True),
                lambda: kmodkit.scan(kernel.root),
                scan_and_save,
                run_index,
            ],
            rounds,
        )
    return [
        Row(f"scan, {kernel.key}", "s", scan, theirs, "depmod", "in a running process; depmod also writes"),
        Row(
            f"scan and save, {kernel.key}",
            "s",
            saved,
            theirs,
            "depmod",
            "in a running process",
            0.6 if kernel.key.startswith("trixie") else 0.7,
        ),
        Row(f"kmodkit index, {kernel.key}", "s", command, theirs, "depmod", "from start to files written"),
    ]


def metadata_rows(kernel: Kernel, libkmod: Libkmod, *, rounds: int) -> list[Row]:
    """Return size, writing and loading of the meta.pb of ``kernel``."""
    catalog = kmodkit.scan(kernel.root).catalog
    opening, _ = libkmod.seconds([b"none"], max(rounds, 5))
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch, "meta.pb")
        writing = median_seconds(lambda: kmodkit.save_metadata(catalog, target), rounds)
        size = target.stat().st_size
        loading = median_seconds(lambda: kmodkit.load_metadata(target), rounds)
        ready = median_seconds(lambda: kmodkit.load_metadata(target).lookup("none"), rounds)
        opened = median_seconds(lambda: kmodkit.open_metadata(target).lookup(_CARD), max(rounds, 5))
    theirs = sum((libkmod.directory / name).stat().st_size for name in _BINARIES)
    return [
        Row("meta.pb, size", "MB", size / 1e6, theirs / 1e6, "depmod's .bin files"),
        Row("meta.pb, write", "s", writing),
        Row("meta.pb, load", "s", loading, median(opening), "libkmod opening its index"),
        Row("meta.pb, load to first answer", "s", ready, median(opening), "libkmod opening its index"),
        Row("meta.pb, open to first answer", "ms", opened * 1e3, note="read lazily", target=15.0),
    ]
