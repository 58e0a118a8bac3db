"""The fast index of alias patterns: each way of it, its corners, and bounds on hostile input."""

from __future__ import annotations

import pytest

from kmodkit.core.matcher import Matcher, normalized_text
from kmodkit.core.matcher.fields import TEMPLATES
from kmodkit.core.radix import RadixTree
from kmodkit.errors import PatternError

PCI = b"pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00"


def found(pattern: bytes, text: bytes) -> bool:
    """Return whether the index of one pattern gives it for a text."""
    return Matcher([(pattern, 7)]).lookup(text) == (7,)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (b"pci:v00008086d00001591sv*sd*bc*sc*i*", True),
        (b"pci:v00008086d00001592sv*sd*bc*sc*i*", False),
        (b"pci:v00008086d*sv*sd*bc02sc*i*", True),
        (b"pci:v00008086d*sv*sd*bc02sc01i*", False),
        (b"pci:v*d*sv*sd*bc02sc00i00*", True),
        (b"pci:v*d*sv00001043sd000085F0bc*sc*i*", True),
        (b"pci:v*d*sv*sd*bc*sc*i*", True),
        (b"pci:v0000808[0-9]d000015[89]1sv*sd*bc*sc*i*", True),
        (b"pci:v0000808[!6]d*sv*sd*bc*sc*i*", False),
        (b"pci:v8086d*sv*sd*bc*sc*i*", False),
        (b"pci:v0000808*d00001591sv*sd*bc*sc*i*", True),
        (b"pci:v*d*1591sv*sd*bc*sc*i*", True),
        (b"pci:v*", True),
        (b"pci:*sd000085F0*", True),
        (b"pci:v????????d*sv*sd*bc*sc*i*", True),
        (b"p*:v*", True),
        (b"*", True),
        (b"pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00", True),
        (b"pci:v\\00008086d*sv*sd*bc*sc*i*", True),
    ],
)
def test_a_pci_device_finds_its_patterns(pattern: bytes, matches: bool) -> None:
    """By fields that are fixed, free or begun, by sets, and by patterns of other shapes."""
    assert found(pattern, PCI) is matches


@pytest.mark.parametrize("text", [PCI.lower(), PCI + b"x", PCI[:-1], b"pci:", b"pci", b"pciX" + PCI[3:], b""])
def test_a_text_of_no_device_is_answered_too(text: bytes) -> None:
    """Whatever a text looks like, patterns are matched by the rules."""
    matcher = Matcher([(b"pci:v00008086d*sv*sd*bc*sc*i*", 0), (b"pci*", 1), (b"pci:", 2), (b"*x", 3)])
    hits = (len(text) > 50 and text.startswith(b"pci:"), text[:3] == b"pci", text == b"pci:", text[-1:] == b"x")
    assert matcher.lookup(text) == tuple(number for number, hit in enumerate(hits) if hit)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (b"ieee1394:ven*mo*sp0000609Ever*", b"ieee1094:ven0000000Amo00000000sp0000609Ever00000000"),
        (b"i2c:x", b"i2c:y"),
        (b"platform:pmem*", b"plat:pmem"),
        (b"usb:v0B95p*d*dc*dsc*dp*ic*isc*ip*in*", b"usbx:v0B95p1790d0100dc00dsc00dp00icFFiscFFip00in00"),
    ],
)
def test_a_bus_of_nearly_the_same_name_is_another(pattern: bytes, text: bytes) -> None:
    """Texts are led to a bus by their first bytes, and only what matches as a whole is found there."""
    matcher = Matcher([(pattern, 7), (text[:8] + b"*", 8), (b"?" * len(text), 9)])
    assert matcher.lookup(text) == (8, 9)
    assert Matcher([(pattern, 7), (text[:8] + b"*", 8)]).lookup(text) == (8,)
    assert not found(pattern, text)


@pytest.mark.parametrize(
    ("patterns", "text", "values"),
    [
        ([b"serio:ty06pr*id*ex*"], b"serio:ty06pr00id00ex00", (0,)),
        ([b"serio:ty06pr*id*ex*"], b"serio:ty06prAidBexC", (0,)),
        ([b"serio:ty06pr*id*ex*"], b"serio:ty05pr00id00ex00", ()),
        ([b"serio:ty6pr*", b"serio:ty06pr*id*ex*"], b"serio:ty6pr00id00ex00", (0,)),
        ([b"serio:ty0[56]pr*id*ex*", b"serio:ty07*"], b"serio:ty05prx", ()),
        ([b"serio:ty0[56]pr*id*ex*", b"serio:ty07*"], b"serio:ty05pridex", (0,)),
        ([b"serio:ty06", b"serio", b"serio:"], b"serio", (1,)),
        ([b"serio:ty06", b"serio:x", b"serio:"], b"serio:", (2,)),
        ([b"serio:ty06pr*id*ex*", b"serix:*", b"serixx"], b"serixx", (2,)),
    ],
)
def test_a_bus_whose_patterns_all_fix_the_first_field(
    patterns: list[bytes], text: bytes, values: tuple[int, ...]
) -> None:
    """What begins otherwise matches none of them, of whatever shape it is, but whole texts are found."""
    assert Matcher([(pattern, number) for number, pattern in enumerate(patterns)]).lookup(text) == values


