"""The tree of meta.pb, written straight to protobuf's wire format.

A kernel's tree has 217,000 nodes, and making an object of each, ours and protobuf's, took 2 s of the 2.5 that
writing a meta.pb took; all of it takes 0.44 now. A sorted list of patterns is a tree already: what begins with the
same text lies together. So each pattern becomes a key, a text of one character for each byte or wildcard, whose
order is that of a node's children; and where a pattern is alone, the bytes of its rest depend on the rest and its
modules only, so that nearly all rests end in one that was made before.

The bytes are those of protobuf's deterministic serialisation, which the tests compare.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kmodkit.core.alias import ANY, STAR, ByteSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kmodkit.core.alias import Pattern, Token

# The characters of a key, in the order of a node's children: bytes, ranges of bytes, "?", "*".
_RANGES: Final = 0x1000
_ANY: Final = "\U0010fffe"
_STAR: Final = "\U0010ffff"
_SPECIAL: Final = chr(_RANGES)  # from here on a character is no byte
_BYTES: Final = re.compile("[\\0-\\x7f]+")
_SHORT: Final = tuple(bytes([number]) for number in range(128))
# Fields of RadixNode in meta.proto, with the wire type.
_TYPE, _LITERAL, _START, _END, _CHILD, _INDEX = b"\x08", b"\x12", b"\x18", b"\x20", b"\x2a", b"\x32"
_WILDCARD, _SINGLE, _RANGE, _ROOT = _TYPE + b"\1", _TYPE + b"\2", _TYPE + b"\3", _TYPE + b"\4"
_META_TREE: Final = b"\x12"


def simple_key(alias: str) -> str:
    """Return the key of an ASCII alias of literals, ``?`` and single ``*``."""
    return alias.replace("*", _STAR).replace("?", _ANY)


def key_of(pattern: Pattern) -> str:
    """Return the key of a pattern whose literals are ASCII and whose sets are one range each."""
    return "".join(map(_token_key, pattern.tokens))


def encode_tree(patterns: Mapping[str, Sequence[int]], most: int) -> tuple[bytes, set[str]]:
    """Return field 2 of a Meta: the tree of the keys, each with its values, which are ascending.

    With it come the keys that lie more than ``most`` nodes deep; they are not in the tree.
    """
    writer = _Writer(patterns, most)
    root = _ROOT + writer.below(0, len(writer.keys), 0, 0)
    return _META_TREE + _varint(len(root)) + root, writer.deep


class _Writer:
    """Writes nodes from the leaves up, as a message begins with the length of what it holds."""

    def __init__(self, patterns: Mapping[str, Sequence[int]], most: int) -> None:
        self.keys = sorted(patterns)
        self.most = most
        self.deep: set[str] = set()
        self.fields: dict[tuple[int, ...], bytes] = {}
        self.values = [self.indices(tuple(patterns[key])) for key in self.keys]
        self.chains: dict[tuple[str, int], tuple[bytes, int]] = {}
        self.tokens: dict[str, bytes] = {}

    def below(self, low: int, high: int, start: int, depth: int) -> bytes:
        """Return the children and values of the node that ``keys[low:high]`` lead to with ``start`` characters."""
        keys = self.keys
        if depth > self.most:
            self.deep.update(keys[low:high])
            return b""
        values = b""
        if low < high and len(keys[low]) == start:
            values = self.values[low]
            low += 1
        parts: list[bytes] = []
        while low < high:
            key = keys[low]
            first = key[start]
            end = low + 1
            while end < high and keys[end][start] == first:
                end += 1
            if end - low == 1:
                # Four in five groups are one key, and what most rests begin with is known.
                field = self.values[low]
                known = self.chains.get((key[start:], len(field)))
                head, levels = known or self.chain(key[start:], len(field))
                if depth + levels > self.most:
                    self.deep.add(key)
                parts += (head, field)
                low = end
                continue
            stop = start + 1
            if first < _SPECIAL:
                other = keys[end - 1]  # sorted, so what these two share all between them share
                most = len(key)
                while stop < most and key[stop] < _SPECIAL and key[stop] == other[stop : stop + 1]:
                    stop += 1
            node = self.token(key[start:stop]) + self.below(low, end, stop, depth + 1)
            size = len(node)
            parts.append(b"%b%b%b" % (_CHILD, _SHORT[size] if size < 128 else _varint(size), node))
            low = end
        parts.append(values)
        return b"".join(parts)

    def chain(self, rest: str, size: int) -> tuple[bytes, int]:
        """Return what comes before values of ``size`` bytes that ``rest`` leads to, and how many nodes that is.

        Each node holds the next one as its last field, so the values come at the end of all; of what they are, the
        lengths of the nodes only take in how long.
        """
        pending: list[tuple[str, str]] = []
        while rest and (known := self.chains.get((rest, size))) is None:
            run = _BYTES.match(rest)
            piece = rest[0] if run is None else run[0]
            pending.append((rest, piece))
            rest = rest[len(piece) :]
        head, levels = known if rest and known else (b"", 0)
        for rest, piece in reversed(pending):
            node = self.token(piece) + head
            levels += 1
            length = len(node) + size
            head = b"%b%b%b" % (_CHILD, _SHORT[length] if length < 128 else _varint(length), node)
            self.chains[rest, size] = head, levels
        return head, levels

    def token(self, piece: str) -> bytes:
        """Return `_token`, made once for each piece: a third of them are one digit."""
        found = self.tokens.get(piece)
        if found is None:
            found = self.tokens[piece] = _token(piece)
        return found

    def indices(self, values: tuple[int, ...]) -> bytes:
        """Return the field of the values."""
        field = self.fields.get(values)
        if field is None:
            packed = b"".join(map(_varint, values))
            field = self.fields[values] = _INDEX + _varint(len(packed)) + packed
        return field


def _token_key(token: Token) -> str:
    if isinstance(token, bytes):
        return token.decode("ascii")
    if isinstance(token, ByteSet):
        low, high = token.ranges[0]
        return chr(_RANGES + (low << 8) + high)
    return {STAR: _STAR, ANY: _ANY}[token]


def _token(piece: str) -> bytes:
    """Return the fields that say what a node stands for."""
    if piece == _STAR:
        return _WILDCARD
    if piece == _ANY:
        return _SINGLE
    if piece < _SPECIAL:
        return _LITERAL + _varint(len(piece)) + piece.encode("ascii")
    low, high = divmod(ord(piece) - _RANGES, 256)
    # proto3 leaves out a number that is zero.
    return _RANGE + (_START + _varint(low) if low else b"") + (_END + _varint(high) if high else b"")


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _SHORT[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    return bytes((number & 0x7F | 0x80,)) + _varint(number >> 7)
