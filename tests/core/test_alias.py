"""Alias patterns: what they parse to and what they match."""

import pickle

import pytest

from kmodkit.core import alias
from kmodkit.core.alias import ANY, STAR, ByteSet, Pattern, Token, join_tokens
from kmodkit.errors import PatternError
from tests.libc import fnmatch

ALL_BYTES = bytes(range(1, 256))

# pattern, texts that match, texts that do not
TRUTH: list[tuple[bytes, list[bytes], list[bytes]]] = [
    (b"", [b""], [b"a"]),
    (b"abc", [b"abc"], [b"", b"ab", b"abcd", b"ABC"]),
    (b"*", [b"", b"a", b"/a/.b", b"\xff\n"], []),
    (b"**", [b"", b"ab"], []),
    (b"?", [b"a", b"/", b".", b"\xff", b"["], [b"", b"ab"]),
    (b"a*c", [b"ac", b"abc", b"a/c", b"acc"], [b"a", b"c", b"acb"]),
    (b"*a*b*", [b"ab", b"xaxbx", b"aab"], [b"ba", b"a", b"b"]),
    (b"*?*?", [b"ab", b"abc"], [b"", b"a"]),
    (b"ab*ba", [b"abba", b"ab-ba"], [b"aba"]),
    (b"v0000[1-9]d", [b"v00001d", b"v00009d"], [b"v00000d", b"v0000d", b"v0000:d"]),
    (b"[0-9A-B]", [b"0", b"A", b"B"], [b"C", b"a", b""]),
    (b"[Ll]ee", [b"Lee", b"lee"], [b"ee", b"LLee"]),
    (b"[!0]", [b"1", b"^", b"\xff"], [b"0", b"", b"12"]),
    (b"[^0-9]", [b"a", b"^"], [b"5", b""]),
    (b"[a^]", [b"a", b"^"], [b"b"]),
    (b"[a!]", [b"a", b"!"], [b"b"]),
    (b"[]]", [b"]"], [b"[", b"", b"a"]),
    (b"[]a]", [b"]", b"a"], [b"b"]),
    (b"[!]a]", [b"b"], [b"]", b"a"]),
    (b"[]-a]", [b"]", b"^", b"_", b"`", b"a"], [b"-", b"b", b"["]),
    (b"[a-]", [b"a", b"-"], [b"b"]),
    (b"[-a]", [b"a", b"-"], [b"b"]),
    (b"[--/]", [b"-", b".", b"/"], [b"0"]),
    (b"[c-a]", [], [b"a", b"b", b"c", b"-"]),
    (b"[!c-a]", [b"a", b"-"], [b""]),
    (b"[\\]]", [b"]"], [b"\\"]),
    (b"[\\a-\\c]", [b"a", b"b", b"c"], [b"\\", b"-"]),
    (b"[\\-a]", [b"-", b"a"], [b"\\", b"]"]),
    (b"[a-c-e]", [b"a", b"c", b"-", b"e"], [b"d"]),
    (b"[*]", [b"*"], [b"a", b""]),
    (b"[?]", [b"?"], [b"a"]),
    (b"[\x80-\xff]", [b"\x80", b"\xc3", b"\xff"], [b"\x7f", b"\xc3\xa9"]),
    (b"[[:digit:]]", [b"0", b"9"], [b"a", b":", b"["]),
    (b"[![:digit:]a]", [b"b", b":"], [b"0", b"a"]),
    (b"[[:alpha:][:digit:]_]", [b"q", b"7", b"_"], [b"-", b"\xe9"]),
    (b"[[:nosuch:]]", [], [b"n", b"[", b":]", b":"]),
    (b"[[:digit]", [b"[", b":", b"d"], [b"0", b"]"]),
    (b"[[=a=]b]", [b"a", b"b"], [b"="]),
    (b"[[.a.]-c]", [b"a", b"b", b"c"], [b".", b"-"]),
    (b"[[.hyphen.]]", [], [b"-", b"h"]),
    (b"[", [b"["], [b"", b"a"]),
    (b"[abc", [b"[abc"], [b"a", b"[ab"]),
    (b"[!", [b"[!"], [b"a"]),
    (b"[]", [b"[]"], [b"", b"]"]),
    (b"[!]", [b"[!]"], [b"a"]),
    (b"a]", [b"a]"], [b"a"]),
    (b"[a", [b"[a"], [b"a"]),
    (b"[[a]", [b"[", b"a"], [b"[a"]),
    (b"\\*", [b"*"], [b"a", b"\\*", b""]),
    (b"\\?\\[\\\\", [b"?[\\"], [b"a[\\"]),
    (b"\\a", [b"a"], [b"\\a"]),
    (b"a\\", [], [b"a", b"a\\"]),
    (b"\xff\xfe*", [b"\xff\xfe", b"\xff\xfe\x80"], [b"\xff"]),
    (b"of:N*T*Cbrcm,bcm2835 x", [b"of:NaT(null)Cbrcm,bcm2835 x"], [b"of:NaT(null)Cbrcm,bcm2835_x"]),
    (b'dmi:*svn"Quoted, Inc."*', [b'dmi:bvn:svn"Quoted, Inc.":'], [b"dmi:svnQuoted, Inc.:"]),
]
CASES = [
    (pattern, text, expected)
    for pattern, yes, no in TRUTH
    for texts, expected in ((yes, True), (no, False))
    for text in texts
]