def test_texts_of_other_shapes_among_many_patterns_of_one_vendor() -> None:
    """They are led to a few patterns by what they begin with, or to many that differ behind their first star."""
    ends = [b"*sc%02Xi*" % number for number in range(100)] + [
        b"",
        b"*",
        b"*x",
        b"**sc01**i*",
        b"?*sc02i*",
        b"*[s]c03i*",
    ]
    pairs = [(b"pci:v00008086d" + end, number) for number, end in enumerate(ends)]
    pairs += [(b"pci:v00008086d0000%04Xsv*sd*bc*sc*i*" % number, 1000 + number) for number in range(100)]
    texts = [
        b"sc63i",
        b"",
        b"x",
        b"sc01i",
        b"sc01iisc01ii",
        b"_sc02i",
        b"sc03i0",
        b"00000010svsdbcsci",
        b"00000010sv",
    ]
    matcher, tree = Matcher(pairs), RadixTree()
    for pattern, number in pairs:
        tree.add(pattern, number)
    for text in [b"pci:v00008086d" + text for text in texts] + [b"pci:v00008087d", b"pci:v0000808"]:
        assert matcher.lookup(text) == tuple(sorted(tree.lookup(text))), text


def test_many_literals_between_stars() -> None:
    """Where there are too many to search a text for each, those it may hold are found by how they begin."""
    pairs = [(b"dmi*:svn*%04X*:pn*%d*" % (number * 7, number % 3), number) for number in range(400)]
    pairs += [(b"dmi*:svn*%d*:pn*" % number, 400 + number) for number in range(10)]
    matcher, tree = Matcher(pairs), RadixTree()
    for pattern, number in pairs:
        tree.add(pattern, number)
    for text in (
        b"dmi:bvnx:svn0007000E00:pn1:",
        b"dmi:svn:pn0007:",
        b"dmi:svn0AE9svn0AE2:pn:pn0",
        b"dmi:svn00:pn12",
        b"dmi:",
    ):
        assert matcher.lookup(text) == tuple(sorted(tree.lookup(text))), text


def test_values_are_ascending_and_come_once() -> None:
    """A module with two patterns that match is one answer, and modules keep the catalog's order."""
    matcher = Matcher([(b"a:b*", 9), (b"a:*", 3), (b"a:bc", 3), (b"*c", 1), (b"a:bc", 0)])
    assert matcher.lookup(b"a:bc") == (0, 1, 3, 9)


def test_the_same_pattern_for_many_modules() -> None:
    """Generic drivers share patterns."""
    matcher = Matcher([(b"hid:b*g*v*p*", 1), (b"hid:b*g*v*p*", 2), (b"i2c:x", 4), (b"i2c:x", 3)])
    assert matcher.lookup(b"hid:b0003g0001v0000046Dp0000C52B") == (1, 2)
    assert matcher.lookup(b"i2c:x") == (3, 4)


def test_an_empty_index_answers() -> None:
    """Nothing matches where there is nothing."""
    assert Matcher([]).lookup(b"pci:v") == Matcher([]).lookup(b"") == ()


