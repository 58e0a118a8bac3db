"""Patterns and trees of them: equal to libc's fnmatch, and to themselves however they are made."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.alias import STAR, ByteSet, Pattern, join_tokens
from kmodkit.core.names import normalize_alias
from kmodkit.core.radix import RadixTree
from tests.libc import fnmatch
from tests.property.strategies import patterns, texts, usual_patterns


@given(patterns, st.lists(texts, max_size=10))
def test_a_pattern_matches_what_libc_says(pattern: bytes, candidates: list[bytes]) -> None:
    """Brackets, classes, escapes, high bytes and what is malformed: all as fnmatch(3) in the C locale."""
    parsed = Pattern.parse(pattern)
    # The pattern itself, as a text, is what malformed ones stand for.
    for text in (*candidates, pattern, pattern[1:], pattern[:-1], b"", b"[", b"a"):
        assert parsed.matches(text) is fnmatch(pattern, text), text


@given(patterns)
def test_a_pattern_comes_back_from_its_text(pattern: bytes) -> None:
    """Printing and parsing give the same tokens, and printing that again the same text."""
    parsed = Pattern.parse(pattern)
    assert Pattern.parse(bytes(parsed)) == parsed
    assert Pattern.parse(str(parsed)) == parsed
    assert bytes(Pattern.parse(bytes(parsed))) == bytes(parsed)


@given(patterns)
def test_tokens_are_canonical(pattern: bytes) -> None:
    """No two literals and no two stars in a row, nothing empty, and no set that is a wildcard."""
    tokens = Pattern.parse(pattern).tokens
    assert join_tokens(tokens) == tokens
    for one, other in itertools.pairwise(tokens):
        assert not (isinstance(one, bytes) and isinstance(other, bytes))
        assert not (one is STAR and other is STAR)
    assert b"" not in tokens
    assert ByteSet(((0, 255),)) not in tokens


@given(st.lists(st.tuples(patterns, st.integers(0, 5)), max_size=8), st.lists(texts, max_size=8))
def test_a_tree_answers_as_each_pattern_and_libc_do(
    pairs: list[tuple[bytes, int]], candidates: list[bytes]
) -> None:
    """A lookup gives the values of exactly the patterns that match, one by one and by libc."""
    tree = RadixTree()
    for pattern, value in pairs:
        tree.add(pattern, value)
    for text in (*candidates, *(pattern for pattern, _ in pairs)):
        found = tree.lookup(text)
        assert found == {value for pattern, value in pairs if Pattern.parse(pattern).matches(text)}
        assert found == {value for pattern, value in pairs if fnmatch(pattern, text)}


@given(st.lists(usual_patterns, min_size=1, max_size=12), st.lists(texts, max_size=6))
def test_a_tree_of_patterns_that_share_much_answers_alike(shared: list[bytes], candidates: list[bytes]) -> None:
    """The same for patterns whose nodes and stars lie over each other."""
    tree = RadixTree()
    for value, pattern in enumerate(shared):
        tree.add(pattern, value)
    for text in (*candidates, *shared, b"ab" * 5, b"aab" * 3):
        assert tree.lookup(text) == {v for v, pattern in enumerate(shared) if fnmatch(pattern, text)}


@given(st.data(), st.lists(st.tuples(st.one_of(patterns, usual_patterns), st.integers(0, 3)), max_size=10))
def test_a_tree_does_not_depend_on_the_order_of_adding(
    data: st.DataObject, pairs: list[tuple[bytes, int]]
) -> None:
    """Picture and walk are the same for any order, and adding twice changes nothing."""
    tree, other = RadixTree(), RadixTree()
    for pattern, value in pairs:
        tree.add(pattern, value)
    for pattern, value in data.draw(st.permutations(pairs + pairs[:3])):
        other.add(pattern, value)
    assert tree.format() == other.format()
    assert list(tree.walk()) == list(other.walk())
    assert len(tree) == len({Pattern.parse(pattern) for pattern, _ in pairs})


@given(patterns, texts)
def test_normalising_twice_is_normalising_once(pattern: bytes, text: bytes) -> None:
    """And it changes nothing but dashes."""
    normal = normalize_alias(pattern)
    assert normalize_alias(normal) == normal
    assert len(normal) == len(pattern)
    assert all(now == was or (now, was) == (0x5F, 0x2D) for now, was in zip(normal, pattern, strict=True))
    assert normalize_alias(text).replace(b"-", b"_") == text.replace(b"-", b"_")


@given(patterns)
def test_a_normalised_pattern_has_the_tokens_of_the_normalised_text(pattern: bytes) -> None:
    """Dashes that stand for themselves become underscores, whether in the text or in the tokens."""
    normal = Pattern.parse(pattern).normalized()
    assert normal.normalized() == normal
    assert not any(b"-" in token for token in normal.tokens if isinstance(token, bytes))
