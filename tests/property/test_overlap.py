"""Whether two patterns have a text in common, beside trying every short text."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.alias import Pattern
from kmodkit.core.overlap import overlaps

_PIECES = st.sampled_from(["a", "b", "?", "*", "[ab]", "[!a]", "[c-b]", "*a"])
_PATTERNS = st.lists(_PIECES, max_size=5).map("".join).map(Pattern.parse)
# Any common text can be cut to at most one byte for each element of either pattern.
_TEXTS = ["".join(letters) for length in range(7) for letters in itertools.product("abx", repeat=length)]


@given(_PATTERNS, _PATTERNS)
def test_overlap_is_a_common_text(one: Pattern, other: Pattern) -> None:
    """Two short patterns overlap where one of all short texts matches both."""
    common = any(one.matches(text) and other.matches(text) for text in _TEXTS)
    if common:
        assert overlaps(one, other)
    elif sum(len(token) if isinstance(token, bytes) else 1 for p in (one, other) for token in p.tokens) <= 6:
        assert not overlaps(one, other)


@given(_PATTERNS, _PATTERNS)
def test_overlap_is_the_same_both_ways(one: Pattern, other: Pattern) -> None:
    """Neither pattern is the first."""
    assert overlaps(one, other) == overlaps(other, one)


@given(_PATTERNS, st.text("abx", max_size=6))
def test_overlap_with_a_text_is_a_match(pattern: Pattern, text: str) -> None:
    """A pattern without wildcards is a text, and meets what matches it."""
    assert overlaps(pattern, Pattern.parse(text)) == pattern.matches(text)
