"""What a scan read before, so that modules which have not changed are not opened again.

The file is that of `kmodkit.core.modcache`, with the ``.modinfo`` sections alone. Its entry without a name is the
stamp: which state of the whole tree a meta.pb was made from, by which that is known to be up to date.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from struct import Struct

from kmodkit.core.modcache import FileState, ModuleFacts, decode_cache, encode_cache
from kmodkit.errors import CacheError, FileError
from kmodkit.kernel.files import replace_file
from kmodkit.kernel.filestate import file_state, settled
from kmodkit.kernel.opening import read_file

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final

    from kmodkit.core.modcache import Cache

MAX_CACHE: Final = 1 << 30
_STAMP: Final = b""
_WRITER: Final = 1
"""To be raised when the same modules come to be written in another way."""
_NO_STATE: Final = FileState(0, 0, 0, 0, 0)
_PACK: Final = Struct("<3q2Q").pack


class ScanCache:
    """The sections in the file ``path`` that are good for the modules at ``paths`` below ``root``.

    A file that is not there, is damaged or is of another version has none. Not safe to use from threads, but for
    `get`.
    """

    def __init__(self, path: str | os.PathLike[str], root: str, paths: Sequence[str]) -> None:
        self._path = path
        try:
            self._old: Cache = decode_cache(read_file(path, max_size=MAX_CACHE), source=os.fspath(path))
        except (CacheError, FileError):
            self._old = {}
        self._now = time.time_ns()
        self._states = {name: file_state(f"{root}/{name}") for name in paths}
        self._kept: Cache = {}

    def get(self, path: str) -> bytes | None:
        """Return the section of the module at ``path``, None where its file has to be read."""
        entry = self._old.get(os.fsencode(path))
        return entry[1].modinfo if entry is not None and entry[0] == self._states[path] else None

    def keep(self, path: str, section: bytes) -> None:
        """Remember the section of a module, unless its file is so new that a change of it could go unseen."""
        state = self._states[path]
        name = os.fsencode(path)
        before = self._old.get(name)
        if before is not None and before[0] == state:
            self._kept[name] = before
        elif state is not None and settled([state], self._now):
            self._kept[name] = state, ModuleFacts(section, b"", b"")

    def inputs(self, lists: Iterable[bytes | None], *options: object) -> str:
        """Return a digest of all that a catalog is made from: the state of each file, lists and options."""
        digest = hashlib.blake2b(repr((_WRITER, options)).encode())
        # Not repr() of the states, which takes 30 ms for 4,000.
        for name, state in sorted(self._states.items(), key=_first):
            digest.update(b"%b\0%b" % (os.fsencode(name), b"" if state is None else _PACK(*state)))
        for data in lists:
            digest.update(b"-" if data is None else b"+%d:" % len(data) + data)
        return digest.hexdigest()

    def up_to_date(self, inputs: str, output: str | os.PathLike[str], *, max_size: int) -> list[int] | None:
        """Return the counts of `save`, where ``output`` still is what was made from the same ``inputs``."""
        if _STAMP not in self._old:
            return None
        try:
            before, digest, *counts = json.loads(self._old[_STAMP][1].modinfo)
            if before != inputs or digest != _digest(read_file(output, max_size=max_size)):
                return None
            return list(map(int, counts))
        except (FileError, ValueError, TypeError, RecursionError):
            return None

    def save(self, inputs: str = "", output: bytes = b"", counts: Sequence[int] | None = None) -> None:
        """Write what was kept, unless the file has it; raises FileError.

        With ``counts`` it is stamped: ``output`` was made from ``inputs``, if all modules were kept.
        """
        if counts is not None and len(self._kept) == len(self._states):
            stamp = json.dumps([inputs, _digest(output), *counts]).encode()
            self._kept[_STAMP] = _NO_STATE, ModuleFacts(stamp, b"", b"")
        if self._kept != self._old or not self._kept:
            replace_file(self._path, encode_cache(self._kept))


def _first(pair: tuple[str, object]) -> str:
    return pair[0]


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data).hexdigest()
