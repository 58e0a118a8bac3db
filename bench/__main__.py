"""Measure kmodkit beside depmod and libkmod on real kernels, and print the ratios.

    python -m bench [--quick] [--json FILE] [--compare FILE]

Both sides run in the same minutes on the same files, so their ratios mean something where the times do not:
those differ by machine and by what else it does. The kernels come from the cache (python -m tools.material).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import kmodkit
from bench import commands, depmod, growth, guest, indexing, lookups, peers, startup
from tools import material

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.measure import Row
    from bench.peers import Libkmod
    from tools.material import Kernel

BUILD: Final = Path(__file__).parent / "build"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benches: 0 is success, 1 that something they need is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure kmodkit beside kmod's tools.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and lookups, under two minutes")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the medians to FILE")
    parser.add_argument(
        "--compare", metavar="FILE", type=Path, help="show the ratios beside those of an earlier FILE"
    )
    options = parser.parse_args(argv)
    try:
        plain, packed = material.kernel("bookworm-amd64"), material.kernel("trixie-amd64")
        libkmod = _libkmod(plain)
        packed_root = material.depmodded(packed)
    except material.MaterialError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    rounds = 3 if options.quick else 7
    catalog = kmodkit.scan(plain.root).catalog
    plain_root = material.depmodded(plain)
    few = 1 if options.quick else 3
    cores = commands.two_cores(rounds)
    rows = indexing.rows(plain, plain_root, rounds=rounds, cores=cores)
    rows += indexing.rows(packed, packed_root, rounds=few, cores=cores)
    rows += depmod.rows(plain, plain_root, rounds=rounds, cores=cores)
    rows += depmod.rows(packed, packed_root, rounds=few, cores=cores)
    rows += startup.rows(plain, plain_root, rounds=5 if options.quick else 15)
    rows += indexing.metadata_rows(plain, libkmod, rounds=1 if options.quick else 5)
    rows += lookups.rows(catalog, libkmod, count=4000 if options.quick else 20000, rounds=rounds)
    if not options.quick and shutil.which("qemu-system-x86_64"):
        rows += guest.rows(plain)
    hostile = growth.hostile(rounds)
    patterns = growth.by_patterns(catalog, rounds, growth.SIZES[:-1] if options.quick else growth.SIZES)
    modules = growth.by_modules(plain, rounds)
    _print_rows(rows, _earlier(options.compare) if options.compare is not None else {})
    _print_growth(hostile, patterns, modules)
    if options.json is not None:
        options.json.write_text(
            json.dumps(_record(rows, hostile, patterns, modules, [plain, packed]), indent=1) + "\n"
        )
    return 0


def _libkmod(kernel: Kernel) -> Libkmod:
    directory = material.depmodded(kernel) / kernel.modules.relative_to(kernel.root)
    found = peers.libkmod(directory, BUILD)
    if found is None:
        raise material.MaterialError("libkmod cannot be compiled against: install gcc and libkmod-dev")
    return found


def _earlier(path: Path) -> dict[str, float | None]:
    """Return the ratio of each row of an earlier run, by its name; ours where there is no peer."""
    rows = json.loads(path.read_text())["medians"]
    return {row["name"]: row["ratio"] if row["ratio"] is not None else row["kmodkit"] for row in rows}


def _print_rows(rows: Sequence[Row], earlier: Mapping[str, float | None]) -> None:
    before = f" {'before':>9}" if earlier else ""
    print(f"{'median':<40} {'kmodkit':>10} {'peer':>10} {'ratio':>9}{before} {'target':>8}        peer")
    for row in rows:
        values = [f"{row.ours:10.4g}", _cell(row.peer, 10, ".4g"), _cell(row.ratio, 9, ".3f")]
        if earlier:
            values.append(_cell(earlier.get(row.name), 9, ".3f"))
        values.append(_cell(row.target, 8, "g"))
        verdict = {None: "", True: "pass", False: "SHORT"}[row.passed]
        about = ", ".join(filter(None, (row.peer_name, row.note)))
        print(f"{row.name + ' [' + row.unit + ']':<40} {' '.join(values)} {verdict:6} {about}")


def _cell(value: float | None, width: int, form: str) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}{form}}"


def _print_growth(
    hostile: dict[str, list[float]], patterns: Sequence[growth.Size], modules: Sequence[tuple[int, float]]
) -> None:
    sizes = ", ".join(map(str, growth.KIBIBYTES))
    print(
        f"\nlookup of {sizes} KiB of 'a' [ms], and the last for one of the first ({growth.KIBIBYTES[-1]}: linear)"
    )
    for name, times in hostile.items():
        print(f"{name:<40} {' '.join(f'{each * 1e3:8.3f}' for each in times)}  x {times[-1] / times[0]:.1f}")
    print(f"\n{'among so many patterns':<40} {'lookup [us]':>12} {'index [s]':>10} {'[MiB]':>8}")
    for size in patterns:
        memory = size.bytes / (1 << 20)
        print(f"{size.patterns:<40} {size.microseconds:12.2f} {size.build_seconds:10.2f} {memory:8.1f}")
    print("\nscan of so many plain modules [ms]")
    for count, taken in modules:
        print(f"{count:<40} {taken * 1e3:8.1f}")


def _record(
    rows: Sequence[Row],
    hostile: dict[str, list[float]],
    patterns: Sequence[growth.Size],
    modules: Sequence[tuple[int, float]],
    kernels: Sequence[Kernel],
) -> dict[str, object]:
    return {
        "kmodkit": kmodkit.__version__,
        "python": sys.version.split()[0],
        "kernels": {kernel.key: kernel.release for kernel in kernels},
        "medians": [
            {
                "name": row.name,
                "unit": row.unit,
                "kmodkit": row.ours,
                "peer": row.peer,
                "peer_name": row.peer_name,
                "ratio": row.ratio,
                "target": row.target,
                "passed": row.passed,
            }
            for row in rows
        ],
        "hostile_seconds": {"kib": list(growth.KIBIBYTES), "patterns": hostile},
        "by_patterns": [size._asdict() for size in patterns],
        "scan_seconds_by_modules": [list(pair) for pair in modules],
    }


if __name__ == "__main__":
    sys.exit(main())
