"""Lookups, beside libkmod: checked to be equal first, then timed on one core."""

from __future__ import annotations

from random import Random
from statistics import median
from typing import TYPE_CHECKING

from bench import queries
from bench.measure import Row, one_core, seconds
from kmodkit import Catalog
from kmodkit.core.alias import Pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.peers import Libkmod


def mixed(catalog: Catalog, count: int) -> list[bytes]:
    """Return ``count`` different modaliases over all buses of ``catalog``; half of them match nothing."""
    rng = Random(1)  # noqa: S311
    aliases = dict.fromkeys(alias for module in catalog if not module.builtin for alias in module.aliases)
    patterns = [Pattern.parse(alias) for alias in aliases]
    # libkmod takes names too, and refuses stray brackets: a comparison needs texts that both take.
    devices = [pattern for pattern in patterns if b":" in bytes(pattern)]

    def some(texts: Sequence[bytes], *, matching: bool) -> list[bytes]:
        fit = [text for text in dict.fromkeys(texts) if b"[" not in text and b"]" not in text]
        return [text for text in fit if bool(catalog.lookup(text)) is matching][: count // 2]

    known = some(queries.derived(devices, count * 2 // 3, rng, odd=0.0), matching=True)
    unknown = some(queries.strangers(devices, count, rng), matching=False)
    assert len(known) == len(unknown) == count // 2, (len(known), len(unknown))
    texts = known + unknown
    rng.shuffle(texts)
    return texts


def check(catalog: Catalog, libkmod: Libkmod, texts: Sequence[bytes]) -> None:
    """Assert that both sides give the same modules: what is built in only where libkmod gives that alone."""
    for text, answer in zip(texts, libkmod.answers(texts), strict=True):
        found = catalog.lookup(text) or catalog.lookup(text, builtin=True)
        assert {module.name for module in found} == set(answer), text


def rows(catalog: Catalog, libkmod: Libkmod, *, count: int, rounds: int) -> list[Row]:
    """Return the times of one lookup, over a mixed set and over the lines of one machine."""
    out = []
    for name, texts in (
        ("lookup, mixed modaliases", mixed(catalog, count)),
        ("lookup, 300 lines of a machine", queries.typical_machine()),
    ):
        assert len(set(texts)) == len(texts), "a text asked twice could be answered from memory"
        check(catalog, libkmod, texts)
        with one_core():
            # In turns, so that other work on the machine falls on both.
            pairs = [(_round(catalog, texts), libkmod.seconds(texts, 1)) for _ in range(rounds)]
        each = 1e6 / len(texts)
        building = median(ours[0] for ours, _ in pairs)
        looking = median(ours[1] for ours, _ in pairs) * each
        theirs = median(taken[0] for _, (_, taken) in pairs) * each
        out.append(Row(name, "us", looking, theirs, "libkmod", f"{len(texts)} texts"))
    out.append(Row("building the index in memory", "s", building, note="once for a catalog"))
    return out


def _round(catalog: Catalog, texts: Sequence[bytes]) -> tuple[float, float]:
    """Return the seconds of building the index and of all lookups, with nothing remembered from before."""
    fresh = Catalog(catalog.modules)
    building = seconds(lambda: fresh.lookup("none"))
    return building, seconds(lambda: [fresh.lookup(text) for text in texts])
