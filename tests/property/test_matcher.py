"""The fast index gives the answers of the simple tree and of fnmatch(3), whatever the patterns and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from kmodkit.core.alias import Pattern
from kmodkit.core.matcher import Matcher, normalized_text
from kmodkit.core.names import normalize_alias
from kmodkit.core.radix import RadixTree
from tests.libc import fnmatch
from tests.property.strategies import patterns, texts, usual_patterns

if TYPE_CHECKING:
    from collections.abc import Sequence

# A few values for each field, so that patterns and texts meet.
FIELDS = {
    b"pci:": ((b"v", 8), (b"d", 8), (b"sv", 8), (b"sd", 8), (b"bc", 2), (b"sc", 2), (b"i", 2)),
    b"usb:": (
        (b"v", 4),
        (b"p", 4),
        (b"d", 4),
        (b"dc", 2),
        (b"dsc", 2),
        (b"dp", 2),
        (b"ic", 2),
        (b"isc", 2),
        (b"ip", 2),
        (b"in", 2),
    ),
    b"hid:": ((b"b", 4), (b"g", 4), (b"v", 8), (b"p", 8)),
    b"hdaudio:": ((b"v", 8), (b"r", 8), (b"a", 2)),
    b"sdio:": ((b"c", 2), (b"v", 4), (b"d", 4)),
    b"virtio:": ((b"d", 8), (b"v", 8)),
}
NUMBERS = st.sampled_from([0, 1, 0x1D, 0xD1, 0xFF])


@st.composite
def field_texts(draw: st.DrawFn) -> bytes:
    """What a device of one of the buses of fields writes."""
    bus = draw(st.sampled_from(list(FIELDS)))
    return bus + b"".join(name + b"%0*X" % (size, draw(NUMBERS)) for name, size in FIELDS[bus])


@st.composite
def field_patterns(draw: st.DrawFn) -> bytes:
    """A pattern of one of those buses: each field fixed, free, begun, with a set, or as nobody writes it."""
    bus = draw(st.sampled_from(list(FIELDS)))
    out = bus
    for name, size in FIELDS[bus]:
        digits = b"%0*X" % (size, draw(NUMBERS))
        kept = draw(st.integers(0, size))
        odd = [b"", b"?" * size, digits + b"0", digits.lower(), b"*1*", b"[", b"\\*"]
        usual = [b"*", b"*", b"*", digits, digits + b"*", digits[:kept] + b"*"]
        usual += [digits[:-1] + b"[0-4DF]", digits[:kept] + b"[!0]*"]
        out += name + draw(st.sampled_from(usual * 3 + odd))
    return out + draw(st.sampled_from([b"", b"", b"*", b"*x"]))


LISTS = (b"-e", b"k", b"r", b"a", b"m", b"l", b"s", b"f", b"w")
SOME_NUMBERS = st.sampled_from([b"", b"", b"1,", b"1,2C0,", b"2C0,", b"12,", b"C0,1,"])


@st.composite
def list_texts(draw: st.DrawFn) -> bytes:
    """What an input device writes, now and then with a number where none belongs."""
    out = b"input:" + b"".join(name + b"%04X" % draw(NUMBERS) for name in (b"b", b"v", b"p", b"e"))
    out += b"".join(name + draw(SOME_NUMBERS) for name in LISTS)
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(out)))
        out = out[:at] + draw(st.sampled_from([b"1", b",", b"k", b"e"])) + out[at:]
    return out


@st.composite
def list_patterns(draw: st.DrawFn) -> bytes:
    """What a driver of input devices asks for: some numbers in some lists; or as nobody writes it."""
    out = b"input:b*v*p*e*" if draw(st.integers(0, 4)) else b"input:b*v%04Xp*e*" % draw(NUMBERS)
    usual = [b"*", b"*", b"*", b"*1,*", b"*2C0,*", b"*1,*2C0,*"]
    odd = [b"", b"**", b"1,*", b"*1,", b"1,", b"?*", b"*[12],*", b"*a*", b"*_*"]
    return out + b"".join(name + draw(st.sampled_from(usual * 5 + odd)) for name in LISTS)


PIECES = st.sampled_from(
    [b"T", b"C", b"Cab", b"CabC", b"b", b":", b":P1:", b":P2:", b"v", b"p", b"feature:", b"a,"]
)
HEADS = st.sampled_from([b"of:N", b"acpi", b"acpi:", b"dmi", b"input:b", b"", b"a", b"a-b:", b"x:"])


@st.composite
def piece_patterns(draw: st.DrawFn) -> bytes:
    """Literals with stars between them, as of, acpi, dmi and input have."""
    return draw(HEADS) + b"*".join(
        [b"", *draw(st.lists(PIECES, max_size=4)), draw(st.sampled_from([b"", b"", b"C"]))]
    )


any_patterns = st.one_of(field_patterns(), list_patterns(), piece_patterns(), usual_patterns, patterns)
plain_texts = st.builds(lambda head, pieces: head + b"".join(pieces), HEADS, st.lists(PIECES | texts, max_size=6))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A text that is nearly one of a device."""
    text = bytearray(draw(field_texts() | list_texts() | plain_texts))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"", b"0", b"d", b"D", b"sv", b":", b"-", b"\xff"])
        )
    return bytes(text)


