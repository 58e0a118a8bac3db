"""Patterns of no special shape: by what they begin with, and by what is left when that is taken away."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias

from kmodkit.core.alias import ANY, STAR, ByteSet, Pattern
from kmodkit.core.matcher.pieces import PieceTree

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from kmodkit.core.alias import Token

    Values: TypeAlias = "tuple[int, ...]"
    Pair: TypeAlias = "tuple[bytes, Values]"  # the text of a pattern, and what it is for
    Rest: TypeAlias = "tuple[str, Pattern, Values]"
    Pending: TypeAlias = "tuple[tuple[Token, ...], Values]"
    Lookup: TypeAlias = "Callable[[bytes], Values | None]"

MAX_ALTERNATIVES: Final = 64
"""How many patterns without sets one with sets may become."""

SPECIAL: Final = b"*?[\\"
_FEW: Final = 6  # lengths of beginnings that are sooner tried one by one


class GlobIndex:
    """Any patterns; ``bundles`` are those of other beginnings, which fit all texts that come here.

    ``exact`` has patterns without wildcards, as whole texts. Patterns without a star are kept by their length,
    where `below` does not see them, unless ``by_length`` is False. ``lookup`` returns the values of every pattern
    that matches a text, in no order, some of them twice, or None for no value. It is a
    function made for what there is, as what there can be would have to be looked at in each lookup.
    """

    __slots__ = ("_nodes", "lookup")
    lookup: Lookup

    def __init__(
        self,
        pairs: Iterable[Pair],
        bundles: Sequence[Bundle] = (),
        exact: Mapping[bytes, Values] | None = None,
        *,
        by_length: bool = True,
    ) -> None:
        nodes: dict[bytes, Bundle] = {}
        fixed = _FixedBuilder()
        for text, values in pairs:
            star = text.find(b"*")
            if star == len(text) - 1 >= 0 and is_plain(text[:star]):  # many, and nothing to take apart
                tokens: tuple[Token, ...] = (STAR,)
                head = text[:star]
            else:
                tokens = Pattern.parse(text).tokens
                if by_length and STAR not in tokens and fixed.add(tokens, values):
                    continue
                head = tokens[0] if tokens and isinstance(tokens[0], bytes) else b""
                tokens = tokens[bool(head) :]
            node = nodes.get(head)
            if node is None:
                node = nodes[head] = Bundle(head)
            node.add(tokens, values)
        self._nodes = nodes
        exact = exact if exact is not None else {}
        heads = _by_heads(nodes) if nodes else None
        if not (fixed.masks or bundles):
            self.lookup = exact.get if heads is None else _with_exact(heads, exact)
        else:
            self.lookup = _with_all(heads, exact, fixed.masks, tuple(bundles))

    def below(self, text: bytes) -> tuple[Bundle, ...]:
        """Return what is kept for the beginnings of ``text``."""
        return tuple(node for head, node in sorted(self._nodes.items()) if text.startswith(head))

    @property
    def heads(self) -> tuple[bytes, ...]:
        """What patterns begin with, apart from those kept by their length."""
        return tuple(self._nodes)


def _by_heads(nodes: Mapping[bytes, Bundle]) -> tuple[slice, Container[bytes], Callable[[bytes], Values]]:
    """Return a function for the texts that begin with a head, and the slice of a text that begins one of these."""
    shortest = slice(min(map(len, nodes)))
    begins = frozenset(head[shortest] for head in nodes)
    lengths = {len(head) for head in nodes}
    if len(lengths) > _FEW:
        return shortest, begins, _bisecting(nodes)
    plain = {head: node.values for head, node in nodes.items() if node.plain}
    if len(lengths) == 1 and len(plain) == len(nodes):
        return shortest, plain, lambda data: plain[data[shortest]]
    if len(nodes) == 1:
        (only,) = nodes.values()
        return shortest, begins, lambda data: only.lookup(data.decode("latin-1"))
    tables = tuple((slice(n), {head: node for head, node in nodes.items() if len(head) == n}) for n in lengths)

    def lookup(data: bytes) -> Values:
        # cpu and most buses have beginnings of a few lengths: 0.24 us, and 0.89 by bisecting.
        found: Values = ()
        text = data.decode("latin-1")
        for part, table in tables:
            node = table.get(data[part])
            if node is not None:
                found += node.lookup(text)
        return found

    return shortest, begins, lookup


def _bisecting(nodes: Mapping[bytes, Bundle]) -> Callable[[bytes], Values]:
    ordered = sorted(nodes.values(), key=lambda node: node.head)
    heads = [node.head for node in ordered]
    open_nodes: list[Bundle] = []
    for node in ordered:
        while open_nodes and not node.head.startswith(open_nodes[-1].head):
            open_nodes.pop()
        node.shorter = open_nodes[-1] if open_nodes else None
        open_nodes.append(node)

    def lookup(data: bytes) -> Values:
        # All beginnings of the text that are in the list sort before it, and the last of those that do leads,
        # over its own beginnings, to each of them.
        found: Values = ()
        text = data.decode("latin-1")
        place = bisect_right(heads, text)
        node = ordered[place - 1] if place else None
        while node is not None:
            if text.startswith(node.head):
                found += node.lookup(text)
            node = node.shorter
        return found

    return lookup


def _with_exact(
    heads: tuple[slice, Container[bytes], Callable[[bytes], Values]], exact: Mapping[bytes, Values]
) -> Lookup:
    part, begins, globs = heads
    whole = exact.get

    def lookup(data: bytes) -> Values | None:
        if data[part] in begins:
            return whole(data, ()) + globs(data)
        return whole(data)

    return lookup


def _with_all(
    heads: tuple[slice, Container[bytes], Callable[[bytes], Values]] | None,
    exact: Mapping[bytes, Values],
    fixed: Mapping[int, Sequence[tuple[Callable[[bytes], object], Mapping[object, Values]]]],
    bundles: tuple[Bundle, ...],
) -> Lookup:
    ways = tuple([bundle.way() for bundle in bundles])
    whole = exact.get
    if len(ways) == 1 and not (heads or fixed):
        (way,) = ways
        return lambda data: whole(data, ()) + way(data.decode("latin-1"))  # acpi
    part, begins, globs = heads or (slice(0), (), lambda _: ())

    def lookup(data: bytes) -> Values:
        found = whole(data, ())
        for cut, values in fixed.get(len(data), ()):
            found += values.get(cut(data), ())
        if ways:
            text = data.decode("latin-1")
            for way in ways:
                found += way(text)
        return found + globs(data) if data[part] in begins else found

    return lookup


class Bundle:
    """The patterns that begin with the literal ``head``; texts that are looked up begin so too."""

    __slots__ = ("_pending", "_pieces", "_rest", "head", "shorter", "values")

    def __init__(self, head: bytes) -> None:
        self.head = head.decode("latin-1")
        self.shorter: Bundle | None = None  # that of the next shorter beginning of this one
        self.values: Values = ()  # of patterns that end in a star behind the head
        self._pending: list[Pending] = []
        self._pieces: PieceTree | None = None
        self._rest: tuple[Rest, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether there is nothing but patterns that end in a star behind ``head``."""
        return not (self._pending or self._pieces or self._rest)

    def add(self, tokens: tuple[Token, ...], values: Values) -> None:
        """Add what follows ``head`` in a pattern."""
        if tokens == (STAR,):
            self.values += values
        else:
            self._pending.append((tokens, values))

    def _arrange(self) -> None:
        pieces = PieceTree()
        rest: list[Rest] = []
        for tokens, values in self._pending:
            if pieces.add(tokens, values):
                self._pieces = pieces
            else:
                needle = max((token for token in tokens if isinstance(token, bytes)), key=len, default=b"")
                rest.append((needle.decode("latin-1"), Pattern(tokens), values))
        self._rest = tuple(rest)
        self._pending = []

    def way(self) -> Callable[[str], Values]:
        """Return `lookup` as a function made for what there is."""
        if self._pending:
            self._arrange()
        if self._pieces is None or self._rest or self.values:
            return self.lookup
        return self._pieces.finder(len(self.head))

    def lookup(self, text: str) -> Values:
        """Return the values of every pattern that matches ``text``, whose characters are bytes."""
        if self._pending:
            self._arrange()
        found = self.values
        start = len(self.head)
        if self._pieces is not None:
            found += self._pieces.lookup(text, start)
        for needle, pattern, values in self._rest:
            if needle in text and pattern.matches(text[start:].encode("latin-1")):
                found += values
        return found


