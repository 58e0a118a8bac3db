# ruff: noqa: SLF001 - the nodes of a tree are one class, and a property for each slot would be a call a step
"""Patterns that are literals with stars between them: ``*A*B*LAST`` and ``*A*B*LAST*``.

Bytes are kept as the characters of Latin-1 here: searching a str takes half of what searching bytes does in
CPython, which first tries whether the needle is a number.

They are kept as a tree by their literals, as the leftmost place of A is the best start for all that follows it:
the eight patterns of input share ``*v*p*e*-e``, and the 240 of dmi take a quarter of the time of one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from kmodkit.core.alias import STAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kmodkit.core.alias import Token

    Values: TypeAlias = "tuple[int, ...]"
    # The longest of some literals, and all; what follows them, or the values of what ends there.
    Child: TypeAlias = "tuple[str, tuple[str, ...], PieceTree | None, Values]"

# So many places of a literal are looked for before searching the text for each literal is cheaper.
_MOST_SLICES: Final = 48
_FEW_SLICES: Final = 6  # and so many before it is worth while to look where literals end
_CHAIN: Final = 5
# From so many children on, those that may be in a text are found by this many characters that they begin with.
_MANY: Final = 96
_KEY: Final = 4


class PieceTree:
    """A tree of such patterns; they are put in order by the first lookup."""

    __slots__ = ("_children", "_ending", "_inside", "_keyed", "_open", "_tables")

    def __init__(self) -> None:
        self._open: dict[str, PieceTree] = {}
        self._inside: dict[str, Values] = {}
        self._ending: dict[str, Values] = {}
        self._children: tuple[Child, ...] | None = None
        self._tables: tuple[_Insides | _Endings, ...] = ()  # of the last literals
        self._keyed: _Keyed | None = None

    def add(self, tokens: tuple[Token, ...], values: Values) -> bool:
        """Add what begins with a star; return whether it is a pattern of this kind."""
        pieces: list[str] = []
        for number, token in enumerate(tokens):
            if number % 2 == 0:
                if token is not STAR:
                    return False
            elif isinstance(token, bytes):
                pieces.append(token.decode("latin-1"))
            else:
                return False
        if pieces:
            self.add_pieces(pieces, values, open_end=len(tokens) % 2 == 1)
        return bool(pieces)

    def add_pieces(self, pieces: Sequence[str], values: Values, *, open_end: bool) -> None:
        """Add the pattern of ``pieces`` with a star before each, and one behind the last where ``open_end``."""
        node = self
        for piece in pieces[:-1]:
            child = node._open.get(piece)
            if child is None:
                child = node._open[piece] = PieceTree()
            node = child
        table = node._inside if open_end else node._ending
        last = pieces[-1]
        table[last] = table.get(last, ()) + values

    def _arrange(self) -> tuple[Child, ...]:
        if self._inside:
            self._tables = (_Insides(self._inside),)
        if self._ending:
            self._tables += (_Endings(self._ending),)
        children = tuple([_chain(piece, node) for piece, node in self._open.items()])
        if len(children) >= _MANY:
            self._keyed = _Keyed(children)
            children = self._keyed.others
        self._children = children
        return self._children

    def finder(self, start: int) -> Callable[[str], Values]:
        """Return `lookup` for texts from ``start`` on, as a function made for what there is."""
        children = self._arrange() if self._children is None else self._children
        if len(self._tables) == 1 and not (children or self._keyed):
            return self._tables[0].finder(start)
        return lambda text: self.lookup(text, start)

    def lookup(self, text: str, start: int) -> Values:
        """Return the values of every pattern that matches all of ``text`` from ``start`` on."""
        found: Values = ()
        stack = [(self, start)]
        while stack:
            node, pos = stack.pop()
            children = node._children
            if children is None:
                children = node._arrange()
            for table in node._tables:
                found += table.lookup(text, pos)
            if node._keyed is not None:
                children += node._keyed.candidates(text, pos)
            for longest, pieces, child, values in children:
                # Most are not there at all, which takes half of what searching them one by one does.
                if longest not in text:
                    continue
                at = pos
                for piece in pieces:
                    at = text.find(piece, at)
                    if at < 0:
                        break
                    at += len(piece)
                if at < 0:
                    continue
                if child is None:
                    found += values
                else:
                    stack.append((child, at))
        return found


def _chain(piece: str, node: PieceTree) -> Child:
    """Return ``piece`` with those that are alone behind it, and what comes after them."""
    pieces = [piece]
    while len(node._open) == 1 and not node._inside and not node._ending:
        piece, below = next(iter(node._open.items()))
        if len(piece) > 1 and len(pieces) >= _CHAIN:
            break  # so that a chain of single characters stays one
        pieces.append(piece)
        node = below
    if len(node._inside) == 1 and not node._open and not node._ending:
        # The last literal of the one pattern that is left: input takes a third less than with a node for it.
        ((piece, values),) = node._inside.items()
        pieces.append(piece)
        return (max(pieces, key=len), tuple(pieces), None, values)
    return (max(pieces, key=len), tuple(pieces), node, ())


class _Keyed:
    """Many children, by what their first literals begin with.

    All pieces of a text that are as long are looked up, which costs the same for any number of children: among
    600,000 patterns dmi takes two thirds of the time.
    """

    __slots__ = ("_by_key", "others")

    def __init__(self, children: Sequence[Child]) -> None:
        self._by_key: dict[str, tuple[Child, ...]] = {}
        others = []
        for child in children:
            key = child[1][0][:_KEY]
            if len(key) == _KEY:
                self._by_key[key] = (*self._by_key.get(key, ()), child)
            else:
                others.append(child)
        self.others = tuple(others)

    def candidates(self, text: str, start: int) -> tuple[Child, ...]:
        """Return the children whose first literal may be in the text from ``start`` on, each once."""
        keys = {text[at : at + _KEY] for at in range(start, len(text) - _KEY + 1)}
        found: tuple[Child, ...] = ()
        for key in keys.intersection(self._by_key):
            found += self._by_key[key]
        return found


class _Insides:
    """Literals of which every one that the text holds is wanted."""

    __slots__ = ("_first", "_inner", "_last", "_lengths", "_nested", "_separator", "_table")

    def __init__(self, table: dict[str, Values]) -> None:
        self._table = table
        self._lengths = tuple({len(key) for key in table})
        self._first = _common(table)
        self._last = _common([key[::-1] for key in table])[::-1]
        # Where all stand between separators, as acpi's in ":" and those of compatible strings in "C", the text is
        # split at these: acpi takes half of what trying pairs of places took.
        self._separator = self._first[:1] if self._first[:1] == self._last[-1:] and 1 not in self._lengths else ""
        plain = {key: key[1:-1] for key in table if self._separator and self._separator not in key[1:-1]}
        self._inner = {inner: table[key] for key, inner in plain.items()}
        self._nested = tuple(key for key in table if key not in plain)

    def finder(self, start: int) -> Callable[[str], Values]:
        """Return `lookup` for texts from ``start`` on, as a function made for what there is."""
        if self._nested:
            return lambda text: self.lookup(text, start)
        inner, separator, rest = self._inner, self._separator, slice(start, None)

        def lookup(text: str) -> Values:
            found: Values = ()
            for part in text[rest].split(separator)[1:-1]:
                if part in inner:
                    found += inner[part]
            return found

        return lookup

    def lookup(self, text: str, start: int) -> Values:
        found: Values = ()
        table = self._table
        if len(self._nested) < len(table):
            for part in text[start:].split(self._separator)[1:-1]:
                if part in self._inner:
                    found += self._inner[part]
            names: Iterable[str] = self._nested
        else:
            names = self._slices(text, start)
        for key in names:
            if text.find(key, start) >= 0:
                found += table[key]
        return found

    def _slices(self, text: str, start: int) -> Iterable[str]:
        """Return the literals that may be in the text, all of them where trying its slices would take longer."""
        table = self._table
        room = len(text) - start
        if room * len(self._lengths) <= len(table):
            places = range(start, len(text))
            return {text[at : at + n] for at in places for n in self._lengths}.intersection(table)
        if len(table) > 8:
            begins = _places(text, self._first, start)
            if begins and len(begins) * len(self._lengths) <= min(len(table), _FEW_SLICES):
                return {text[at : at + n] for at in begins for n in self._lengths}.intersection(table)
            stops = _places(text, self._last, start) if begins else None
            if begins == [] or stops == []:
                return ()
            if begins and stops and len(begins) * len(stops) <= len(table):
                more = len(self._last)
                return {text[at : stop + more] for at in begins for stop in stops if stop >= at}.intersection(
                    table
                )
        return table


class _Endings:
    """Literals of which each one that the text ends in is wanted."""

    __slots__ = ("_first", "_lengths", "_table")

    def __init__(self, table: dict[str, Values]) -> None:
        self._table = table
        self._first = _common(table)[:1]
        if any(self._first in key[1:] for key in table):
            self._first = ""
        self._lengths = tuple({len(key) for key in table})

    def finder(self, start: int) -> Callable[[str], Values]:
        """Return `lookup` for texts from ``start`` on."""
        return lambda text: self.lookup(text, start)

    def lookup(self, text: str, start: int) -> Values:
        if self._first and len(self._lengths) > 1:
            # What all begin with, and has no second place in any, can only stand at its last place in the text.
            at = text.rfind(self._first, start)
            return self._table.get(text[at:], ()) if at >= 0 else ()
        found: Values = ()
        size = len(text)
        for length in self._lengths:
            if size - length >= start:
                found += self._table.get(text[size - length :], ())
        return found


def _common(texts: Iterable[str]) -> str:
    """Return the beginning that all of ``texts`` share."""
    ordered = sorted(texts)
    size = 0
    for one, other in zip(ordered[0], ordered[-1], strict=False):
        if one != other:
            break
        size += 1
    return ordered[0][:size]


def _places(text: str, piece: str, start: int) -> list[int] | None:
    """Return where ``piece`` stands in the text from ``start`` on, None where that is too often or everywhere."""
    # Not found out one by one, which took cpu, whose features all begin with "0", 8 of 25 us.
    if not piece or text.count(piece, start) > _MOST_SLICES:
        return None
    found: list[int] = []
    at = text.find(piece, start)
    while at >= 0:
        if len(found) == _MOST_SLICES:
            return None
        found.append(at)
        at = text.find(piece, at + 1)
    return found
