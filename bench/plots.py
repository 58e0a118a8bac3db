"""Draw how lookups and scans grow, from the figures of a bench run: `python -m bench.plots JSON [DIRECTORY]`."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOCS = Path(__file__).parent.parent / "docs"


def main(argv: Sequence[str] | None = None) -> int:
    """Write growth-lookup.svg and growth-scan.svg; the same figures give the same bytes."""
    words = sys.argv[1:] if argv is None else [*argv]
    if len(words) not in (1, 2):
        print("usage: python -m bench.plots JSON [DIRECTORY]", file=sys.stderr)
        return 2
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
    except ImportError:
        print("bench.plots: install matplotlib", file=sys.stderr)
        return 1
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "kmodkit", "svg.fonttype": "none", "font.size": 9})
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figures = json.loads(Path(words[0]).read_text())
    directory = Path(words[1]) if len(words) == 2 else DOCS
    _save(_lookups(pyplot, figures["by_patterns"]), directory / "growth-lookup.svg")
    _save(_scans(pyplot, figures["scan_seconds_by_modules"]), directory / "growth-scan.svg")
    return 0


def _lookups(pyplot: Any, sizes: Sequence[Mapping[str, Any]]) -> Any:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    counts = [size["patterns"] for size in sizes]
    buses = [bus for bus in sizes[0]["by_bus"] if all(bus in size["by_bus"] for size in sizes)]
    last = sizes[-1]["by_bus"]
    for bus in sorted(buses, key=lambda bus: -last[bus]):
        left.plot(counts, [size["by_bus"][bus] for size in sizes], marker=".", linewidth=0.8, label=bus)
    left.plot(counts, [size["microseconds"] for size in sizes], "k", marker="o", linewidth=2, label="all")
    left.set(xscale="log", yscale="log", xlabel="patterns", ylabel="one lookup [µs]", title="Lookups")
    left.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    right.plot(counts, [size["build_seconds"] for size in sizes], marker="o", label="building [s]")
    right.plot(counts, [size["bytes"] / 2**30 for size in sizes], marker="s", label="memory [GiB]")
    right.plot(counts, [sizes[0]["build_seconds"] * n / counts[0] for n in counts], "k:", label="linear")
    right.set(xscale="log", yscale="log", xlabel="patterns", title="The index of all buses asked for")
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(visible=True, which="major", linewidth=0.3)
    return figure


def _scans(pyplot: Any, points: Sequence[tuple[int, float]]) -> Any:
    figure, axes = pyplot.subplots(figsize=(4.5, 3.2), layout="constrained")
    counts = [count for count, _ in points]
    axes.plot(counts, [taken * 1e3 for _, taken in points], marker="o", label="scan")
    most, taken = points[-1]
    axes.plot([0, most], [0, taken * 1e3], "k:", label="in proportion to the last")
    axes.set(xlabel="plain modules", ylabel="one scan [ms]", title="Scans", xlim=0, ylim=0)
    axes.grid(visible=True, linewidth=0.3)
    axes.legend(fontsize=7)
    return figure


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    # It ends lines with blanks, which our checks of text do not allow.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(line.rstrip() + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
