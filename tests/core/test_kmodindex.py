"""depmod's binary indexes: bytes, lookups, and files that are none."""

from __future__ import annotations

from struct import pack

import pytest

from kmodkit.core.kmodindex import IndexFile
from kmodkit.core.kmodwrite import Layout, build_index
from kmodkit.errors import KmodIndexError

HEAD = pack(">II", 0xB007F457, 0x00020001)
EXAMPLE = [(b"on", b"1", 5), (b"once", b"2", 6), (b"one", b"3", 7)]


def index_of(*items: tuple[str, str, int]) -> IndexFile:
    """Return an index that has been written and is read again."""
    return IndexFile(build_index([(key.encode(), value.encode(), priority) for key, value, priority in items]))


def found(index: IndexFile, text: str) -> list[str]:
    """Return the values that match, as text."""
    return [value.decode() for _, value in index.matches(text.encode())]


def test_children_first_is_laid_out_as_described() -> None:
    """The worked example of the module's docstring, byte by byte, as kmod 30 writes it."""
    data = build_index(EXAMPLE, layout=Layout.CHILDREN_FIRST)
    once = b"e\0" + pack(">II", 1, 6) + b"2\0"
    one = pack(">II", 1, 7) + b"3\0"
    at_once, at_one = 12, 12 + len(once)
    table = pack(">III", 0xC0000000 | at_once, 0, 0x40000000 | at_one)
    on = b"n\0" + b"ce" + table + pack(">II", 1, 5) + b"1\0"
    at_on = at_one + len(one)
    root = b"oo" + pack(">I", 0xE0000000 | at_on)
    assert data == HEAD + pack(">I", 0x20000000 | (at_on + len(on))) + once + one + on + root


def test_parents_first_is_laid_out_as_described() -> None:
    """The same as kmod 34 writes it: the root behind the header, each node before its children."""
    data = build_index(EXAMPLE)
    once = b"e\0" + pack(">II", 1, 6) + b"2\0"
    one = pack(">II", 1, 7) + b"3\0"
    at_on = 12 + 6
    at_once = at_on + 2 + 2 + 12 + 8 + 2
    table = pack(">III", 0xC0000000 | at_once, 0, 0x40000000 | (at_once + len(once)))
    on = b"n\0" + b"ce" + table + pack(">II", 1, 5) + b"1\0"
    assert data == HEAD + pack(">I", 0x2000000C) + b"oo" + pack(">I", 0xE0000000 | at_on) + on + once + one


@pytest.mark.parametrize("layout", Layout)
def test_an_index_without_keys_is_a_header(layout: Layout) -> None:
    """Its root is a place without anything there."""
    data = build_index([], layout=layout)
    assert data == HEAD + pack(">I", 12)
    assert list(IndexFile(data).items()) == []
    assert IndexFile(data).get(b"x") == IndexFile(data).matches(b"x") == []


def test_values_ascend_by_priority_and_the_later_comes_first() -> None:
    """Of equal priorities depmod puts the one added later in front."""
    index = index_of(("k", "a", 2), ("k", "b", 1), ("k", "c", 2), ("k", "d", 1))
    assert index.get(b"k") == [(1, b"d"), (1, b"b"), (2, b"c"), (2, b"a")]


def test_the_empty_key_is_a_key() -> None:
    """Its values are the root's."""
    index = index_of(("", "nothing", 1), ("a", "x", 2))
    assert index.get(b"") == [(1, b"nothing")]
    assert list(index.items()) == [(b"", (1, b"nothing")), (b"a", (2, b"x"))]


