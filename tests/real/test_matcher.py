"""The fast index of whole kernels beside the simple tree, over more and odder texts than the tests of lookups."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from bench import queries
from kmodkit.core.alias import Pattern
from kmodkit.core.matcher import Matcher, normalized_text
from kmodkit.core.names import normalize_alias, to_bytes
from kmodkit.core.radix import RadixTree

if TYPE_CHECKING:
    from kmodkit import ScanResult


def test_the_index_of_a_kernel_gives_the_answers_of_the_tree(scanned: ScanResult) -> None:
    """Texts made from its patterns, changed ones, strangers, and a made-up bus for each."""
    pairs = [
        (normalized_text(to_bytes(alias)), position)
        for position, module in enumerate(scanned.catalog)
        if not module.builtin
        for alias in module.aliases
    ]
    matcher, tree = Matcher(pairs), RadixTree()
    patterns = []
    for text, position in pairs:
        patterns.append(Pattern.parse(text))
        tree.add(patterns[-1], position)
    rng = Random(20241123)
    matching = queries.derived(patterns, 3000, rng, odd=0.1)
    asked = [*matching, *queries.near(matching, rng), *queries.strangers(patterns, 1500, rng)]
    asked += [text.replace(b":", b"X:", 1) for text in matching[::3]]
    asked += [text + text.partition(b":")[2] for text in matching[::3]]
    assert len(asked) > 9000
    hits = 0
    for text in map(normalize_alias, asked):
        expected = tuple(sorted(tree.lookup(text)))
        assert matcher.lookup(text) == expected, text
        hits += bool(expected)
    assert len(asked) // 4 < hits < len(asked)
