"""An index changed in some keys is the index written anew, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmodkit.core.kmodpatch import patch_index
from kmodkit.core.kmodwrite import build_index
from kmodkit.errors import KmodIndexError

if TYPE_CHECKING:
    from collections.abc import Sequence

Item = tuple[bytes, bytes, int]

# Keys that begin alike, so that nodes split and join.
keys = st.lists(st.sampled_from([b"a", b"b", b"ab", b"abc", b"z", b"pci:v", b"0"]), max_size=5).map(b"".join)
# One value for each priority, as each is a module's.
items = st.tuples(keys, st.integers(0, 5)).map(lambda pair: (pair[0], b"m%d" % pair[1], pair[1]))


def built(some: Sequence[Item]) -> tuple[bytes, bytes]:
    """Return the index of some items and the places of its pointers."""
    places: dict[str, bytes] = {}
    return build_index(some, source="it", places=places), places["it"]


def check(kept: Sequence[Item], removed: Sequence[Item], added: Sequence[Item]) -> None:
    """Assert that a changed index is the one of what is left, and that it can be changed back."""
    before, after = built([*kept, *removed]), built([*kept, *added])
    assert patch_index(*before, removed, added) == after
    assert patch_index(*after, added, removed) == before


@given(st.lists(items, max_size=30), st.lists(items, max_size=6), st.lists(items, max_size=6))
@example([], [], [])
@example([(b"ab", b"m", 1)], [(b"abab", b"m", 1), (b"aba", b"m", 1)], [])
@example([(b"", b"m", 1)], [(b"a", b"m", 1)], [(b"b", b"m", 1)])
def test_a_changed_index_is_the_one_written_anew(kept: list[Item], removed: list[Item], added: list[Item]) -> None:
    """Whatever goes and comes, the root and whole branches too; and the places of pointers likewise."""
    check(kept, removed, added)


@given(st.data())
def test_one_key_among_many(data: st.DataObject) -> None:
    """What lies behind it moves, and points to where it is then."""
    many = [(b"pci:v%08dd%02d*" % (number // 7, number % 7), b"m%d" % number, number) for number in range(300)]
    new = data.draw(st.lists(items.map(lambda item: (b"pci:v" + item[0], item[1], item[2])), max_size=3))
    gone = data.draw(st.lists(st.sampled_from(many), max_size=5, unique=True))
    check([item for item in many if item not in gone], gone, new)


def test_a_key_of_any_length_and_depth() -> None:
    """Thousands of nodes one below the other need no stack of calls."""
    deep = [(b"x" * size, b"m", 1) for size in range(1, 1500)]
    check(deep[::2], [(b"x" * 1499 + b"y", b"m", 1)], deep[1::2])


@pytest.mark.parametrize("item", [(b"a", b"m", 2), (b"b", b"m", 1), (b"a", b"n", 1), (b"", b"m", 1)])
def test_what_is_not_there_cannot_be_taken_away(item: Item) -> None:
    """It is an error, for the file is then not what it is taken for."""
    with pytest.raises(KmodIndexError, match="no value"):
        patch_index(*built([(b"a", b"m", 1)]), [item], [])


@pytest.mark.parametrize("item", [(b"caf\xe9", b"m", 1), (b"a\0", b"m", 1), (b"a", b"\xff", 1), (b"a", b"n", 1)])
def test_what_no_index_can_hold_is_refused(item: Item) -> None:
    """Bytes above ASCII, as when writing anew, and two values of which it could not be said which comes first."""
    with pytest.raises(KmodIndexError):
        patch_index(*built([(b"a", b"m", 1)]), [], [item])


@given(st.data())
def test_a_damaged_index_is_changed_or_refused(data: st.DataObject) -> None:
    """Whatever its bytes and the places say, there is an error of ours or an answer, at once."""
    index, places = built([(b"pci:v%dd%d*" % (number % 9, number), b"m", number) for number in range(40)])
    parts = [bytearray(index), bytearray(places)]
    for _ in range(data.draw(st.integers(1, 4))):
        part = data.draw(st.sampled_from(parts))
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    keys = data.draw(st.lists(items, max_size=3))
    try:
        changed, where = patch_index(bytes(parts[0]), bytes(parts[1]), [], [*keys, (b"pci:v1d1x", b"m", 3)])
    except KmodIndexError:
        return
    assert changed[:4] == index[:4] and len(where) % 4 == 0