@pytest.mark.parametrize("bus", list(TEMPLATES))
def test_each_bus_of_fields_takes_the_texts_of_its_template(bus: bytes) -> None:
    """One field fixed at a time, and each of its digits counts."""
    template = TEMPLATES[bus]
    for wanted, size in template.fields:
        digits = b"1F" * (size // 2)
        pattern = template.bus + b"".join(n + (digits if n == wanted else b"*") for n, _ in template.fields)
        for number in range(size + 1):
            value = digits[:number] + (b"0" + digits[number + 1 :] if number < size else b"")
            text = template.bus + b"".join(n + (value if n == wanted else b"0" * s) for n, s in template.fields)
            assert found(pattern, text) is (number == size), (pattern, text)


INPUT = b"input:b0011v0001p0001eAB41_e0,1,4,k71,72,ram4,l0,sfw"


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (b"input:b*v*p*e*_e*k*r*a*m*l*s*f*w*", True),
        (b"input:b*v*p*e*_e*1,*k*r*a*m*l*s*f*w*", True),
        (b"input:b*v*p*e*_e*1,*k*71,*r*a*m*l*0,*s*f*w*", True),
        (b"input:b*v*p*e*_e*1,*k*0,*r*a*m*l*s*f*w*", False),
        (b"input:b*v*p*e*_e*72,*k*r*a*m*l*s*f*w*", False),
        (b"input:b*v*p*e*_e0,1,4,k*r*a*m*l*s*f*w*", True),
        (b"input:b*v*p*e*_e*k*r*am*l*s*f*w*", True),
        (b"input:b*v*p*e*_e*k*r*a*ml*s*f*w*", False),
        (b"input:b*v0001p*e*_e*k*r*a*m*l*s*f*w*", True),
        (b"input:b*v0002p*e*_e*k*r*a*m*l*s*f*w*", False),
        (b"input:b*_e*[14],*k*", True),
        (INPUT, True),
        (INPUT[:-1] + b"*w", True),
        (INPUT[:-1], False),
    ],
)
def test_an_input_device_finds_its_patterns(pattern: bytes, matches: bool) -> None:
    """By what one list holds or is, and by patterns of other shapes."""
    assert found(pattern, INPUT) is matches


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"input:b0v1p2e3_e0kramlsfw", (0,)),
        (b"input:b0v1p2e3_e0krmlsfaw", ()),
        (b"input:bvpe_ekramlsfw", (0,)),
        (b"input:b", ()),
        (b"inpu1t:b0000v0000p0000e0000_ekramlsfw", ()),
        (b"input:b0000v0000p0000e0000_1ekramlsfw", ()),
        (b"input:b0000v0000p0000e0000_e0kramlsfwX", (0, 1)),
    ],
)
def test_a_text_of_no_input_device_is_answered_too(text: bytes, values: tuple[int, ...]) -> None:
    """Lists are looked into only where all letters are at their places."""
    matcher = Matcher([(b"input:b*v*p*e*_e*k*r*a*m*l*s*f*w*", 0), (b"input:*X", 1)])
    assert matcher.lookup(text) == values


@pytest.mark.parametrize(
    ("text", "values"), [(b"acpi:P1:", (0, 1)), (b"acpiX:P1:", (1,)), (b"acpi", ()), (b"acp:P1:", ())]
)
def test_a_bus_with_patterns_of_a_part_of_its_name(text: bytes, values: tuple[int, ...]) -> None:
    """They are found by the first bytes of the bus, and also for a bus that goes on from there."""
    assert Matcher([(b"acpi:*", 0), (b"acpi*:P1:*", 1)]).lookup(text) == values
    assert Matcher([(b"acpi:*", 0), (b"acpi*:P1:*", 1), (b"acpiXY*:*", 2)]).lookup(text) == values


@pytest.mark.parametrize(
    "pattern",
    [b"a*a*a*a*a*a*a*b", b"x:" + b"*a" * 40 + b"b", b"x:*" + b"[ab]*" * 30 + b"c", b"x:" + b"?*" * 50 + b"b"],
)
def test_hostile_patterns_end(pattern: bytes) -> None:
    """What keeps a backtracking matcher busy for ever is answered; the suite's time limit is the guard."""
    matcher = Matcher([(pattern, 0)] + [(pattern + b"%d" % number, number) for number in range(50)])
    for text in (b"a" * 4000, b"x:" + b"a" * 4000, b"x:" + b"ab" * 2000):
        for _ in range(3):
            matcher.lookup(text)
    assert matcher.lookup(b"x:") == ()


def test_a_hostile_text_ends() -> None:
    """Thousands of separators against tables of literals between them."""
    pairs = [(b"of:N*T*Cv%d" % number, number) for number in range(2000)]
    pairs += [(b"of:N*T*Cv%dC*" % number, number) for number in range(2000)]
    matcher = Matcher(pairs)
    assert matcher.lookup(b"of:NT" + b"C" * 4000) == ()
    assert matcher.lookup(b"of:NT" + b"Cv7" * 1000) == (7,)


@pytest.mark.parametrize(
    ("alias", "text"), [(b"a-b", b"a_b"), (b"a[-b]-c", b"a[\\-b]_c"), (b"a\\-b", b"a_b"), (b"a_b*", b"a_b*")]
)
def test_pattern_texts_have_underscores_outside_of_sets(alias: bytes, text: bytes) -> None:
    """As kmod has them in its index."""
    assert normalized_text(alias) == text


def test_a_nul_byte_is_refused() -> None:
    """No C string has one."""
    with pytest.raises(PatternError, match="NUL"):
        normalized_text(b"a\0b")
