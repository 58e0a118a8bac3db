"""Patterns of buses whose modaliases are fields of hexadecimal digits, each of one width.

A device of such a bus writes all fields, so the place of each is known: ``pci:v`` and eight digits, ``d`` and
eight digits, and so on (scripts/mod/file2alias.c and each bus's uevent function in the kernel). A pattern fixes
some fields, or the first digits of one, and leaves the others free. Then it matches a text of that canonical shape
exactly where the digits at the fixed places are equal: field names are lower case and the digits are not, so a
match puts the small letters of the pattern onto those of the text in their order, and both have as many.

Patterns are kept by their mask, the places they fix: a dict for each mask. As pci has 18 masks, they are grouped
by how many of the first two fields they fix, and those with more than that are tried only where these fit; those
that leave both free, such as classes, only where what stands at their first place fits.
"""

from __future__ import annotations

import itertools
import math
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from kmodkit.core.alias import ByteSet, Pattern
from kmodkit.core.matcher.globs import MAX_ALTERNATIVES, GlobIndex, is_plain
from kmodkit.core.matcher.odd import OddIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kmodkit.core.matcher.globs import Bundle, Lookup, Pair, Values

    # A dict's keys are one piece of the text, or a tuple of several.
    Key: TypeAlias = bytes | tuple[bytes, ...]
    Table: TypeAlias = dict[Key, Values]
    Places: TypeAlias = tuple[tuple[int, int], ...]
    Lead: TypeAlias = tuple[
        Values,
        tuple[tuple[slice, Mapping[bytes, Values]], ...],
        tuple[tuple[Callable[[bytes], Key], Mapping[Key, Values]], ...],
    ]

# All digits become "0". Comparing the outcome with the bus's template takes 0.2 us, a regular expression 0.7.
ZEROS: Final = bytes.maketrans(b"123456789ABCDEF", b"000000000000000")


class Template(NamedTuple):
    """The canonical shape of a bus's texts: ``(name, digits)`` of each field behind ``bus``."""

    bus: bytes
    fields: tuple[tuple[bytes, int], ...]

    @property
    def text(self) -> bytes:
        """The shape with ``0`` for each digit."""
        return self.bus.translate(ZEROS) + b"".join(name + b"0" * size for name, size in self.fields)

    @property
    def cuts(self) -> tuple[int, int]:
        """Where the first two fields end, the second one first."""
        first = len(self.bus) + len(self.fields[0][0]) + self.fields[0][1]
        return first + len(self.fields[1][0]) + self.fields[1][1], first


def _template(bus: bytes, fields: str) -> Template:
    words = (word.partition("=") for word in fields.split())
    return Template(bus + b":", tuple((name.encode(), int(size)) for name, _, size in words))


TEMPLATES: Final = {
    bus: _template(bus, fields)
    for bus, fields in (
        (b"pci", "v=8 d=8 sv=8 sd=8 bc=2 sc=2 i=2"),
        (b"usb", "v=4 p=4 d=4 dc=2 dsc=2 dp=2 ic=2 isc=2 ip=2 in=2"),
        (b"hid", "b=4 g=4 v=8 p=8"),
        (b"hdaudio", "v=8 r=8 a=2"),
        (b"pcmcia", "m=4 c=4 f=2 fn=2 pfn=2 pa=8 pb=8 pc=8 pd=8"),
        (b"ieee1394", "ven=8 mo=8 sp=8 ver=8"),
        (b"sdio", "c=2 v=4 d=4"),
        (b"virtio", "d=8 v=8"),
        (b"serio", "ty=2 pr=2 id=2 ex=2"),
        (b"ssb", "v=4 id=4 rev=2"),
        (b"bcma", "m=4 id=4 rev=2 cl=2"),
    )
}


class _Plan(NamedTuple):
    """How patterns of one outline fix digits: what ``take`` takes has to stand at ``places`` of the text."""

    cut: int  # how much of the beginning is fixed, of what the tables know; -1 where no text can match
    take: Callable[[bytes], Key] | None  # None where nothing more is fixed
    places: Places


