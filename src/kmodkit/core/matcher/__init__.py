r"""The index of alias patterns that lookups use: every pattern that matches a text, in about a microsecond.

A kernel has 26,000 patterns, and nearly all of them are of a few shapes. There is a way for each shape, and each
is exact; `kmodkit.core.radix.RadixTree` is the simple version, which the tests compare this one with:

========================================  ==================================================================
pattern                                   way
========================================  ==================================================================
``i2c:ee1004``, no wildcard               one dict of whole texts
``pci:v00008086d00001591sv*sd*bc*sc*i*``  dicts by the fields that are fixed (`fields`), for a text of the
                                          bus's canonical shape; other texts take the next ways
``mdio:0000????``, no star                dicts by the bytes that are fixed (`globs`)
``pnp:dPNP0501*``                         sorted beginnings, each leading to the shorter ones (`globs`)
``of:N*T*Cacme,eth``, ``acpi*:PNP0C14:*``  patterns that differ in their last literal only: what stands at the
                                          places where that can begin is looked up in a dict (`globs`)
the rest                                  a literal is searched, and where it is there the whole is matched
========================================  ==================================================================

A text is first led to the patterns of its bus, what stands before its first ``:``. A pattern with a wildcard
before its ``:`` can match on several buses, and is asked on each where its beginning allows. Each bus is put in
order by the first question about it: pci takes 65 ms, all take 480, and most programs ask about few.

No result is remembered. The time is at most that of matching each pattern of the bus, each bounded by pattern
times text (`kmodkit.core.alias`); the few regular expressions are atomic, so nothing backtracks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from kmodkit.core.alias import Pattern
from kmodkit.core.matcher.fields import TEMPLATES, FieldIndex
from kmodkit.core.matcher.globs import GlobIndex, is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kmodkit.core.matcher.globs import Pair, Values

    Lookup: TypeAlias = "Callable[[bytes], Values]"


class Matcher:
    """Alias patterns to integers, both sides with ``-`` as ``_`` (see `normalized_text`, `normalize_alias`).

    >>> patterns = [(b"usb:v0B95p1790d*dc*dsc*dp*ic*isc*ip*in*", 3), (b"acpi*:PNP0C14:*", 1), (b"acpi*", 0)]
    >>> matcher = Matcher(patterns)
    >>> matcher.lookup(b"usb:v0B95p1790d0100dc00dsc00dp00icFFiscFFip00in00")
    (3,)
    >>> matcher.lookup(b"acpi:X:PNP0C14:")
    (0, 1)
    """

    __slots__ = ("_buses", "_exact", "_groups", "_loose", "_other")

    def __init__(self, pairs: Iterable[Pair]) -> None:
        exact: dict[bytes, Values] = {}
        groups: dict[bytes, list[Pair]] = {}
        loose: list[Pair] = []
        for pair in pairs:
            text, value = pair
            bus, colon, _ = text.partition(b":")
            group = groups.get(bus) if colon else None
            if group is None:
                if colon and is_plain(bus):
                    group = groups[bus] = []
                elif not is_plain(text):
                    loose.append(pair)
                    continue
            # FieldIndex has whole texts, too, so that pci and usb do not hash each text for a table of those.
            if group is not None and (42 in text or bus in TEMPLATES or not is_plain(text)):
                group.append(pair)
            else:
                exact[text] = (*exact.get(text, ()), value)
        for text, _ in loose:
            head = text.partition(b"*")[0]
            if is_plain(head) and 58 not in head:  # acpi*:PNP0C14:* is mostly asked as acpi:PNP0C14:
                groups.setdefault(head, [])
        self._exact = {
            text: values if len(values) == 1 else tuple(sorted({*values})) for text, values in exact.items()
        }
        self._groups = groups
        self._loose = GlobIndex(loose, exact=self._exact)
        self._other: Lookup = self._loose.lookup
        # Buses without wildcards, such as i2c and platform, are told apart at once.
        self._buses: dict[bytes, Lookup | None] = {
            bus: _Unbuilt(self, bus) if group or self._loose.below(bus) else None for bus, group in groups.items()
        }

    def lookup(self, text: bytes) -> Values:
        """Return the values of every pattern that matches the whole of ``text``, ascending, each once."""
        # A text without ":" may be taken for a bus of its name, which is right, too: all that is kept there either
        # has the ":" and is compared, or begins with less than the name.
        bus = self._buses.get(text.partition(b":")[0], self._other)
        if bus is None:
            return self._exact.get(text, ())
        found = bus(text)
        return found if len(found) < 2 else tuple(sorted({*found}))

    def build(self, bus: bytes) -> Lookup:
        """Put the patterns of one bus in order, for this lookup and the later ones."""
        group = self._groups[bus]
        bundles = self._loose.below(bus)
        template = TEMPLATES.get(bus)
        index = (
            GlobIndex(group, bundles, self._exact)
            if template is None
            else FieldIndex(template, group, bundles, self._exact)
        )
        lookup = self._buses[bus] = index.lookup
        return lookup


class _Unbuilt:
    """Stands for the lookup of a bus that nobody has asked about."""

    __slots__ = ("_bus", "_matcher")

    def __init__(self, matcher: Matcher, bus: bytes) -> None:
        self._matcher = matcher
        self._bus = bus

    def __call__(self, text: bytes) -> Values:
        return self._matcher.build(self._bus)(text)


def normalized_text(alias: bytes) -> bytes:
    """Return the text of an alias pattern with ``-`` as ``_`` where it stands for itself.

    Raises PatternError for a NUL byte.
    """
    if 0 in alias or 91 in alias or 92 in alias:  # NUL, "[" and the backslash
        return bytes(Pattern.parse(alias).normalized())
    return alias.replace(b"-", b"_")
