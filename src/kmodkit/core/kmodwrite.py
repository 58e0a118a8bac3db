"""The writer of depmod's binary indexes; their format is in `kmodkit.core.kmodindex`."""

from __future__ import annotations

import enum
from struct import Struct
from typing import TYPE_CHECKING, Final

from kmodkit.core.kmodindex import (
    CHILDREN,
    HEADER,
    MAGIC,
    OFFSET,
    PREFIX,
    VALUES,
    VERSION,
    table_struct,
)
from kmodkit.errors import KmodIndexError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WORD: Final = Struct(">I")


class Layout(enum.Enum):
    """Which of two related nodes comes first in a file."""

    PARENTS_FIRST = "34"
    """What depmod writes since kmod 34."""
    CHILDREN_FIRST = "30"
    """What it wrote before."""


def build_index(
    items: Iterable[tuple[bytes, bytes, int]], *, layout: Layout = Layout.PARENTS_FIRST, source: str | None = None
) -> bytes:
    """Return the index of ``items``, each a key, a value and its priority, in the bytes that depmod writes.

    The order of ``items`` counts only between values of one key and one priority: depmod puts the later one
    first. Raises KmodIndexError for what is not 7-bit text, which depmod refuses too.
    """
    groups: dict[bytes, list[tuple[int, bytes]] | tuple[int, bytes]] = {}
    for key, value, priority in items:
        before = groups.setdefault(key, mine := (priority, value))
        if before is not mine:
            if not isinstance(before, list):
                before = groups[key] = [before]
            before.append(mine)
    keys = sorted(groups)
    for text in keys:
        if not text.isascii() or b"\0" in text:
            raise KmodIndexError(f"{text!r} is not 7-bit text, all that an index holds", source=source)
    encoded = _encode_values(keys, groups, source)
    if layout is Layout.PARENTS_FIRST:
        keys.reverse()
        encoded.reverse()
    return _Writer(parents_first=layout is Layout.PARENTS_FIRST).file(keys, encoded)


def _encode_values(
    keys: Sequence[bytes],
    groups: dict[bytes, list[tuple[int, bytes]] | tuple[int, bytes]],
    source: str | None,
) -> list[bytes]:
    """Return for each of ``keys`` its values as they stand in a node."""
    one: dict[tuple[int, bytes], bytes] = {}  # most values are there for many keys: modules have many aliases

    def encode(value: tuple[int, bytes]) -> bytes:
        done = one.get(value)
        if done is None:
            if not value[1].isascii() or b"\0" in value[1]:
                raise KmodIndexError(f"{value[1]!r} is not 7-bit text, all that an index holds", source=source)
            done = one[value] = _WORD.pack(value[0]) + value[1] + b"\0"
        return done

    encoded = []
    single = _WORD.pack(1)
    for key in keys:
        group = groups[key]
        if isinstance(group, list):
            group.reverse()
            group.sort(key=_first)
            encoded.append(_WORD.pack(len(group)) + b"".join(map(encode, group)))
        else:
            encoded.append(single + encode(group))
    return encoded


def _first(pair: tuple[int, bytes]) -> int:
    return pair[0]


class _Open:
    """A node whose children are still coming: its depth in the trie is the length of its key."""

    __slots__ = ("depth", "labels", "pointers", "values")

    def __init__(self, depth: int, values: bytes = b"") -> None:
        self.depth = depth
        self.labels: list[int] = []
        self.pointers: list[int] = []
        self.values = values


def _common(one: bytes, two: bytes) -> int:
    """Return how many bytes at their start are the same."""
    size = min(len(one), len(two))
    difference = int.from_bytes(one[:size], "big") ^ int.from_bytes(two[:size], "big")
    return size - (difference.bit_length() + 7) // 8


