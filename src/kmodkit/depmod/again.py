"""A run after another: what a change of few modules makes of the files that are there.

Reading what a cache has of 4,000 modules and writing five indexes takes 0.3 s, where a new module adds some lines
and keys. So a run keeps a `kmodkit.core.depstate.State`, and the next one compares what stat(2) says of each file
with that first. Nothing here imports more than such a run can afford.
"""

from __future__ import annotations

import os
import time

from kmodkit.core.depstate import MOST, NO_STATE, STATE, Fact, State, changed_files, digest
from kmodkit.depmod.finding import whole_path
from kmodkit.errors import CacheError, FileError, FormatError
from kmodkit.kernel.filestate import is_past
from kmodkit.kernel.opening import read_file

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

    from kmodkit.depmod.finding import Lists

MAX_STATE: Final = 1 << 28
MAX_FILE: Final = 256 << 20
_WRITER: Final = 1
"""To be raised when the same modules come to be written in another way."""
_DEVICE: Final = (1 << 64) - 1


class Run:
    """One run with a cache: the modules in their order, what stat(2) says of each, and what else it is made from.

    A file that changed within the last tick of the clock has `NO_STATE`, as a later change of it could go unseen.
    """

    def __init__(self, path: str, root: str, paths: Sequence[bytes], lists: Lists) -> None:
        self.path = path
        self.root = root
        self.paths = paths
        self.states = _states(root, paths)
        known = [None if data is None else digest(data) for data in (lists.order, lists.builtin, lists.modinfo)]
        self.inputs = repr((_WRITER, root, known)).encode()

    def refresh(self, previous: str, max_size: int) -> tuple[dict[str, bytes], tuple[str, ...], int] | None:
        """Return all files, the names of those that are not as they are in ``previous``, and how many were opened.

        None means that all is to be made anew.
        """
        try:
            before = State.decode(read_file(self.path, max_size=MAX_STATE))
            if before.inputs != self.inputs:
                return None
            files = {name: read_file(f"{previous}/{_plain(name)}", max_size=MAX_FILE) for name in before.outputs}
        except (CacheError, FileError, ValueError):
            return None
        if any(digest(data) != before.outputs[name] for name, data in files.items()):
            return None
        first = before.first_change(self.paths, self.states)
        if first is None:
            return files, (), 0
        if len(self.paths) - first > MOST or first < len(before.paths) - len(before.tail):
            return None
        try:
            after = [
                self._read(at, files["modules.symbols.bin"], max_size) for at in range(first, len(self.paths))
            ]
            found = changed_files(before, first, after, files)
        except (FormatError, FileError, KeyError):
            return None
        if found is None:
            return None
        made, places = found
        changed = tuple(name for name in files if name in made and made[name] != files[name])
        files |= made
        kept = before.tail[: first - (len(before.paths) - len(before.tail))]
        tail = [*kept, *[(fact.modinfo, fact.exports) for fact in after]]
        self.save([*before.direct[:first], *[fact.needs for fact in after]], tail, files, places)
        return files, changed, len(after)

    def save(
        self,
        direct: Sequence[Sequence[int]],
        tail: Sequence[tuple[bytes, bool]],
        files: Mapping[str, bytes],
        places: Mapping[str, bytes],
    ) -> None:
        """Keep what a run made; see `State`. Raises FileError.

        It is good only while the files in place are those, so it may be there before them.
        """
        from kmodkit.depmod.writing import write_files

        outputs = {name: digest(data) for name, data in files.items()}
        state = State(self.inputs, self.paths, self.states, direct, tail[-MOST:], outputs, places)
        directory, _, name = self.path.rpartition("/")
        # It has a checksum: one that is cut short is made anew, which is cheaper than waiting for the disk.
        write_files(directory or ".", {name: state.encode()}, sync=False)

    def _read(self, at: int, symbols: bytes, max_size: int) -> Fact:
        from kmodkit.core.kmodindex import IndexFile
        from kmodkit.depmod.facts import read_facts

        path = self.paths[at]
        found = read_facts(whole_path(self.root, path), max_size)
        index = IndexFile(symbols, source="modules.symbols.bin")
        needs: dict[int, None] = {}
        for need in found.needs.split(b"\0") if found.needs else ():
            # On PowerPC .foo is the code of foo. Of a symbol that two export, depmod takes the last one.
            values = index.get(b"symbol:" + need.removeprefix(b"."))
            if values:
                needs[values[-1][0]] = None
        return Fact(path, found.modinfo, exports=bool(found.exports), needs=list(needs))


def _states(root: str, paths: Sequence[bytes]) -> bytes:
    now = time.time_ns()
    base = os.fsencode(root) + b"/"
    pack = STATE.pack
    found = []
    for path in paths:
        try:
            status = os.stat(path if path[:1] == b"/" else base + path)  # noqa: PTH116 - one for each module
        except OSError:
            found.append(NO_STATE)
            continue
        changed = status.st_ctime_ns
        device = status.st_dev & _DEVICE
        state = pack(status.st_size, status.st_mtime_ns, changed, status.st_ino, device)
        found.append(state if is_past(changed, now) else NO_STATE)
    return b"".join(found)


def _plain(name: str) -> str:
    """Return a name from a state, which is a file as hostile as any, if it is one of a file here."""
    if "/" in name:
        raise ValueError(name)
    return name
