"""Patterns of a bus of fields for the texts that no device of it would write: by what they begin with.

Nothing is known of the places in such a text, so the patterns are matched as the rules say. They are only told
apart by their first field here, and those of one are taken to pieces when a text has it: reading all 8,500 of usb
took 150 ms of the first such text, and this takes 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kmodkit.core.alias import Pattern
from kmodkit.core.matcher.globs import SPECIAL, GlobIndex, is_plain
from kmodkit.core.matcher.pieces import PieceTree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kmodkit.core.matcher.globs import Bundle, Lookup, Pair, Values

_PLAIN: Final = bytes(sorted({*range(256)} - {*SPECIAL}))
_FEW: Final = 8  # fewer patterns than this are tried as they are
_MANY: Final = 64  # patterns of one beginning, from which on putting them in order is worth while


class OddIndex:
    """Any patterns, by their first ``cut`` bytes; ``exact`` and ``bundles`` are as `GlobIndex` takes them."""

    __slots__ = ("_beside", "_groups", "_lead", "_ready")

    def __init__(
        self, cut: int, pairs: Sequence[Pair], bundles: Sequence[Bundle], exact: Mapping[bytes, Values] | None
    ) -> None:
        lead = slice(cut)
        groups: dict[bytes, list[Pair]] = {}
        for pair in pairs:
            head = pair[0][lead]
            if head in groups:
                groups[head].append(pair)
            else:
                groups[head] = [pair]
        everywhere: list[Pair] = []
        for head in [head for head in groups if not is_plain(head)]:
            everywhere += groups.pop(head)
        self._lead = lead
        self._groups = groups
        self._ready: dict[bytes, Lookup] = {}
        self._beside = GlobIndex(everywhere, bundles, exact).lookup

    def lookup(self, text: bytes) -> Values:
        """Return the values of every pattern that matches ``text``, in no order, some of them twice."""
        found = self._beside(text) or ()
        lead = text[self._lead]
        if lead in self._groups:
            ready = self._ready.get(lead)
            if ready is None:
                group = self._groups[lead]
                ready = self._ready[lead] = _one_by_one(group) if len(group) < _FEW else _by_heads(group)
            found += ready(text) or ()
        return found


def _by_heads(pairs: Sequence[Pair]) -> Lookup:
    """Return a function that tries the patterns whose literal beginning a text has."""
    heads: dict[bytes, list[Pair]] = {}
    for pair in pairs:
        text = pair[0]
        head = text.partition(b"*")[0]
        if 91 in head or 63 in head or 92 in head:  # "[", "?", the backslash
            head = text[: len(text) - len(text.lstrip(_PLAIN))]
        heads.setdefault(head, []).append(pair)
    parts = tuple(map(slice, sorted({*map(len, heads)})))
    ready: dict[bytes, Lookup] = {}

    def lookup(data: bytes) -> Values:
        found: Values = ()
        for part in parts:
            head = data[part]
            if head in heads:
                way = ready.get(head)
                if way is None:
                    group = heads[head]
                    way = ready[head] = _one_by_one(group) if len(group) < _MANY else _as_tree(head, group)
                found += way(data) or ()
        return found

    return lookup


def _as_tree(head: bytes, pairs: Sequence[Pair]) -> Callable[[bytes], Values]:
    """Return a function that tries patterns of one beginning together.

    A `GlobIndex` of them does the same, and takes twice as long to make.
    """
    tree = PieceTree()
    always: Values = ()
    others: list[Pair] = []
    start = len(head)
    for pair in pairs:
        text, values = pair
        if text[start : start + 1] != b"*" or not is_plain(text.replace(b"*", b"")):
            others.append(pair)
            continue
        pieces = text[start:].decode("latin-1").split("*")
        literals = [piece for piece in pieces if piece]
        if literals:
            tree.add_pieces(literals, values, open_end=not pieces[-1])
        else:
            always += values
    beside = _one_by_one(others) if others else None

    def lookup(data: bytes) -> Values:
        found = always + tree.lookup(data.decode("latin-1"), start)
        return found if beside is None else found + beside(data)

    return lookup


def _one_by_one(pairs: Sequence[Pair]) -> Callable[[bytes], Values]:
    """Return a function that tries each pattern on a text."""
    ways = []
    for text, values in pairs:
        head, *pieces = text.decode("latin-1").split("*")
        simple = is_plain(text.replace(b"*", b""))
        if not simple:
            head = text[: len(text) - len(text.lstrip(_PLAIN))].decode("latin-1")
        ways.append((head, pieces, None if simple else Pattern.parse(text), values))

    def lookup(data: bytes) -> Values:
        found: Values = ()
        shown = data.decode("latin-1")
        for head, pieces, pattern, values in ways:
            if shown.startswith(head) and (
                _holds(shown, len(head), pieces) if pattern is None else pattern.matches(data)
            ):
                found += values
        return found

    return lookup


def _holds(text: str, at: int, pieces: Sequence[str]) -> bool:
    """Return whether ``pieces`` come one behind the other from ``at`` on, and the last at the end."""
    if not pieces:
        return at == len(text)
    for piece in pieces[:-1]:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return text.endswith(pieces[-1], at)
