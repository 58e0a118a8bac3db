"""The writer of depmod's binary indexes; their format is in `kmodkit.core.kmodindex`."""

from __future__ import annotations

import enum
from array import array
from itertools import accumulate
from struct import Struct

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

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence
    from typing import Final, NamedTuple
else:
    from kmodkit.core.values import NamedTuple

_WORD: Final = Struct(">I")


class Layout(enum.Enum):
    """Which of two related nodes comes first in a file."""

    PARENTS_FIRST = "34"
    """What depmod writes since kmod 34."""
    CHILDREN_FIRST = "30"
    """What it wrote before."""


def build_index(
    items: Iterable[tuple[bytes, bytes, int]],
    *,
    layout: Layout = Layout.PARENTS_FIRST,
    source: str | None = None,
    places: MutableMapping[str, bytes] | None = None,
) -> bytes:
    """Return the index of ``items``, each a key, a value and its priority, in the bytes that depmod writes.

    The order of ``items`` counts only between values of one key and one priority: depmod puts the later one
    first. ``places`` takes, under the name ``source``, where the pointers of a file with parents first are, for
    `kmodkit.core.kmodpatch`. Raises KmodIndexError for what is not 7-bit text, which depmod refuses too.
    """
    values = _values(items, source)
    keys = sorted(values)
    blob = b"".join(keys)
    if not blob.isascii() or b"\0" in blob:
        text = next(key for key in keys if not key.isascii() or b"\0" in key)
        raise KmodIndexError(f"{text!r} is not 7-bit text, all that an index holds", source=source)
    if layout is Layout.PARENTS_FIRST:
        keys.reverse()
    writer = _Writer(parents_first=layout is Layout.PARENTS_FIRST)
    data = writer.file(keys, [values[key] for key in keys])
    if places is not None and source is not None and writer.parents_first:
        places[source] = writer.places()
    return data


def _values(items: Iterable[tuple[bytes, bytes, int]], source: str | None) -> dict[bytes, bytes]:
    """Return for each key its values as they stand in a node, with the NUL that ends a prefix before them."""
    found: dict[bytes, bytes] = {}
    several: dict[bytes, list[tuple[int, bytes]]] = {}
    one = b"\0" + _WORD.pack(1)
    bodies: dict[tuple[bytes, int], bytes] = {}
    last: bytes | None = None
    number = -1
    body = single = b""
    for key, value, priority in items:
        if value is not last or number != priority:  # modules have many aliases, one behind the other
            known = bodies.get((value, priority))
            if known is None:
                if not value.isascii() or b"\0" in value:
                    raise KmodIndexError(f"{value!r} is not 7-bit text, all that an index holds", source=source)
                known = bodies[value, priority] = _WORD.pack(priority) + value + b"\0"
            last, number, body, single = value, priority, known, one + known
        if key not in found:
            found[key] = single
            continue
        group = several.get(key)
        if group is None:
            before = found[key][len(one) :]
            group = several[key] = [(_WORD.unpack_from(before)[0], before)]
        group.append((priority, body))
    for key, group in several.items():
        group.reverse()
        group.sort(key=_first)
        found[key] = b"\0" + _WORD.pack(len(group)) + b"".join([each for _, each in group])
    return found


def _first(pair: tuple[int, bytes]) -> int:
    return pair[0]


_WIDTH: Final = 64


def _shared(keys: Sequence[bytes]) -> list[int]:
    """Return for each key how many bytes at its start are the same as the next one's; 0 for the last."""
    found = []
    number = int.from_bytes
    before, left = b"", -1
    for key in keys:
        # Of two numbers of one width, the highest bit that differs is in the first byte that does.
        size = len(key)
        right = number(key.ljust(_WIDTH, b"\0"), "big") if size <= _WIDTH else -1
        if left >= 0 and right >= 0:
            found.append(_WIDTH - ((left ^ right).bit_length() + 7 >> 3))
        else:
            size = min(len(before), size)
            difference = number(before[:size], "big") ^ number(key[:size], "big")
            found.append(size - (difference.bit_length() + 7 >> 3))
        before, left = key, right
    return [*found[1:], 0] if found else []


class _Node(NamedTuple):
    """A node whose children are still coming: its depth in the trie is the length of its key."""

    depth: int
    labels: list[int]
    pointers: list[int]
    values: bytes


