"""How time grows: of lookups with the length of a hostile text and with the number of patterns, and of scans."""

from __future__ import annotations

import gc
import itertools
import json
import re
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

import kmodkit
from bench import devices, queries
from bench.measure import median_seconds, one_core, seconds
from kmodkit import Catalog, Module
from kmodkit.core.alias import Pattern
from kmodkit.core.names import to_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tools.material import Kernel

# What takes a backtracking matcher longer than anybody waits: each star can end at every place.
HOSTILE: Final = (
    "a*a*a*a*a*a*a*b",
    "*a*a*a*a*a*a*a*a*b",
    "a*?*a*?*a*?*b",
    "*[ab]*[ab]*[ab]*[ab]*c",
    "*a*aa*aaa*aaaa*b",
)
KIBIBYTES: Final = (1, 2, 4, 8)
SHARES: Final = (8, 4, 2, 1)
SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
_ALIASES_EACH: Final = 8  # what a module of a kernel with any has, on average
_FEW: Final = 16
_PASSES: Final = 3  # over all sizes, of which the fastest counts: a process is over before the machine slows down
_LAST_NAME: Final = re.compile(rb"(\w)((?:C?\*|:\*?)?)\Z")


class Size(NamedTuple):
    """What lookups cost among so many patterns."""

    patterns: int
    microseconds: float  # of one lookup
    build_seconds: float  # of the index, for the buses that are asked for
    bytes: int  # that the index takes
    by_bus: dict[str, float]  # microseconds of one lookup


def hostile(rounds: int) -> dict[str, list[float]]:
    """Return for each hostile pattern, and for all at once, the seconds of a lookup at each of KIBIBYTES."""
    sets: Mapping[str, Iterable[str]] = {pattern: (pattern,) for pattern in HOSTILE} | {"all of them": HOSTILE}
    with one_core():
        return {
            name: [_hostile_seconds(tuple(patterns), kib, rounds) for kib in KIBIBYTES]
            for name, patterns in sets.items()
        }


def _hostile_seconds(patterns: tuple[str, ...], kib: int, rounds: int) -> float:
    text = b"a" * (kib << 10)
    catalog = Catalog((Module("m", "m.ko", aliases=patterns),))
    assert catalog.lookup(text) == ()
    return median_seconds(lambda: catalog.lookup(text), rounds)


def by_patterns(catalog: Catalog, rounds: int, sizes: Sequence[int] = SIZES) -> list[Size]:
    """Return what lookups cost among so many patterns of real shape, each size in processes of its own."""
    aliases = dict.fromkeys(alias for module in catalog if not module.builtin for alias in module.aliases)
    given = json.dumps({"aliases": list(aliases), "rounds": rounds})
    runs: dict[int, list[Size]] = {size: [] for size in sizes}
    for _ in range(_PASSES):
        for size, taken in runs.items():
            argv = [sys.executable, "-m", "bench.growth", str(size)]
            done = subprocess.run(argv, input=given, stdout=subprocess.PIPE, text=True, check=True)
            taken.append(Size(*json.loads(done.stdout)))
    return [min(taken, key=lambda run: run.microseconds) for taken in runs.values()]


def patterns_of_size(aliases: Sequence[str], count: int) -> list[bytes]:
    """Return ``count`` patterns, of which those of a smaller count are the first.

    They are real ones in a random order, and then the same again and again with other ids, so that each bus has
    its share at every size.
    """
    rng = Random(5)  # noqa: S311
    real = [alias.encode("utf-8", "surrogateescape") for alias in aliases]
    rng.shuffle(real)
    usual = [alias for alias in real if b"[" not in alias and b"?" not in alias]  # other ids would spoil a set
    more = (_other(usual[number % len(usual)], rng) for number in itertools.count())
    return list(itertools.islice(itertools.chain(real, more), count))


def _other(pattern: bytes, rng: Random) -> bytes:
    """Return a pattern of the same shape with another id, or with a number behind its last name."""
    changed = devices.stranger(pattern, rng)
    if changed != pattern + b"x":
        return changed
    return _LAST_NAME.sub(lambda found: b"%s%x%s" % (found[1], rng.getrandbits(16), found[2]), pattern)


def _measure(aliases: Sequence[str], rounds: int, count: int) -> Size:
    patterns = patterns_of_size(aliases, count)
    rng = Random(6)  # noqa: S311
    # Asked is always for devices of the smallest size, so that only what else is there differs.
    base = [Pattern.parse(pattern) for pattern in patterns[: SIZES[0]]]
    texts = list(dict.fromkeys(queries.derived(base, 1000, rng, odd=0.0) + queries.strangers(base, 1000, rng)))
    catalog = Catalog(
        tuple(
            Module(f"m{number}", f"m{number}.ko", aliases=tuple(map(to_text, each)))
            for number, each in enumerate(_chunks(patterns, _ALIASES_EACH))
        )
    )
    firsts = list({text.partition(b":")[0]: text for text in texts}.values())
    del patterns, base
    gc.collect()
    gc.freeze()  # the catalog is no part of what is measured
    with one_core():
        building = seconds(lambda: [catalog.lookup(text) for text in firsts])
        taken = median_seconds(lambda: [catalog.lookup(text) for text in texts], rounds)
        by_bus = {bus: _each(catalog, asked, rounds) for bus, asked in _by_bus(texts).items()}
    again = Catalog(catalog.modules)
    tracemalloc.start()
    for text in firsts:
        again.lookup(text)
    size, _ = tracemalloc.get_traced_memory()
    return Size(count, taken / len(texts) * 1e6, building, size, by_bus)


def _each(catalog: Catalog, texts: Sequence[bytes], rounds: int) -> float:
    return median_seconds(lambda: [catalog.lookup(text) for text in texts], rounds) / len(texts) * 1e6


def _by_bus(texts: Sequence[bytes]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for text in texts:
        found.setdefault(text.partition(b":")[0].decode("ascii", "replace"), []).append(text)
    return {bus: each for bus, each in sorted(found.items()) if len(each) >= _FEW}


def _chunks(patterns: Sequence[bytes], size: int) -> Iterable[Sequence[bytes]]:
    return (patterns[start : start + size] for start in range(0, len(patterns), size))


def by_modules(kernel: Kernel, rounds: int) -> list[tuple[int, float]]:
    """Return numbers of modules and the seconds of a scan of so many, spread over the kernel's tree."""
    paths = sorted(kernel.modules.rglob("*.ko"))
    Random(7).shuffle(paths)  # noqa: S311
    found = []
    for share in SHARES:
        chosen = paths[: len(paths) // share]
        with tempfile.TemporaryDirectory() as scratch:
            for path in chosen:
                link = Path(scratch, path.relative_to(kernel.modules))
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
            found.append((len(chosen), _scan_seconds(scratch, len(chosen), rounds)))
    return found


def _scan_seconds(root: str, count: int, rounds: int) -> float:
    assert len(kmodkit.scan(root).catalog) == count  # which also brings the files into memory
    return median_seconds(lambda: kmodkit.scan(root), rounds)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(_measure(asked["aliases"], asked["rounds"], int(sys.argv[1])), sys.stdout)