_NEVER: Final = _Plan(-1, None, ())


class FieldIndex:
    """The patterns of one bus of hexadecimal fields; ``bundles`` are those of other beginnings to ask as well.

    ``lookup`` returns the values of every pattern that matches a text, in no order, some of them twice, or None
    for no value. Like that of `GlobIndex` it is a function over local names.
    """

    __slots__ = ("lookup",)
    lookup: Lookup

    def __init__(
        self,
        template: Template,
        pairs: Sequence[Pair],
        bundles: Sequence[Bundle] = (),
        exact: Mapping[bytes, Values] | None = None,
    ) -> None:
        builder = _Builder(template)
        others = [pair for pair in pairs if not builder.add(*pair)]
        beside = GlobIndex(others, bundles).lookup if others or bundles else None
        tables = builder.tables()
        odd = _Odd(template.cuts[-1], pairs, bundles, exact)
        leads = {text[tables.first] for text, _ in pairs}
        if tables.always or tables.starts or beside or not all(map(is_plain, leads)):
            self.lookup = _reader(template, tables, beside, odd)
        else:
            self.lookup = _closed_reader(template, tables, leads, exact or {}, odd)


class _Odd:
    """Stands for the lookup of texts that no device of the bus would write, which is made when one comes."""

    __slots__ = ("_given", "_index")

    def __init__(self, *given: Any) -> None:
        self._given = given
        self._index: OddIndex | None = None

    def __call__(self, text: bytes) -> Values:
        if self._index is None:
            self._index = OddIndex(*self._given)
        return self._index.lookup(text)


class _Tables(NamedTuple):
    """What a text of the canonical shape is looked up in."""

    always: Values  # of patterns that fix nothing
    second: slice
    seconds: Mapping[bytes, Lead]  # by the first two fields, with what their first one leads to
    first: slice
    firsts: Mapping[bytes, Lead]  # by the first field, for texts whose first two have nothing
    starts: Sequence[tuple[slice, Mapping[bytes, Lead]]]  # by what stands at the first place that is fixed


_NOTHING: Final[Lead] = ((), (), ())
_NO_START: Final[tuple[slice, Mapping[bytes, Lead]]] = (slice(0), {})


def _reader(template: Template, tables: _Tables, beside: Lookup | None, odd: Lookup) -> Lookup:
    shape = template.text
    always, second, seconds, first, firsts, starts = tables
    # No bus has more places than two where its classes begin: a loop over them took a twentieth of the time.
    (one, ones), (other, others), *more = (*starts, _NO_START, _NO_START)[: max(len(starts), 2)]

    def lookup(text: bytes) -> Values | None:
        if text.translate(ZEROS) != shape:
            return odd(text)
        piece = text[second]
        if piece in seconds:
            # What `_follow` does: the call is a tenth of the time.
            found, single, wider = seconds[piece]
            for part, table in single:
                piece = text[part]
                if piece in table:
                    found += table[piece]
            for cut, groups in wider:
                found += groups.get(cut(text), ())
        else:
            piece = text[first]
            found = _follow(firsts[piece], text) if piece in firsts else always
        piece = text[one]
        if piece in ones:
            found += _follow(ones[piece], text)
        piece = text[other]
        if piece in others:
            found += _follow(others[piece], text)
        for part, leads in more:
            piece = text[part]
            if piece in leads:
                found += _follow(leads[piece], text)
        return found if beside is None else found + (beside(text) or ())

    return lookup