@pytest.mark.parametrize(("pattern", "text", "expected"), CASES)
def test_patterns_match_as_the_table_says(pattern: bytes, text: bytes, expected: bool) -> None:
    """Each line is one fact of fnmatch(3), and libc of this machine agrees with it."""
    assert Pattern.parse(pattern).matches(text) is expected
    assert fnmatch(pattern, text) is expected


NAMES = (
    "alnum",
    "alpha",
    "blank",
    "cntrl",
    "digit",
    "graph",
    "lower",
    "print",
    "punct",
    "space",
    "upper",
    "xdigit",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("template", ["[[:%s:]]", "[![:%s:]]"])
def test_character_classes_are_those_of_the_c_locale(name: str, template: str) -> None:
    """Each class, and its negation, has the very bytes that isalpha(3) and its kin have."""
    text = (template % name).encode()
    pattern = Pattern.parse(text)
    assert {b for b in ALL_BYTES if pattern.matches(bytes([b]))} == {
        b for b in ALL_BYTES if fnmatch(text, bytes([b]))
    }


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ()),
        ("asdf", (b"asdf",)),
        ("as*df", (b"as", STAR, b"df")),
        ("a***b", (b"a", STAR, b"b")),
        ("a\\*", (b"a*",)),
        ("a\\b\\c", (b"abc",)),
        ("[y-z]", (ByteSet(((0x79, 0x7A),)),)),
        ("[1-9A-F]", (ByteSet(((0x31, 0x39), (0x41, 0x46))),)),
        ("[abc]", (ByteSet(((0x61, 0x63),)),)),
        ("a?c", (b"a", ANY, b"c")),
        ("[!\x01-\xff]", None),
        ("*?*", (STAR, ANY, STAR)),
        ("[a", (b"[a",)),
        ("é", (b"\xc3\xa9",)),
        ("a\\", (b"a", ByteSet(()))),
    ],
)
def test_text_becomes_tokens(text: str, tokens: tuple[Token, ...] | None) -> None:
    """Literals are runs, stars in a row are one, and sets are their ranges in order."""
    if tokens is not None:
        assert Pattern.parse(text).tokens == tokens
    assert Pattern.parse(text) == Pattern.parse(text.encode())


def test_a_set_of_every_byte_is_the_single_wildcard() -> None:
    """Two ways to write "any one byte" are one token, so equal patterns compare equal."""
    assert Pattern.parse(b"[!b-a]") == Pattern.parse("?")


