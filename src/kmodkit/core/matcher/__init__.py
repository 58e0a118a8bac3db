r"""The index of alias patterns that lookups use: every pattern that matches a text, in about a microsecond.

A kernel has 26,000 patterns, and nearly all of them are of a few shapes. There is a way for each shape, and each
is exact; `kmodkit.core.radix.RadixTree` is the simple version, which the tests compare this one with:

========================================  ==================================================================
pattern                                   way
========================================  ==================================================================
``i2c:ee1004``, no wildcard               one dict of whole texts
``pci:v00008086d00001591sv*sd*bc*sc*i*``  dicts by the fields that are fixed (`fields`), for a text of the
                                          bus's canonical shape; for other texts they are kept by what they
                                          begin with (`odd`)
``input:b*v*p*e*-e*1,*k*r*...``           by what is asked of one list after the other (`lists`), for texts of the
                                          bus's shape
``mdio:0000????``, no star                dicts by the bytes that are fixed (`globs`)
``pnp:dPNP0501*``                         sorted beginnings, each leading to the shorter ones (`globs`)
``of:N*T*Cacme,eth``, ``acpi*:PNP0C14:*``  patterns that differ in their last literal only: what stands at the
                                          places where that can begin is looked up in a dict (`globs`)
the rest                                  a literal is searched, and where it is there the whole is matched
========================================  ==================================================================

A text is first led to the patterns of its bus, by its first four bytes where these say which it is, else by what
stands before its first ``:``. A pattern with a wildcard before its ``:`` can match on several buses, and is asked
on each where its beginning allows. Each bus is put in order by the first question about it: pci and usb take 20 ms
each, all others together 20, and most programs ask about few.

No result is remembered. The time is at most that of matching each pattern of the bus, each bounded by pattern
times text (`kmodkit.core.alias`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import ref

from kmodkit.core.alias import Pattern
from kmodkit.core.matcher import lists
from kmodkit.core.matcher.fields import TEMPLATES, FieldIndex
from kmodkit.core.matcher.globs import GlobIndex, is_plain
from kmodkit.core.matcher.lists import ListIndex
from kmodkit.core.names import WAY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kmodkit.core.matcher.globs import Lookup, Pair, Values

_SHAPED: Final = {*TEMPLATES, *lists.TEMPLATES}


class Matcher:
    """Alias patterns to integers, both sides with ``-`` as ``_`` (see `normalized_text`, `normalize_alias`).

    >>> patterns = [(b"usb:v0B95p1790d*dc*dsc*dp*ic*isc*ip*in*", 3), (b"acpi*:PNP0C14:*", 1), (b"acpi*", 0)]
    >>> matcher = Matcher(patterns)
    >>> matcher.lookup(b"usb:v0B95p1790d0100dc00dsc00dp00icFFiscFFip00in00")
    (3,)
    >>> matcher.lookup(b"acpi:X:PNP0C14:")
    (0, 1)
    """

    __slots__ = ("__weakref__", "_buses", "_exact", "_groups", "_loose", "_other", "ways")

    def __init__(self, pairs: Iterable[tuple[bytes, int]]) -> None:
        exact: dict[bytes, Values] = {}
        groups: dict[bytes, list[Pair]] = {}
        loose: list[Pair] = []
        values: Values = ()
        for text, value in pairs:
            # The patterns of a module come one after the other: one tuple for all, so that less memory is touched.
            if not values or value != values[0]:
                values = (value,)
            pair = (text, values)
            bus, colon, _ = text.partition(b":")
            group = groups.get(bus) if colon else None
            if group is None:
                if colon and is_plain(bus):
                    group = groups[bus] = []
                elif not is_plain(text):
                    loose.append(pair)
                    continue
            # These have whole texts, too, so that pci, usb and input do not hash each text for a table of those.
            if group is not None and (42 in text or bus in _SHAPED or not is_plain(text)):
                group.append(pair)
            else:
                exact[text] = exact[text] + values if text in exact else values
        for text, _ in loose:
            head = text.partition(b"*")[0]
            if is_plain(head) and 58 not in head:  # acpi*:PNP0C14:* is mostly asked as acpi:PNP0C14:
                groups.setdefault(head, [])
        self._exact = {text: each if len(each) == 1 else tuple(sorted({*each})) for text, each in exact.items()}
        self._groups = groups
        self._loose = GlobIndex(loose, exact=self._exact, by_length=False)
        self._other: Lookup = self._loose.lookup
        # Buses without wildcards, such as i2c, are answered by the dict itself.
        self._buses: dict[bytes, Lookup] = {
            bus: _Unbuilt(self, bus) if group or self._loose.below(bus) else self._exact.get
            for bus, group in groups.items()
        }
        # A caller may do what `lookup` does with it: a call in Python is an eighth of a short lookup.
        self.ways: dict[bytes, Lookup] = {}
        for way, buses in self._first_bytes().items():
            if len(buses) == 1:
                self.ways[way] = self._buses[buses[0]]

    def _first_bytes(self) -> dict[bytes, list[bytes]]:
        """Return four bytes to the buses that begin so, where their lookups see all patterns that can match.

        That is a slice where finding the ``:`` is a search: 0.1 us less. All texts that begin with these bytes
        come to that bus then, also those of buses that nobody has a pattern for.
        """
        found: dict[bytes, list[bytes]] = {}
        for bus in self._groups:
            # The shape of ieee1394 has zeros in its name, and is that of ieee1234, too.
            named = bus not in TEMPLATES or TEMPLATES[bus].text.startswith(bus)
            if named and len(bus) >= WAY.stop - 1:
                found.setdefault((bus + b":")[WAY], []).append(bus)
        # A bus has what begins with a part of its name (`GlobIndex.below`), as acpi*:PNP0C14:* does.
        longer = {head[WAY] for head in self._loose.heads if len(head) > WAY.stop}
        return {way: buses for way, buses in found.items() if way not in longer}

    def lookup(self, text: bytes) -> Values:
        """Return the values of every pattern that matches the whole of ``text``, ascending, each once."""
        # A text without ":" may be taken for a bus of its name, which is right, too: all that is kept there either
        # has the ":" and is compared, or begins with less than the name.
        found = (self.ways.get(text[WAY]) or self.elsewhere)(text) or ()
        return found if len(found) < 2 else tuple(sorted({*found}))

    def elsewhere(self, text: bytes) -> Values | None:
        """Return the values of every pattern that matches ``text``, where none of the `ways` is for it.

        As from those, they are in no order, some may be there twice, and there may be None for no value.
        """
        return self._buses.get(text.partition(b":")[0], self._other)(text)

    def build(self, bus: bytes) -> Lookup:
        """Put the patterns of one bus in order, for this lookup and the later ones."""
        group = self._groups[bus]
        bundles = self._loose.below(bus)
        template = TEMPLATES.get(bus)
        index: GlobIndex | FieldIndex | ListIndex
        if template is not None:
            index = FieldIndex(template, group, bundles, self._exact)
        elif bus in lists.TEMPLATES:
            index = ListIndex(
                lists.TEMPLATES[bus],
                group,
                lambda pairs: GlobIndex(pairs, bundles).lookup if pairs or bundles else None,
            )
        else:
            index = GlobIndex(group, bundles, self._exact)
        unbuilt = self._buses[bus]
        lookup = self._buses[bus] = index.lookup
        way = (bus + b":")[WAY]
        if self.ways.get(way) is unbuilt:
            self.ways[way] = lookup
        return lookup


class _Unbuilt:
    """Stands for the lookup of a bus that nobody has asked about."""

    __slots__ = ("_bus", "_matcher")

    def __init__(self, matcher: Matcher, bus: bytes) -> None:
        # The matcher has this one, and a cycle would keep its tables until the garbage collector looks.
        self._matcher = ref(matcher)
        self._bus = bus

    def __call__(self, text: bytes) -> Values | None:
        matcher = self._matcher()
        return matcher.build(self._bus)(text) if matcher is not None else None


def normalized_text(alias: bytes) -> bytes:
    """Return the text of an alias pattern with ``-`` as ``_`` where it stands for itself.

    Raises PatternError for a NUL byte.
    """
    if 0 in alias or 91 in alias or 92 in alias:  # NUL, "[" and the backslash
        return bytes(Pattern.parse(alias).normalized())
    return alias.replace(b"-", b"_")