def _closed_reader(
    template: Template, tables: _Tables, leads: Iterable[bytes], exact: Mapping[bytes, Values], odd: Lookup
) -> Lookup:
    """Return the function for a bus, such as hdaudio and serio, where every pattern fixes the first field."""
    shape = template.text
    _, second, seconds, first, known, _ = tables
    firsts: dict[bytes, Lead] = {**dict.fromkeys(leads, _NOTHING), **known}
    whole = exact.get

    def lookup(text: bytes) -> Values | None:
        piece = text[first]
        if piece not in firsts:
            return whole(text)  # whatever its shape is, so that is not looked at
        if text.translate(ZEROS) != shape:
            return odd(text)
        lead = text[second]
        found, single, wider = seconds[lead] if lead in seconds else firsts[piece]
        for part, table in single:
            piece = text[part]
            if piece in table:
                found += table[piece]
        for cut, groups in wider:
            found += groups.get(cut(text), ())
        return found

    return lookup


def _follow(lead: Lead, text: bytes) -> Values:
    found, single, wider = lead
    for part, table in single:
        piece = text[part]
        if piece in table:
            found += table[piece]
    for cut, groups in wider:
        found += groups.get(cut(text), ())
    return found


def _together(one: Lead, other: Lead) -> Lead:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])