class _FixedBuilder:
    """Patterns without a star, by their length and the bytes they fix."""

    def __init__(self) -> None:
        self.masks: dict[int, list[tuple[Callable[[bytes], object], dict[object, Values]]]] = {}
        self._named: dict[tuple[int, tuple[tuple[int, int], ...]], dict[object, Values]] = {}

    def add(self, tokens: tuple[Token, ...], values: Values) -> bool:
        """Add a pattern; return whether it could be written without sets."""
        choices: list[list[bytes]] = []
        places: list[tuple[int, int]] = []
        pos = 0
        for token in tokens:
            size = len(token) if isinstance(token, bytes) else 1
            if token is not ANY:
                begin = places.pop()[0] if places and places[-1][1] == pos else pos
                places.append((begin, pos + size))
            if isinstance(token, ByteSet):
                choices.append([bytes([byte]) for byte in token])
            else:
                choices.append([token if isinstance(token, bytes) else b"?"])
            pos += size
        if math.prod(map(len, choices)) > MAX_ALTERNATIVES:
            return False
        cut = itemgetter(*[slice(*place) for place in places or [(0, 0)]])
        name = (pos, tuple(places))
        table = self._named.get(name)
        if table is None:
            table = self._named[name] = {}
            self.masks.setdefault(pos, []).append((cut, table))
        for pieces in itertools.product(*choices):
            key = cut(b"".join(pieces))
            table[key] = table.get(key, ()) + values
        return True


def is_plain(text: bytes) -> bool:
    """Return whether each byte of ``text`` stands for itself in a pattern."""
    return text.translate(None, SPECIAL) == text
