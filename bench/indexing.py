"""Indexing a kernel, beside depmod; the size and the opening of the result, beside depmod's files and libkmod."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import kmodkit
from bench import commands
from bench.measure import Row, median_seconds, medians, seconds
from tools import material

if TYPE_CHECKING:
    from bench.peers import Libkmod
    from tools.material import Kernel

# What libkmod maps to answer lookups and dependencies; the text files beside them hold the same again.
_BINARIES = ("modules.alias.bin", "modules.dep.bin", "modules.symbols.bin", "modules.builtin.alias.bin")
_CARD = "pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00"
_MEMORY: Final = 250.0
_PEAK: Final = (
    "import resource, sys, kmodkit; kmodkit.save_metadata(kmodkit.scan(sys.argv[1]).catalog, sys.argv[2]);"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
)


def rows(kernel: Kernel, root: Path, *, rounds: int, cores: float) -> list[Row]:
    """Return the times of indexing ``kernel``; for ``root`` and ``cores`` see `bench.depmod.rows`."""
    depmod = [str(material.machine_depmod()), "-b", str(root), "-C", "/dev/null", kernel.release]
    packed = kernel.key.startswith("trixie")
    with tempfile.TemporaryDirectory() as scratch, commands.runner() as runner:
        target, kept = Path(scratch, "meta.pb"), Path(scratch, "kept.pb")
        index = [*commands.KMODKIT, "index", str(kernel.root), "-o"]
        again = [*index, str(kept), "--incremental"]
        runner.run(again)  # so that its bytecode and its cache are there

        def scan_and_save() -> None:
            kmodkit.save_metadata(kmodkit.scan(kernel.root).catalog, target)

        theirs, scan, saved, command, unchanged, same = medians(
            [
                lambda: subprocess.run(depmod, check=True),
                lambda: kmodkit.scan(kernel.root),
                scan_and_save,
                lambda: runner.run([*index, str(target)]),
                lambda: runner.run(again),
                lambda: kmodkit.update_metadata(kept, kernel.root, cache=f"{kept}.cache"),
            ],
            rounds,
        )
        assert kept.read_bytes() == target.read_bytes()
        peak = float(runner.run([commands.KMODKIT[0], "-c", _PEAK, str(kernel.root), str(target)]))
    limit, note = 0.7, "in a running process"
    if packed:
        limit = 0.6 if cores < commands.ALONE else 1.0
        note += f"; two busy processes take {cores:.2f} times one"
    return [
        Row(f"scan, {kernel.key}", "s", scan, theirs, "depmod", "in a running process; depmod also writes"),
        Row(f"scan and save, {kernel.key}", "s", saved, theirs, "depmod", note, limit),
        Row(f"kmodkit index, {kernel.key}", "s", command, theirs, "depmod", "from start to files written"),
        Row(f"nothing changed, {kernel.key}", "s", same, theirs, "depmod", "update_metadata", 0.15),
        Row(f"kmodkit index, the same, {kernel.key}", "s", unchanged, theirs, "depmod", "--incremental"),
        Row(f"scan and save, peak, {kernel.key}", "MB", peak, note="of resident memory", target=_MEMORY),
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
    index = kmodkit.InstalledIndex
    mapped = median([seconds(lambda: index(os.fspath(libkmod.directory)).lookup(_CARD)) for _ in range(9)])
    peer = "libkmod opening its index"
    return [
        Row("meta.pb, size", "MB", size / 1e6, theirs / 1e6, "depmod's .bin files"),
        Row("meta.pb, write", "s", writing),
        Row("meta.pb, load", "s", loading, median(opening), peer),
        Row("meta.pb, load to first answer", "s", ready, median(opening), peer),
        Row("meta.pb, open to first answer", "ms", opened * 1e3, note="read lazily", target=15.0),
        Row("depmod's files, open to first answer", "ms", mapped * 1e3, target=15.0),
    ]