class _Builder:
    """Sorts patterns into the tables of a `FieldIndex`."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.plans: dict[bytes, _Plan | None] = {}
        self.always: Values = ()
        self.values: dict[int, dict[bytes, Values]] = {cut: {} for cut in template.cuts}
        self.below: dict[int, dict[bytes, dict[Places, Table]]] = {cut: {} for cut in template.cuts}
        self.root: dict[Places, Table] = {}

    def add(self, text: bytes, values: Values) -> bool:
        """Add a pattern; return whether its shape is one that this index is for."""
        if b"[" not in text and b"\\" not in text:
            return self._add_plain(text, values)
        alternatives = _alternatives(text)
        if alternatives is None or any(self._plan(each) is None for each in alternatives):
            return False
        return all(self._add_plain(each, values) for each in alternatives)

    def _add_plain(self, text: bytes, values: Values) -> bool:
        plan = self._plan(text)
        if plan is None:
            return False
        cut, take, places = plan
        if cut < 0:
            return True
        key: Key
        table: Any
        if take is not None:
            key = take(text)
            table = (self.below[cut].setdefault(text[:cut], {}) if cut else self.root).setdefault(places, {})
        elif cut:
            key = text[:cut]
            table = self.values[cut]
        else:
            self.always += values
            return True
        table[key] = table[key] + values if key in table else values
        return True

    def tables(self) -> _Tables:
        """Return what has been added as the tables to look a text up in."""
        longer, shorter = self.template.cuts
        always: Lead = (self.always, (), ())
        firsts = {piece: _together(always, lead) for piece, lead in self._leads(shorter).items()}
        seconds = self._leads(longer)
        if firsts or self.always:
            for piece, lead in seconds.items():
                above = firsts.get(piece[:shorter], always)
                if above != _NOTHING:
                    seconds[piece] = _together(above, lead)
        return _Tables(self.always, slice(longer), seconds, slice(shorter), firsts, tuple(self._starts()))

    def _leads(self, cut: int) -> dict[bytes, Lead]:
        """Return what the beginnings of ``cut`` bytes lead to."""
        values = self.values[cut]
        found: dict[bytes, Lead] = {piece: (each, (), ()) for piece, each in values.items()}
        for piece, rests in self.below[cut].items():
            found[piece] = _lead(values.get(piece, ()), rests)
        return found

    def _starts(self) -> Iterator[tuple[slice, dict[bytes, Lead]]]:
        """Yield for each place where masks begin that leave the first fields free what leads on from there."""
        # A class of pci or usb begins at one of few places: what stands there leads to some masks or to none.
        sizes: dict[int, int] = {}
        for places in self.root:
            start, stop = places[0]
            sizes[start] = min(stop - start, sizes.get(start, stop))
        leads: dict[int, dict[bytes, tuple[list[Values], dict[Places, Table]]]] = {start: {} for start in sizes}
        for places, table in self.root.items():
            (start, stop), *others = places
            size = sizes[start]
            rest = tuple(place for place in ((start + size, stop), *others) if place[0] < place[1])
            for key, values in table.items():
                pieces = key if isinstance(key, tuple) else (key,)
                ends, rests = leads[start].setdefault(pieces[0][:size], ([], {}))
                if not rest:
                    ends.append(values)
                    continue
                left = (pieces[0][size:], *pieces[1:])[-len(rest) :]
                rests.setdefault(rest, {})[left if len(left) > 1 else left[0]] = values
        for start, size in sizes.items():
            found = {piece: _lead(sum(ends, ()), rests) for piece, (ends, rests) in leads[start].items()}
            yield slice(start, start + size), found

    def _plan(self, text: bytes) -> _Plan | None:
        # 8,600 patterns of pci have 18 outlines: pci takes 65 ms, and 185 more if each were read.
        outline = text.translate(ZEROS)
        try:
            return self.plans[outline]
        except KeyError:
            plan = self.plans[outline] = _read_outline(outline, self.template)
            return plan


def _lead(values: Values, rests: Mapping[Places, Table]) -> Lead:
    """Return ``values`` and the tables ``rests`` in the form in which a text is looked up in them."""
    single: Any = tuple((slice(*places[0]), table) for places, table in rests.items() if len(places) == 1)
    wider = tuple(
        (itemgetter(*itertools.starmap(slice, places)), table)
        for places, table in rests.items()
        if len(places) > 1
    )
    return (values, single, wider)


def _read_outline(outline: bytes, template: Template) -> _Plan | None:
    """Return what patterns of this outline fix, None where it is not that of the bus's fields."""
    start = len(template.bus)
    if b"?" in outline or outline[:start] != template.bus.translate(ZEROS):
        return None
    there = here = start  # in the pattern, and in the text
    runs: list[tuple[int, int, int]] = []  # where each fixed run begins in the pattern and in the text, its length
    never = False
    for number, (name, size) in enumerate(template.fields):
        if not outline.startswith(name, there):
            return None
        there += len(name)
        here += len(name)
        end = there
        while outline[end : end + 1] == b"0":
            end += 1
        digits = end - there
        star = outline[end : end + 1] == b"*"
        never = never or digits > size or (digits < size and not star)
        if digits:
            begin, at, length = runs.pop() if runs else (0, 0, 0)
            if number == 0 or (runs_on := begin + length + len(name) == there and at + length + len(name) == here):
                length = there + digits - begin
            runs.append((begin, at, length))
            if number and not runs_on:
                if not length:
                    runs.pop()
                runs.append((there, here, digits))
        there = end + star
        here += size
    if there != len(outline):
        return None
    return _NEVER if never else _plan_of(runs, template)


def _plan_of(runs: Iterable[tuple[int, int, int]], template: Template) -> _Plan:
    kept = list(runs)
    lead = kept[0][2] if kept and not kept[0][1] else 0
    cut = next((cut for cut in template.cuts if cut <= lead), 0)
    if cut:
        kept[0] = (cut, cut, lead - cut)
    kept = [run for run in kept if run[2]]
    take = itemgetter(*[slice(there, there + length) for there, _, length in kept]) if kept else None
    return _Plan(cut, take, tuple((here, here + length) for _, here, length in kept))


def _alternatives(text: bytes) -> list[bytes] | None:
    """Return the patterns without sets that together mean ``text``, None where they are too many or special."""
    choices: list[list[bytes]] = []
    for token in Pattern.parse(text).tokens:
        if isinstance(token, ByteSet):
            choices.append([bytes([byte]) for byte in token])
        else:
            choices.append([token if isinstance(token, bytes) else token.value.encode()])
            if isinstance(token, bytes) and not is_plain(token):
                return None
    if math.prod(map(len, choices)) > MAX_ALTERNATIVES:
        return None
    return [b"".join(each) for each in itertools.product(*choices)]
