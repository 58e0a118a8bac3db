r"""What an incremental depmod has to know of the run before, and what it makes of that.

A module that is new, gone or changed at the end of the order, where all are that ``modules.order`` does not list,
touches little: its own lines at the end of the text files, its own keys in two indexes. `State` keeps what those
were, and `changed_files` makes the files of the new run of them; it gives up where more is touched, as it is by a
module that exports symbols.

The file is a line, the pieces of `kmodkit.core.packing`, and the CRC-32 of all before it. It is of this machine
alone, and to be made anew where it is damaged.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from itertools import accumulate, pairwise
from struct import Struct

from kmodkit.core.deplines import TEXTS, Messages, module_lines, module_name
from kmodkit.core.kmodpatch import patch_index
from kmodkit.core.packing import pack, unpack
from kmodkit.errors import CacheError, KmodIndexError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final, TypeAlias

    Item: TypeAlias = tuple[bytes, bytes, int]  # of an index: a key, a value, its priority

MOST: Final = 64
"""So many modules at the end may have changed; from some hundred on, writing all anew is as fast."""
PATCHED: Final = ("modules.dep.bin", "modules.alias.bin")
"""The indexes that are changed, of which it is noted where their pointers are."""
STATE: Final = Struct("<3q2Q")
"""What stat(2) says of a file: size, mtime and ctime in nanoseconds, inode, device."""
NO_STATE: Final = bytes(STATE.size)
"""Of a file that changed so recently that it could change again unseen: no file has it."""

_HEAD: Final = f"kmodkit depmod 1 {sys.byteorder}\n".encode()
_CRC: Final = Struct("<I")


class Fact:
    """One module: its path and name, its ``.modinfo``, whether it exports symbols, and what it needs directly.

    ``needs`` are positions of modules further up.
    """

    __slots__ = ("exports", "modinfo", "name", "needs", "path")

    def __init__(self, path: bytes, modinfo: bytes, *, exports: bool, needs: Sequence[int]) -> None:
        self.path = path
        self.name = module_name(path)
        self.modinfo = modinfo
        self.exports = exports
        self.needs = needs


class State:
    """A run: ``inputs`` says what else it was made from, ``outputs`` has the digest of each file that it made.

    ``paths`` and ``states`` are those of all modules in their order; ``direct`` has the positions of the modules
    that each needs directly; ``tail`` are the last of them, at most `MOST`, as pairs of a ``.modinfo`` and whether
    the module exports something; ``places`` is as for `patch_index`, by the file's name.
    """

    __slots__ = ("direct", "inputs", "outputs", "paths", "places", "states", "tail")

    def __init__(
        self,
        inputs: bytes,
        paths: Sequence[bytes],
        states: bytes,
        direct: Sequence[Sequence[int]],
        tail: Sequence[tuple[bytes, bool]],
        outputs: Mapping[str, bytes],
        places: Mapping[str, bytes],
    ) -> None:
        self.inputs = inputs
        self.paths = paths
        self.states = states
        self.direct = direct
        self.tail = tail
        self.outputs = outputs
        self.places = places

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        edges = array("I", map(len, self.direct))
        for needs in self.direct:
            edges.extend(needs)
        body = _HEAD + pack(
            [
                self.inputs,
                b"\0".join(self.paths),
                self.states,
                edges.tobytes(),
                pack([piece for modinfo, exports in self.tail for piece in (modinfo, b"x" if exports else b"")]),
                pack([piece for name, digest in self.outputs.items() for piece in (name.encode(), digest)]),
                pack([self.places[name] for name in PATCHED]),
            ]
        )
        return body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def decode(cls, data: bytes) -> State:
        """Return the state in the bytes of a file; raises CacheError."""
        if not data.startswith(_HEAD):
            raise CacheError("not the state of a run of depmod on this machine", offset=0)
        end = len(data) - _CRC.size
        if end < len(_HEAD) or zlib.crc32(memoryview(data)[:end]) != _CRC.unpack_from(data, end)[0]:
            raise CacheError("the checksum is wrong", offset=max(end, 0))
        try:
            inputs, paths, states, edges, tail, outputs, places = unpack(data[len(_HEAD) : end])
            names = paths.split(b"\0") if states else []
            numbers = array("I", edges)
            count = len(names)
            spans = list(accumulate(numbers[:count], initial=count))
            if len(states) != STATE.size * count or spans[-1] != len(numbers):
                raise CacheError("the lists of modules are of different lengths")
            direct = [numbers[start:stop] for start, stop in pairwise(spans)]
            flat, pairs = unpack(tail), unpack(outputs)
            return cls(
                inputs,
                names,
                states,
                direct,
                [(modinfo, bool(exports)) for modinfo, exports in zip(flat[::2], flat[1::2], strict=True)],
                {name.decode(): digest for name, digest in zip(pairs[::2], pairs[1::2], strict=True)},
                dict(zip(PATCHED, unpack(places), strict=True)),
            )
        except ValueError as error:
            raise CacheError(f"not as it was written: {error}") from error

    def first_change(self, paths: Sequence[bytes], states: bytes) -> int | None:
        """Return the position of the first module that is not as it was, None where all are."""
        if states == self.states and NO_STATE not in states and list(paths) == list(self.paths):
            return None
        size = STATE.size
        for at, (path, before) in enumerate(zip(paths, self.paths, strict=False)):
            state = states[at * size : (at + 1) * size]
            if path != before or state == NO_STATE or state != self.states[at * size : (at + 1) * size]:
                return at
        shorter = min(len(paths), len(self.paths))
        return shorter if len(paths) != len(self.paths) else None


def digest(data: bytes) -> bytes:
    """Return what a file is known by: its length and its CRC-32, as the file is our own."""
    return b"%d %d" % (len(data), zlib.crc32(data))


def changed_files(
    before: State, first: int, after: Sequence[Fact], files: Mapping[str, bytes]
) -> tuple[dict[str, bytes], dict[str, bytes]] | None:
    """Return the files that change where the modules from ``first`` on are now those of ``after``.

    ``files`` are those of the run ``before``, all that can change among them. With them come the places of the
    pointers in the indexes. None means that other files are touched as well, or that there is something to say
    of a module, so that all is to be made anew.
    """
    start = len(before.paths) - len(before.tail)
    if first < start or len(after) > MOST:
        return None
    gone = [
        Fact(before.paths[at], modinfo, exports=exports, needs=before.direct[at])
        for at, (modinfo, exports) in enumerate(before.tail[first - start :], first)
    ]
    if any(fact.exports for fact in (*gone, *after)):
        return None
    log = Messages()
    removed, added = _Brought(gone, first, log), _Brought(after, first, log)
    changed: dict[str, bytes] = {}
    for name, head in TEXTS.items():
        text = _with_end(files[name] or head, removed.texts[name], added.texts[name])
        if text is None or log.lines:
            return None
        # modules.devname is the one that is empty without lines.
        changed[name] = b"" if text == head and name == "modules.devname" else text
    dep: bytes | None
    if any(fact.needs for fact in (*gone, *after)):
        if files["modules.dep"].count(b"\n") != len(before.paths):
            return None  # a path with a line end in it
        removed.dep_items, added.dep_items, dep = _dependencies(before, first, after, files["modules.dep"])
    else:
        dep = _with_end(files["modules.dep"], removed.dep, added.dep)
    if dep is None:
        return None
    changed["modules.dep"] = dep
    places: dict[str, bytes] = {}
    for name, old, new in (
        ("modules.dep.bin", removed.dep_items, added.dep_items),
        ("modules.alias.bin", removed.alias_items, added.alias_items),
    ):
        try:
            changed[name], places[name] = patch_index(files[name], before.places[name], old, new)
        except KmodIndexError:
            return None  # writing it anew says what is wrong, if anything is
    return changed, places


def _dependencies(
    before: State, first: int, after: Sequence[Fact], text: bytes
) -> tuple[list[Item], list[Item], bytes]:
    """Return what goes of modules.dep.bin and what comes, and modules.dep.

    A module that needs others can change the order in which these are written for all who need them, too.
    """
    from kmodkit.core.depfiles import dep_lines  # with all that writes files anew

    paths = [*before.paths[:first], *[fact.path for fact in after]]
    lines = dep_lines(paths, [*before.direct[:first], *[fact.needs for fact in after]])
    old = text.split(b"\n")[:-1]
    same = {at for at, (one, other) in enumerate(zip(old, lines, strict=False)) if one == other}
    gone = [(module_name(before.paths[at]), line, at) for at, line in enumerate(old) if at not in same]
    come = [(module_name(paths[at]), line, at) for at, line in enumerate(lines) if at not in same]
    return gone, come, b"".join([line + b"\n" for line in lines])


class _Brought:
    """What the modules of an end, the first of them at the position ``first``, bring into each file."""

    def __init__(self, facts: Sequence[Fact], first: int, log: Messages) -> None:
        self.texts = dict.fromkeys(TEXTS, b"")
        self.alias_items: list[Item] = []
        self.dep_items: list[Item] = []
        for at, fact in enumerate(facts, first):
            lines, keys = module_lines(fact.name, fact.modinfo, log)
            for name, text in lines.items():
                self.texts[name] += text
            self.alias_items += [(key, fact.name, at) for key in keys]
            self.dep_items.append((fact.name, fact.path + b":", at))
        self.dep = b"".join([line + b"\n" for _, line, _ in self.dep_items])


def _with_end(text: bytes, before: bytes, after: bytes) -> bytes | None:
    """Return ``text`` with another end, None where it does not end so."""
    return text[: len(text) - len(before)] + after if text.endswith(before) else None
