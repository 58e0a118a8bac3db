"""Binary indexes changed in a few keys, to the bytes that writing them anew gives.

In the order in which depmod writes since kmod 34, a node comes before all that is below it and children come in
the order of their bytes. So what is below a node is one piece of the file, and a change of one key makes a few new
nodes on the way to it; all else moves by some bytes as it is, but for the pointers in it, which are places in the
file.

Where those are, the writer says (`places`): then a whole piece moves in one addition of large integers, the piece
itself and a one for each pointer, times the distance. A key among the 25,000 of a kernel takes 10 ms, and writing
all of them 85.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import pairwise
from struct import error as StructError  # noqa: N812 - a class, which the module spells small

from kmodkit.core.kmodindex import CHILDREN, HEADER, MAGIC, OFFSET, PREFIX, VALUES, VERSION, table_struct
from kmodkit.errors import KmodIndexError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    Child: TypeAlias = "_Node | _Kept"
    Entry: TypeAlias = tuple[int, bytes]  # the priority of a value, and what it is


class _Kept:
    """What is below a child that nothing has changed in: the file from ``start`` to ``end``."""

    __slots__ = ("end", "first", "flags", "start")

    def __init__(self, first: int, flags: int, start: int, end: int) -> None:
        self.first = first
        self.flags = flags
        self.start = start
        self.end = end


class _Node:
    """A node that is written anew: its whole label, its values as they stand in a file, and its children."""

    __slots__ = ("children", "label", "place", "values")

    def __init__(self, label: bytes, values: bytes, children: list[Child]) -> None:
        self.label = label
        self.values = values
        self.children = children
        self.place = 0

    @property
    def first(self) -> int:
        return self.label[0]

    @property
    def flags(self) -> int:
        return (
            (PREFIX if len(self.label) > 1 else 0)
            | (VALUES if self.values else 0)
            | (CHILDREN if self.children else 0)
        )

    def find(self, byte: int) -> int:
        """Return the position of the child for ``byte``, or where it belongs."""
        return bisect_left([child.first for child in self.children], byte)


def patch_index(
    data: bytes,
    places: bytes,
    removed: Iterable[tuple[bytes, bytes, int]],
    added: Iterable[tuple[bytes, bytes, int]],
) -> tuple[bytes, bytes]:
    """Return the index ``data`` without and with some values, and the places of its pointers.

    ``places`` are those of ``data``, as `kmodkit.core.kmodwrite.build_index` notes them: offsets, ascending, each
    an unsigned int in the machine's order. A value is a key, what it is, and its priority; each of ``removed`` is
    in the index as often as it is named. Of values with one key and one priority, all have to be the same.

    Raises KmodIndexError where that is not so, and for what `build_index` would refuse.
    """
    changes: dict[bytes, tuple[list[Entry], list[Entry]]] = {}
    for number, items in enumerate((removed, added)):
        for key, value, priority in items:
            if not (key.isascii() and value.isascii()) or b"\0" in key or b"\0" in value:
                raise KmodIndexError(f"{key!r} is not 7-bit text, all that an index holds")
            changes.setdefault(key, ([], []))[number].append((priority, value))
    try:
        tree = _Tree(data)
        for key in sorted(changes):
            tree.change(key, *changes[key])
        return _write(tree.root, data, array("I", places))
    except (ValueError, IndexError, OverflowError, StructError) as problem:
        raise KmodIndexError(f"not an index to change: {problem}") from problem


class _Tree:
    """The nodes of an index, read as far as changes go."""

    def __init__(self, data: bytes) -> None:
        magic, version, root = HEADER.unpack_from(data)
        if magic != MAGIC or version != VERSION:
            raise KmodIndexError("not an index of the version that is written", offset=0)
        self.data = data
        # The root of an index without entries has nothing, and no prefix ever.
        self.root = self._read(_Kept(0, root & ~OFFSET, root & OFFSET, len(data)), b"")

    def change(self, key: bytes, removed: Sequence[Entry], added: Sequence[Entry]) -> None:
        """Change the values of one key."""
        path = [self.root]
        rest = key
        while rest:
            node = path[-1]
            at = node.find(rest[0])
            if at == len(node.children) or node.children[at].first != rest[0]:
                node.children.insert(at, below := _Node(rest, b"", []))
            else:
                below = self._opened(node, at)
                shared = _shared(below.label, rest)
                if shared < len(below.label):
                    upper = node.children[at] = _Node(below.label[:shared], b"", [below])
                    below.label = below.label[shared:]
                    below = upper
            path.append(below)
            rest = rest[len(below.label) :]
        path[-1].values = _changed(path[-1].values, removed, added, key)
        self._tidy(path)

    def _tidy(self, path: list[_Node]) -> None:
        """Take away nodes that stand for nothing: without values, a node has two children or more."""
        for node, above in zip(path[:0:-1], path[-2::-1], strict=True):
            if node.values:
                return
            at = above.find(node.first)
            if not node.children:
                del above.children[at]
            elif len(node.children) == 1:
                only = self._opened(node, 0)
                only.label = node.label + only.label
                above.children[at] = only
                return
            else:
                return

    def _opened(self, node: _Node, at: int) -> _Node:
        child = node.children[at]
        if isinstance(child, _Kept):
            child = node.children[at] = self._read(child, bytes([child.first]))
        return child

    def _read(self, kept: _Kept, label: bytes) -> _Node:
        data, at = self.data, kept.start
        if kept.flags & PREFIX:
            stop = data.index(0, at)
            label += data[at:stop]
            at = stop + 1
        table: list[tuple[int, int]] = []
        if kept.flags & CHILDREN:
            low, high = data[at], data[at + 1]
            pointers = table_struct(high - low + 1).unpack_from(data, at + 2)
            table = [(byte, pointer) for byte, pointer in enumerate(pointers, low) if pointer]
            at += 2 + 4 * (high - low + 1)
        starts = [pointer & OFFSET for _, pointer in table] + [kept.end]
        children: list[Child] = [
            _Kept(byte, pointer & ~OFFSET, start, end)
            for (byte, pointer), start, end in zip(table, starts, starts[1:], strict=False)
        ]
        stop = starts[0]
        return _Node(label, data[at:stop], children)


def _shared(one: bytes, other: bytes) -> int:
    """Return how many bytes at their start are the same."""
    size = min(len(one), len(other))
    difference = int.from_bytes(one[:size], "big") ^ int.from_bytes(other[:size], "big")
    return size - (difference.bit_length() + 7) // 8


def _changed(values: bytes, removed: Sequence[Entry], added: Sequence[Entry], key: bytes) -> bytes:
    """Return the values of a node with some taken away and some put in."""
    entries: list[Entry] = []
    at = 4
    while at < len(values):
        stop = values.index(0, at + 4)
        entries.append((int.from_bytes(values[at : at + 4], "big"), values[at + 4 : stop]))
        at = stop + 1
    for entry in removed:
        if entry not in entries:
            raise KmodIndexError(f"{key!r} has no value {entry[1]!r} to take away")
        entries.remove(entry)
    entries += added
    entries.sort(key=lambda entry: entry[0])
    for one, other in pairwise(entries):
        if one[0] == other[0] and one != other:
            raise KmodIndexError(f"{key!r} has two values of one priority")
    if not entries:
        return b""
    parts = [priority.to_bytes(4, "big") + value + b"\0" for priority, value in entries]
    return len(entries).to_bytes(4, "big") + b"".join(parts)


# --- writing ------------------------------------------------------------------------------------------------


def _write(root: _Node, data: bytes, known: array[int]) -> tuple[bytes, bytes]:
    """Return the file of the nodes below ``root`` and the places of its pointers."""
    order: list[Child] = []
    stack: list[Child] = [root]
    at = HEADER.size
    moved: dict[int, int] = {}  # from where what is kept began to where it begins
    while stack:
        child = stack.pop()
        order.append(child)
        if isinstance(child, _Kept):
            moved[child.start] = at
            at += child.end - child.start
            continue
        child.place = at
        at += _size(child)
        stack += reversed(child.children)
    if at > OFFSET:
        raise KmodIndexError("more than the 256 MiB that an index has room for")
    parts = [HEADER.pack(MAGIC, VERSION, root.flags | root.place)]
    places = array("I")
    number = 0
    while number < len(order):
        child = order[number]
        number += 1
        if isinstance(child, _Node):
            parts.append(_node(child, moved, places))
            continue
        start, end = child.start, child.end
        distance = moved[start] - start
        # What lies one behind the other in both files moves as one piece.
        while number < len(order) and isinstance(after := order[number], _Kept) and after.start == end:
            end = after.end
            number += 1
        parts.append(_move(data[start:end], start, distance, known, places))
    return b"".join(parts), places.tobytes()


def _size(node: _Node) -> int:
    size = len(node.label) if len(node.label) > 1 else 0  # its first byte is the parent's, and a NUL ends it
    if node.children:
        size += 2 + 4 * (node.children[-1].first - node.children[0].first + 1)
    return size + len(node.values)


def _node(node: _Node, moved: dict[int, int], places: array[int]) -> bytes:
    """Return the bytes of a node, and note where its pointers are."""
    head = node.label[1:] + b"\0" if len(node.label) > 1 else b""
    if not node.children:
        return head + node.values
    low, high = node.children[0].first, node.children[-1].first
    table = [0] * (high - low + 1)
    begin = node.place + len(head) + 2
    for child in node.children:
        place = child.place if isinstance(child, _Node) else moved[child.start]
        table[child.first - low] = child.flags | place
        places.append(begin + 4 * (child.first - low))
    return head + bytes((low, high)) + table_struct(len(table)).pack(*table) + node.values


def _move(piece: bytes, start: int, distance: int, known: array[int], places: array[int]) -> bytes:
    """Return a piece of a file with its pointers ``distance`` further on, and note where they are then."""
    own = known[bisect_left(known, start) : bisect_left(known, start + len(piece))]
    if not distance:
        places.extend(own)
        return piece
    places.extend(array("I", [place + distance for place in own]))
    if not own:
        return piece
    ones = bytearray(len(piece))
    for place in own:
        ones[place - start + 3] = 1  # the last byte of a pointer; the sum stays in its four, as it is in the file
    value = int.from_bytes(piece, "big") + int.from_bytes(ones, "big") * distance
    return value.to_bytes(len(piece), "big")