@pytest.mark.parametrize("text", sorted({pattern for pattern, _, _ in TRUTH}))
def test_a_pattern_prints_as_a_text_that_parses_to_it(text: bytes) -> None:
    """bytes() and str() of a pattern may differ from what was parsed, but mean the same."""
    pattern = Pattern.parse(text)
    assert Pattern.parse(bytes(pattern)) == pattern
    assert Pattern.parse(str(pattern)) == pattern


@pytest.mark.parametrize("text", ["pci:v00008086d*", "a?b", "[1-9A-F]", "usb:v0B95p1790d*dc*"])
def test_usual_patterns_print_as_they_were_written(text: str) -> None:
    """What kernels write comes back letter by letter."""
    assert str(Pattern.parse(text)) == text


def test_a_nul_byte_is_a_pattern_error_with_its_offset() -> None:
    """No C string holds a NUL, so such a text is refused, and the error quotes it."""
    with pytest.raises(PatternError, match="NUL") as caught:
        Pattern.parse("ab\0c*")
    assert caught.value.offset == 2
    assert caught.value.source == r"'ab\x00c*'"


def test_a_nul_byte_in_the_text_is_a_byte_like_others() -> None:
    """A modalias with a NUL cannot come from a device, and does no harm."""
    assert Pattern.parse("a?b").matches(b"a\0b")
    assert not Pattern.parse("a*b").matches(b"a\0c")


def test_joining_tokens_makes_them_canonical() -> None:
    """Literals in a row, stars in a row, empty literals and full sets have one form."""
    full = ByteSet(((0, 255),))
    assert join_tokens([b"a", b"", b"b", STAR, STAR, full, b""]) == (b"ab", STAR, ANY)


def test_byte_sets_know_their_members() -> None:
    """A set keeps ascending ranges apart by at least one, and lists its members."""
    members = ByteSet.of(b"cba" + b"x" + b"za"[:1])
    assert members.ranges == ((0x61, 0x63), (0x78, 0x78), (0x7A, 0x7A))
    assert bytes(members) == b"abcxz"
    assert 0x62 in members
    assert 0x64 not in members


def test_patterns_are_values() -> None:
    """Patterns hash, compare and pickle by what they are."""
    pattern = Pattern.parse("a*[b-c]?")
    assert pickle.loads(pickle.dumps(pattern)) == pattern  # noqa: S301 - our own bytes
    assert len({pattern, Pattern.parse("a*[bc]?")}) == 1
    assert repr(pattern).count("Wild.STAR") == 1


QUADRATIC = [
    "[",
    "[a",
    "[!",
    "[^]",
    "[[:alpha:]",
    "[[=a=]",
    "[a-",
    "[]",
    "[!]",
    "\\a",
    "[[.a.]",
    "[[.a.]-",
    "[x[:",
    "[=",
    "[!a]",
]


@pytest.mark.parametrize("piece", QUADRATIC)
@pytest.mark.parametrize("end", ["", "]", "[:alpha:]", "[[:alpha:]"])
def test_a_long_pattern_is_parsed_in_proportion_to_its_length(
    piece: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brackets that are never closed are not read again and again; counted in members, not in seconds."""
    members = [0]
    item = alias._BracketReader._item

    def counting(reader: alias._BracketReader) -> object:
        members[0] += 1
        return item(reader)

    monkeypatch.setattr(alias._BracketReader, "_item", counting)
    text = (piece * 3000 + end).encode()
    pattern = Pattern.parse(text)
    assert members[0] <= len(text)
    short = (piece * 5 + end).encode()
    for probe in (short, b"a", b"[", b"[" * 5, b"a" * 5):
        assert Pattern.parse(short).matches(probe) is fnmatch(short, probe)
    assert Pattern.parse(bytes(pattern)) == pattern
