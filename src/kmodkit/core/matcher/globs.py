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
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kmodkit.core.alias import Token

    Pair: TypeAlias = "tuple[bytes, int]"  # the text of a pattern, and what it is for
    Values: TypeAlias = "tuple[int, ...]"
    Rest: TypeAlias = "tuple[str, Pattern, int]"

MAX_ALTERNATIVES: Final = 64
"""How many patterns without sets one with sets may become."""

SPECIAL: Final = b"*?[\\"
_FEW: Final = 6  # lengths of beginnings that are sooner tried one by one


class GlobIndex:
    """Any patterns; ``bundles`` are those of other beginnings, which fit all texts that come here.

    ``exact`` has patterns without wildcards, as whole texts.
    """

    __slots__ = ("_bundles", "_exact", "_fixed", "_heads", "_lengths", "_nodes")

    def __init__(
        self, pairs: Iterable[Pair], bundles: Sequence[Bundle] = (), exact: Mapping[bytes, Values] | None = None
    ) -> None:
        nodes: dict[bytes, Bundle] = {}
        fixed = _FixedBuilder()
        for text, value in pairs:
            star = text.find(b"*")
            if star == len(text) - 1 >= 0 and is_plain(text[:star]):  # many, and nothing to take apart
                tokens: tuple[Token, ...] = (STAR,)
                head = text[:star]
            else:
                tokens = Pattern.parse(text).tokens
                if STAR not in tokens and fixed.add(tokens, value):
                    continue
                head = tokens[0] if tokens and isinstance(tokens[0], bytes) else b""
                tokens = tokens[bool(head) :]
            node = nodes.get(head)
            if node is None:
                node = nodes[head] = Bundle(head)
            node.add(tokens, value)
        self._exact = exact if exact is not None else {}
        self._bundles = tuple(bundles)
        self._nodes = sorted(nodes.values(), key=lambda node: node.head)
        self._heads = [node.head for node in self._nodes]
        self._lengths: tuple[tuple[int, dict[bytes, Bundle]], ...] | None = None
        lengths = {len(head) for head in nodes}
        if len(lengths) <= _FEW:
            by_length = [
                (length, {h: node for h, node in nodes.items() if len(h) == length}) for length in lengths
            ]
            self._lengths = tuple(by_length)
        self._fixed = fixed.masks
        open_nodes: list[Bundle] = []
        for node in self._nodes:
            while open_nodes and not node.head.startswith(open_nodes[-1].head):
                open_nodes.pop()
            node.shorter = open_nodes[-1] if open_nodes else None
            open_nodes.append(node)

    def below(self, text: bytes) -> tuple[Bundle, ...]:
        """Return what is kept for the beginnings of ``text``."""
        shown = text.decode("latin-1")
        return tuple(node for node in self._nodes if shown.startswith(node.head))

    def lookup(self, data: bytes) -> Values:
        """Return the values of every pattern that matches ``data``, in no order, some of them twice."""
        found = self._exact.get(data, ())
        if self._fixed and len(data) in self._fixed:
            for cut, values in self._fixed[len(data)]:
                found += values.get(cut(data), ())
        if self._lengths is not None and not self._bundles:
            # pnp, platform and most buses have beginnings of a few lengths: 0.24 us, and 0.89 by bisecting.
            for length, table in self._lengths:
                node = table.get(data[:length])
                if node is not None:
                    found += node.lookup(data.decode("latin-1"))
            return found
        text = data.decode("latin-1")
        for bundle in self._bundles:
            found += bundle.lookup(text)
        # All beginnings of the text that are in the list sort before it, and the last of those that do leads,
        # over its own beginnings, to each of them.
        place = bisect_right(self._heads, text)
        node = self._nodes[place - 1] if place else None
        while node is not None:
            if text.startswith(node.head):
                found += node.lookup(text)
            node = node.shorter
        return found


class Bundle:
    """The patterns that begin with the literal ``head``; texts that are looked up begin so too."""

    __slots__ = ("_pending", "_pieces", "_rest", "_values", "head", "shorter")

    def __init__(self, head: bytes) -> None:
        self.head = head.decode("latin-1")
        self.shorter: Bundle | None = None  # that of the next shorter beginning of this one
        self._values: Values = ()
        self._pending: list[tuple[tuple[Token, ...], int]] = []
        self._pieces: PieceTree | None = None
        self._rest: tuple[Rest, ...] = ()

    def add(self, tokens: tuple[Token, ...], value: int) -> None:
        """Add what follows ``head`` in a pattern."""
        if tokens == (STAR,):
            self._values = (*self._values, value)
        else:
            self._pending.append((tokens, value))

    def _arrange(self) -> None:
        pieces = PieceTree()
        rest: list[Rest] = []
        for tokens, value in self._pending:
            if pieces.add(tokens, value):
                self._pieces = pieces
            else:
                needle = max((token for token in tokens if isinstance(token, bytes)), key=len, default=b"")
                rest.append((needle.decode("latin-1"), Pattern(tokens), value))
        self._rest = tuple(rest)
        self._pending = []

    def lookup(self, text: str) -> Values:
        """Return the values of every pattern that matches ``text``, whose characters are bytes."""
        if self._pending:
            self._arrange()
        found = self._values
        start = len(self.head)
        if self._pieces is not None:
            found += self._pieces.lookup(text, start)
        for needle, pattern, value in self._rest:
            if needle in text and pattern.matches(text[start:].encode("latin-1")):
                found = (*found, value)
        return found


class _FixedBuilder:
    """Patterns without a star, by their length and the bytes they fix."""

    def __init__(self) -> None:
        self.masks: dict[int, list[tuple[Callable[[bytes], object], dict[object, Values]]]] = {}
        self._named: dict[tuple[int, tuple[tuple[int, int], ...]], dict[object, Values]] = {}

    def add(self, tokens: tuple[Token, ...], value: int) -> bool:
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
            table[key] = (*table.get(key, ()), value)
        return True


def is_plain(text: bytes) -> bool:
    """Return whether each byte of ``text`` stands for itself in a pattern."""
    return text.translate(None, SPECIAL) == text