class _Writer:
    """The file of sorted keys: descending for ``parents_first``, ascending otherwise.

    A trie of sorted keys has a node for each key and for each longest common start of two neighbours, so a stack
    of the nodes on the way to the present key is all that is needed. Children are done before their parents. With
    parents first, the file is therefore made from its end to its start; as its length is not known before that,
    pointers are kept as distances from the end until then.
    """

    def __init__(self, *, parents_first: bool) -> None:
        self.parents_first = parents_first
        self.parts: list[bytes] = []
        self.later: list[tuple[int, bytes, _Open]] = []
        self.place = 0 if parents_first else HEADER.size

    def file(self, keys: Sequence[bytes], values: Sequence[bytes]) -> bytes:
        """Return the file of ``keys``, each with its values as they stand in a node."""
        stack = [_Open(0)]
        following = iter(keys)
        next(following, None)
        for key, value in zip(keys, values, strict=True):
            after = next(following, None)
            shared = 0 if after is None else _common(key, after)
            self._add(stack, key, value, shared)
            top = stack[-1]
            while top.depth > shared:
                done = stack.pop()
                top = stack[-1]
                if top.depth < shared:
                    top = _Open(shared)
                    stack.append(top)
                pointer = self._put(done, key[top.depth + 1 : done.depth])
                top.labels.append(key[top.depth])
                top.pointers.append(pointer)
        return self._finish(self._put(stack[0], b""))

    def _add(self, stack: list[_Open], key: bytes, value: bytes, shared: int) -> None:
        """Add a key, of which the next one shares the first ``shared`` bytes."""
        top = stack[-1]
        size = len(key)
        if size == top.depth:
            top.values = value
        elif size == shared:
            stack.append(_Open(size, value))
        else:
            # The usual case, of a key that no other key goes on from.
            if shared > top.depth:
                top = _Open(shared)
                stack.append(top)
            parent = top.depth
            has_prefix = size > parent + 1
            part = key[parent + 1 :] + b"\0" + value if has_prefix else value
            top.labels.append(key[parent])
            top.pointers.append((PREFIX | VALUES if has_prefix else VALUES) | self._advance(part))

    def _advance(self, part: bytes, size: int | None = None) -> int:
        """Take ``part``, of ``size`` bytes once it is done, into the file and return where it is."""
        self.parts.append(part)
        before = self.place
        self.place = before + (len(part) if size is None else size)
        return self.place if self.parents_first else before

    def _put(self, node: _Open, prefix: bytes) -> int:
        """Take a node that has all its children and return the pointer to it."""
        head = prefix + b"\0" if prefix else b""
        flags = (PREFIX if prefix else 0) | (VALUES if node.values else 0) | (CHILDREN if node.labels else 0)
        if not node.labels:
            return flags | self._advance(head + node.values)
        if not self.parents_first:
            return flags | self._advance(_children(head, node.labels, node.pointers, node.values))
        self.later.append((len(self.parts), head, node))
        span = node.labels[0] - node.labels[-1] + 1
        return flags | self._advance(b"", len(head) + 2 + 4 * span + len(node.values))

    def _finish(self, root: int) -> bytes:
        if self.parents_first:
            end = self.place + HEADER.size
            for at, head, node in self.later:
                pointers = [
                    (pointer & ~OFFSET) | (end - (pointer & OFFSET)) for pointer in reversed(node.pointers)
                ]
                self.parts[at] = _children(head, node.labels[::-1], pointers, node.values)
            root = (root & ~OFFSET) | HEADER.size
            self.parts.reverse()
        if self.place > OFFSET:
            raise KmodIndexError("more than the 256 MiB that an index has room for")
        return HEADER.pack(MAGIC, VERSION, root) + b"".join(self.parts)


def _children(head: bytes, labels: Sequence[int], pointers: Sequence[int], values: bytes) -> bytes:
    """Return the bytes of a node with children."""
    first, last = labels[0], labels[-1]
    span = last - first + 1
    if span == len(labels):
        table = table_struct(span).pack(*pointers)
    else:
        slots = [0] * span
        for byte, pointer in zip(labels, pointers, strict=True):
            slots[byte - first] = pointer
        table = table_struct(span).pack(*slots)
    return head + bytes((first, last)) + table + values
