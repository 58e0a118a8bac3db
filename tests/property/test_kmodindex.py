"""Indexes of arbitrary keys: a dict and libc's fnmatch are the oracles."""

from __future__ import annotations

import contextlib
from struct import pack

from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.buckets import bucket_order, superfasthash
from kmodkit.core.kmodindex import IndexFile
from kmodkit.core.kmodwrite import Layout, build_index
from kmodkit.errors import KmodError, KmodIndexError
from tests.libc import fnmatch
from tests.mutate import mutated

KEYS = st.binary(max_size=12).map(lambda key: bytes(byte & 0x7F or 0x41 for byte in key))
PATTERNS = st.lists(st.sampled_from([b"a", b"b", b"-", b"*", b"?", b"[ab]", b"[!a]", b"[", b"]"]), max_size=8).map(
    b"".join
)
ITEMS = st.lists(st.tuples(KEYS, KEYS, st.integers(0, 5)))


@given(ITEMS, st.sampled_from(Layout))
def test_what_is_written_is_read(items: list[tuple[bytes, bytes, int]], layout: Layout) -> None:
    """Every key has its values, by priority, and no others; the walk gives them in the order of keys."""
    wanted: dict[bytes, list[tuple[int, bytes]]] = {}
    for key, value, priority in items:
        wanted.setdefault(key, []).insert(0, (priority, value))
    for values in wanted.values():
        values.sort(key=lambda pair: pair[0])
    index = IndexFile(build_index(items, layout=layout))
    assert {key: [tuple(value) for value in index.get(key)] for key in wanted} == wanted
    walked = list(index.items())
    assert walked == [(key, value) for key in sorted(wanted) for value in index.get(key)]


@given(ITEMS, st.randoms(use_true_random=False))
def test_both_layouts_have_the_same_nodes(items: list[tuple[bytes, bytes, int]], rng: object) -> None:
    """They differ in the order alone, and neither depends on the order of keys."""
    del rng
    one, other = (build_index(items, layout=layout) for layout in Layout)
    assert len(one) == len(other)
    by_key = sorted(items, key=lambda item: item[0])
    assert build_index(by_key) == one


@given(st.lists(PATTERNS, max_size=12), st.lists(st.sampled_from([b"a", b"b", b"-", b"x"]), max_size=8))
def test_matches_are_those_of_fnmatch(patterns: list[bytes], text: list[bytes]) -> None:
    """Exactly the patterns that libc's fnmatch takes are found, each as often as it is there.

    None has a backslash, which libkmod takes for itself until the first wildcard.
    """
    query = b"".join(text)
    index = IndexFile(build_index([(pattern, pattern, 1) for pattern in patterns]))
    found = sorted(value for _, value in index.matches(query))
    assert found == sorted(pattern for pattern in patterns if fnmatch(pattern, query))


@given(ITEMS, st.integers(0, 2**31), st.sampled_from(Layout), KEYS)
def test_damage_ends_in_an_error_of_ours(
    items: list[tuple[bytes, bytes, int]], seed: int, layout: Layout, key: bytes
) -> None:
    """Whatever is wrong with a file, walks and lookups end, and well or in a KmodError."""
    from random import Random

    data = mutated(build_index(items, layout=layout), Random(seed))
    with contextlib.suppress(KmodError):
        index = IndexFile(data)
        for ask in (index.get, index.matches):
            with contextlib.suppress(KmodError):
                ask(key)
        list(index.items())


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_header_are_an_index_or_an_error(body: bytes) -> None:
    """With the root anywhere in them."""
    for root in (0x2000000C, 0x8000000C, 0xE000000C, 0x40000010):
        index = IndexFile(pack(">III", 0xB007F457, 0x00020001, root) + body)
        for ask in (lambda: list(index.items()), lambda: index.get(b"ab"), lambda: index.matches(b"ab")):  # noqa: B023
            try:
                ask()
            except KmodIndexError as error:
                assert error.offset is not None


@given(st.sets(st.binary(max_size=40)), st.sampled_from([1, 16, 2048]))
def test_the_packed_hash_is_the_plain_one(names: set[bytes], buckets: int) -> None:
    """Computing all hashes at once gives the order that computing each gives."""
    order = bucket_order(names, buckets)
    assert order == sorted(names, key=lambda name: (superfasthash(name) & (buckets - 1), name))
