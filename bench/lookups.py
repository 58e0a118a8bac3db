"""Lookups, beside libkmod: checked to be equal first, then timed on one core."""

from __future__ import annotations

import gc
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Final

from bench import queries
from bench.measure import Row, one_core, seconds
from kmodkit import Catalog
from kmodkit.core.alias import Pattern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.peers import Libkmod

# Ours for one of libkmod's, at most. What has no entry must not take more than one and a half times as long.
TARGETS: Final[Mapping[str, float]] = {"mixed": 0.1, "300 lines of a machine": 0.1, "pci": 0.5, "usb": 0.125}
_EVERY_BUS: Final = 1.5
# A round over fewer texts than this is too short to be timed, so they are asked several times over; what is asked
# again is looked up again, as neither side remembers answers.
_ENOUGH: Final = 1000
_ODD: Final = 0.01


def mixed(catalog: Catalog, count: int) -> list[bytes]:
    """Return ``count`` different modaliases over all buses of ``catalog``; half of them match nothing.

    They are what devices would write, but for a share of _ODD.
    """
    rng = Random(1)  # noqa: S311
    aliases = dict.fromkeys(alias for module in catalog if not module.builtin for alias in module.aliases)
    patterns = [Pattern.parse(alias) for alias in aliases]
    # libkmod takes names too, and refuses stray brackets: a comparison needs texts that both take.
    devices = [pattern for pattern in patterns if b":" in bytes(pattern)]

    def some(texts: Sequence[bytes], *, matching: bool) -> list[bytes]:
        fit = [text for text in dict.fromkeys(texts) if b"[" not in text and b"]" not in text]
        return [text for text in fit if bool(catalog.lookup(text)) is matching][: count // 2]

    odd = int(count * _ODD / 2)
    oddly = queries.derived(devices, odd, rng, odd=0.5)
    known = some(oddly + queries.derived(devices, count * 2 // 3, rng, odd=0.0), matching=True)
    unknown = some(queries.near(oddly, rng) + queries.strangers(devices, count, rng), matching=False)
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
    """Return the times of one lookup, over a mixed set, over the lines of one machine, and over each bus."""
    sets = {"mixed": mixed(catalog, count), "300 lines of a machine": queries.typical_machine()}
    sets |= _by_bus([*sets["mixed"], *sets["300 lines of a machine"]])
    asked: dict[str, Sequence[bytes]] = {}
    for name, texts in sets.items():
        assert len(set(texts)) == len(texts), "a text asked twice could be answered from memory"
        check(catalog, libkmod, texts)
        asked[name] = texts * -(-_ENOUGH // len(texts))
    # In turns, so that other work on the machine falls on both; and all sets in each round, as a machine that is
    # slow for some seconds is so for all rounds of a small set otherwise.
    pairs: dict[str, list[tuple[tuple[float, float], float]]] = {name: [] for name in sets}
    for _ in range(rounds):
        for name, some in asked.items():
            with one_core():
                pairs[name].append((_round(catalog, some), libkmod.seconds(some, 1)[1][0]))
    out = []
    for name, texts in sets.items():
        each = 1e6 / len(asked[name])
        looking = median(ours[1] for ours, _ in pairs[name]) * each
        theirs = median(taken for _, taken in pairs[name]) * each
        limit = TARGETS.get(name, _EVERY_BUS)
        out.append(Row(f"lookup, {name}", "us", looking, theirs, "libkmod", f"{len(texts)} texts", limit))
    first = [ours[0] for ours, _ in pairs["mixed"]]
    out.append(Row("building the index in memory", "s", median(first), note="once for a catalog"))
    return out


def _by_bus(texts: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Return the texts of each bus that has some dozens of them."""
    found: dict[str, list[bytes]] = {}
    for text in dict.fromkeys(texts):
        bus, colon, _ = text.partition(b":")
        if colon:
            found.setdefault(bus.decode("ascii", "replace"), []).append(text)
    return {bus: each for bus, each in sorted(found.items(), key=lambda one: -len(one[1])) if len(each) >= 24}


def _round(catalog: Catalog, texts: Sequence[bytes]) -> tuple[float, float]:
    """Return the seconds of building the index and of all lookups, with nothing remembered from before."""
    fresh = Catalog(catalog.modules)

    def look_up(each: Sequence[bytes]) -> None:
        # Answers are let go of at once, as our C program does: kept, they make the garbage collector run, which
        # goes over the whole catalog.
        for text in each:
            fresh.lookup(text)

    # One text of each bus, as a bus is put in order by the first question about it, and one that no device writes.
    firsts = [
        each for text in {text.partition(b":")[0]: text for text in texts}.values() for each in (text, text + b"~")
    ]
    building = seconds(lambda: look_up(firsts))
    gc.collect()  # or what the building left would be collected among the lookups
    return building, seconds(lambda: look_up(texts))
