"""How lookups grow: with the length of a hostile text, and with the number of patterns."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from bench import queries
from bench.measure import median_seconds, one_core
from kmodkit import Catalog, Module
from kmodkit.core.alias import Pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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


def by_patterns(catalog: Catalog, rounds: int) -> list[tuple[int, float]]:
    """Return numbers of patterns and the microseconds of a lookup among so many of them."""
    rng = Random(5)  # noqa: S311
    modules = [module for module in catalog if not module.builtin and module.aliases]
    rng.shuffle(modules)
    parts = [Catalog(tuple(modules[: len(modules) // share])) for share in SHARES]
    # Asked is always for devices of the smallest part, so that only what else is there differs.
    texts = list(dict.fromkeys(queries.derived(_patterns(parts[0]), 2000, rng, odd=0.0)))
    with one_core():
        return [(len(_patterns(part)), _lookup_seconds(part, texts, rounds) * 1e6 / len(texts)) for part in parts]


def _patterns(catalog: Catalog) -> list[Pattern]:
    return [Pattern.parse(alias) for module in catalog for alias in module.aliases]


def _lookup_seconds(catalog: Catalog, texts: Sequence[bytes], rounds: int) -> float:
    catalog.lookup("none")  # builds the index
    return median_seconds(lambda: [catalog.lookup(text) for text in texts], rounds)