def test_only_a_whole_key_is_found() -> None:
    """Neither its beginning nor something longer."""
    index = index_of(("snd_hda_intel", "x", 1))
    assert index.get(b"snd_hda_intel")
    assert not index.get(b"snd_hda") and not index.get(b"snd_hda_intel2") and not index.get(b"")


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("pci:v8086d*", "pci:v8086d1234", "pci:v8087d1234"),
        ("a*b*c", "axxbyyc", "axxbyy"),
        ("a*", "a", "b"),
        ("*", "", None),
        ("?", "x", "xy"),
        ("x?z*", "xyzzy", "xz"),
        ("[ab]c", "bc", "cc"),
        ("[!ab]c", "cc", "bc"),
        ("p[0-9A-F]*q", "p7xxq", "pGxxq"),
        ("p*[0-9]", "pxx7", "pxxx"),
        (r"p*\*", "pxx*", "pxxx"),
        ("p*[", "pxx[", "pxx]"),
        ("of:N*T*Ca,b", "of:NfanT(null)Ca,b", "of:NfanT(null)Ca,c"),
        ("plain", "plain", "plaim"),
    ],
)
def test_a_pattern_matches_as_fnmatch(pattern: str, yes: str, no: str | None) -> None:
    """Whole strings, with neighbours in the trie that share its beginning."""
    index = index_of((pattern, "it", 1), (pattern + "~", "other", 2), (pattern[:1] + "~~", "other", 3))
    assert found(index, yes)[:1] == ["it"]
    assert no is None or "it" not in found(index, no)


def test_matches_come_by_priority() -> None:
    """A device gets its modules in the order of modules.order, whatever the shape of their patterns."""
    index = index_of(("a*", "third", 3), ("a?c", "first", 1), ("ab[c]", "second", 2), ("abc", "fourth", 4))
    assert found(index, "abc") == ["first", "second", "third", "fourth"]


def test_many_stars_are_no_trouble() -> None:
    """A pattern that takes others years ends at once."""
    index = index_of(("a*" * 60 + "b", "x", 1))
    assert found(index, "a" * 5000) == []
    assert found(index, "a" * 5000 + "b") == ["x"]


@pytest.mark.parametrize("text", ["caf\xe9", "a\0b"])
def test_only_seven_bit_text_can_be_written(text: str) -> None:
    """The format has 128 children to a node, and strings end in NUL."""
    with pytest.raises(KmodIndexError, match="7-bit"):
        build_index([(text.encode("latin-1"), b"v", 1)])
    with pytest.raises(KmodIndexError, match="7-bit"):
        build_index([(b"k", text.encode("latin-1"), 1)])


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"", 0),
        (HEAD, 8),
        (b"\xb0\x07\xfa\x57" + HEAD[4:] + pack(">I", 12), 0),
        (HEAD[:4] + pack(">I", 0x00030001) + pack(">I", 12), 4),
    ],
)
def test_a_file_that_is_no_index_is_refused_at_once(data: bytes, offset: int) -> None:
    """With its name and where it goes wrong."""
    with pytest.raises(KmodIndexError) as caught:
        IndexFile(data, source="modules.x.bin")
    assert caught.value.offset == offset
    assert str(caught.value).startswith("modules.x.bin: ")


@pytest.mark.parametrize(
    ("root", "body", "reason"),
    [
        (0x2000000C, b"aa" + pack(">I", 0x2000000C), "overlap"),
        (0x2000000C, b"ab" + pack(">II", 0x2000000C, 0x2000000C), "overlap"),
        (0x2000000C, b"\x01\x7f" + pack(">I", 0x2000000C) * 127, "overlap"),
        (0x2000000C, b"ba" + bytes(8), "impossible"),
        (0x2000000C, b"az" + bytes(8), "outside"),
        (0x8000000C, b"abc", "does not end"),
        (0xC0FFFFFF, b"", "does not end"),
        (0x4000000C, pack(">I", 0xFFFFFFFF), "outside"),
        (0x4000000C, pack(">II", 1, 1) + b"abc", "does not end"),
        (0x40000000 | 400, b"", "outside"),
    ],
)
def test_impossible_nodes_are_refused(root: int, body: bytes, reason: str) -> None:
    """Circles, shared nodes, and what lies outside of the file end in an error with an offset."""
    index = IndexFile(HEAD + pack(">I", root) + body, source="x.bin")
    with pytest.raises(KmodIndexError, match=reason) as caught:
        list(index.items())
    assert caught.value.offset is not None
    for text in (b"a" * 300, b"", b"b"):
        try:
            index.matches(text)
            index.get(text)
        except KmodIndexError as error:
            assert error.source == "x.bin"


def test_a_long_chain_is_no_recursion() -> None:
    """A key for each length up to the longest is read and found."""
    keys = [b"a" * size for size in range(1, 2000)]
    index = IndexFile(build_index([(key, b"v", 1) for key in keys]))
    assert [key for key, _ in index.items()] == keys
    assert len(index.get(keys[-1])) == 1