def compare(raw: Sequence[bytes], asked: Sequence[bytes]) -> None:
    """Assert that the index, asked twice, gives what the tree gives, and that this is what fnmatch says."""
    pairs = [(normalized_text(pattern), number) for number, pattern in enumerate(raw)]
    matcher, tree = Matcher(pairs), RadixTree()
    for pattern, number in pairs:
        tree.add(Pattern.parse(pattern), number)
    for text in map(normalize_alias, asked):
        expected = tuple(sorted(tree.lookup(text)))
        assert matcher.lookup(text) == expected, text
        assert matcher.lookup(text) == expected, text
        if 0 not in text:
            assert expected == tuple(number for pattern, number in pairs if fnmatch(pattern, text)), text


@given(st.lists(any_patterns, max_size=30), st.lists(field_texts() | mutated() | plain_texts | texts, max_size=12))
@example([b"acpi*:PNP0C14:*"] * 2, [b"acpiX:PNP0C14:", b"acpi:PNP0C14:PNP0C14:"])
@example([b"of:N*T*Cab", b"of:N*T*CabC*"], [b"of:NxTyCabCab", b"of:NxTCabCabC"])
@example([b"pci", b"pci*", b"p*"], [b"pci", b"pci:"])
def test_answers_are_those_of_the_tree_and_of_fnmatch(raw: list[bytes], asked: list[bytes]) -> None:
    """Fields, literals with stars, sets, and texts of no shape at all."""
    compare(raw, asked)


@given(st.lists(field_patterns(), min_size=1, max_size=40), st.lists(field_texts() | mutated(), max_size=20))
def test_fields_are_compared_at_their_places(raw: list[bytes], asked: list[bytes]) -> None:
    """Every bus of hexadecimal fields, also where the text is none of a device."""
    compare(raw, asked)


@given(st.lists(list_patterns(), min_size=1, max_size=30), st.lists(list_texts() | mutated(), max_size=20))
@example([b"input:b*v*p*e*-ek*r*a*m*l*s*f*w*"], [b"input:b0000v0000p0000e0000-1ekramlsfw"])
@example([b"input:b*v*p*e*-e*k*r*a*m*l*s*f*w"], [b"input:b0000v0000p0000e0000-ekramlsfw,"])
def test_lists_are_searched_between_their_letters(raw: list[bytes], asked: list[bytes]) -> None:
    """A number that only another list holds does not count, and texts of other shapes are matched by the rules."""
    compare(raw, asked)


@given(st.lists(piece_patterns(), min_size=1, max_size=40), st.lists(plain_texts | mutated(), max_size=20))
def test_literals_are_found_at_their_leftmost_places(raw: list[bytes], asked: list[bytes]) -> None:
    """Patterns that share literals, end in them, or hold them between stars."""
    compare(raw, asked)


@given(st.sampled_from([b"Cab*", b"*C%02d*", b"*:%02d:*", b"*T*C%02d", b"*%02d", b"*x%02dy*"]), st.data())
def test_many_patterns_that_differ_in_one_literal(shape: bytes, data: st.DataObject) -> None:
    """As compatible strings and ACPI names do: they are found in tables, also where they overlap."""
    raw = [b"of:N" + (shape % number if b"%" in shape else shape) for number in range(20)]
    words = st.sampled_from([b"T", b"C", b":", b"x", b"y", b"07", b"12", b"1", b"2"])
    compare(raw, [b"of:N" + b"".join(data.draw(st.lists(words, max_size=12))) for _ in range(5)])