class _Writer:
    """The file of sorted keys: descending for ``parents_first``, ascending otherwise.

    A trie of sorted keys has a node for each key and for each longest common start of two neighbours, so a stack
    of the nodes on the way to the present key is all that is needed. Children are done before their parents. With
    parents first, the file is therefore made from its end to its start; as its length is not known before that,
    a pointer is its flags less the distance from the end until then.
    """

    def __init__(self, *, parents_first: bool) -> None:
        self.parents_first = parents_first
        self.parts: list[bytes] = []
        self.later: list[tuple[int, bytes, _Node]] = []
        self.place = 0 if parents_first else HEADER.size

    def file(self, keys: Sequence[bytes], values: Sequence[bytes]) -> bytes:
        """Return the file of ``keys``, each with its values as they stand in a node, and a NUL before them."""
        parents_first, parts, place = self.parents_first, self.parts, self.place
        stack: list[_Node] = []
        # The node that the last key is below, as a `_Node` has it: to take them from one was a tenth of the time.
        depth, labels, pointers, own = 0, list[int](), list[int](), b""
        for key, value, shared in zip(keys, values, _shared(keys), strict=True):
            size = len(key)
            if size > depth and size > shared:
                # The usual case, of a key that no other key goes on from; in line, as calls took half of the time.
                if shared > depth:
                    stack.append(_Node(depth, labels, pointers, own))
                    depth, labels, pointers, own = shared, [], [], b""
                if size > depth + 1:
                    part, flags = key[depth + 1 :] + value, PREFIX | VALUES
                else:
                    part, flags = value[1:], VALUES
                parts.append(part)
                labels.append(key[depth])
                if parents_first:
                    place += len(part)
                    pointers.append(flags - place)
                else:
                    pointers.append(flags + place)
                    place += len(part)
            elif size == depth:
                own = value[1:]
            else:
                stack.append(_Node(depth, labels, pointers, own))
                depth, labels, pointers, own = size, [], [], value[1:]
            while depth > shared:
                done = _Node(depth, labels, pointers, own)
                if stack[-1].depth < shared:
                    depth, labels, pointers, own = shared, [], [], b""
                else:
                    depth, labels, pointers, own = stack.pop()
                self.place = place
                pointers.append(self._put(done, key[depth + 1 : done.depth]))
                labels.append(key[depth])
                place = self.place
        self.place = place
        return self._finish(self._put(_Node(depth, labels, pointers, own), b""))

    def places(self) -> bytes:
        """Return where the pointers of a finished file with parents first are: offsets, ascending, each a uint."""
        found = array("I")
        starts = list(accumulate(map(len, self.parts), initial=HEADER.size))
        last = len(self.parts) - 1
        for number, head, node in reversed(self.later):
            begin = starts[last - number] + len(head) + 2 - 4 * node.labels[-1]
            found.extend([begin + 4 * label for label in reversed(node.labels)])
        return found.tobytes()

    def _put(self, node: _Node, prefix: bytes) -> int:
        """Take a node that has all its children and return the pointer to it."""
        head = prefix + b"\0" if prefix else b""
        flags = (PREFIX if prefix else 0) | (VALUES if node.values else 0) | (CHILDREN if node.labels else 0)
        if not node.labels:
            part = head + node.values
        elif not self.parents_first:
            part = _children(head, node.labels, node.pointers, node.values)
        else:
            self.later.append((len(self.parts), head, node))
            self.parts.append(b"")
            self.place += len(head) + 2 + 4 * (node.labels[0] - node.labels[-1] + 1) + len(node.values)
            return flags - self.place
        before = self.place
        self.parts.append(part)
        self.place = before + len(part)
        return flags - self.place if self.parents_first else flags + before

    def _finish(self, root: int) -> bytes:
        # Checked first: with larger places, pointers would run into their flags.
        if self.place > OFFSET:
            raise KmodIndexError("more than the 256 MiB that an index has room for")
        if self.parents_first:
            end = self.place + HEADER.size
            for at, head, node in self.later:
                pointers = [end + pointer for pointer in reversed(node.pointers)]
                self.parts[at] = _children(head, node.labels[::-1], pointers, node.values)
            root += end
            self.parts.reverse()
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
