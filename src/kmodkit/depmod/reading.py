"""What the modules of a tree say."""

from __future__ import annotations

import os
import time

from kmodkit.core.modcache import Cache, ModuleFacts, decode_cache, encode_cache
from kmodkit.core.symbols import read_symbols
from kmodkit.depmod.facts import modinfo_of, read_facts, with_elf
from kmodkit.depmod.finding import whole_path
from kmodkit.errors import CacheError, FileError, FormatError
from kmodkit.kernel.beside import MANY, can_fork, spread
from kmodkit.kernel.files import replace_file
from kmodkit.kernel.filestate import file_state, settled
from kmodkit.kernel.opening import read_file

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

    from kmodkit.core.elf import Elf
    from kmodkit.core.symbols import Symbols
    from kmodkit.errors import KmodError

MAX_CACHE: Final = 1 << 30
_MOST_PLAIN: Final = 4  # processes that read plain modules; more take longer to start than they save


class Reader:
    """Reads module files, or takes what a cache has of them."""

    def __init__(self, root: str, max_size: int, *, full: bool) -> None:
        self.root = root
        self.max_size = max_size
        self.full = full
        self.opened = 0
        self.failed: dict[bytes, KmodError] = {}
        self.symbols: dict[bytes, Symbols] = {}
        self._old: Cache = {}
        self._new: Cache = {}

    def read(
        self, paths: Sequence[bytes], cache: str | os.PathLike[str] | None, jobs: int | None
    ) -> list[ModuleFacts]:
        """Return what each file has; nothing for one that cannot be read, which is then in ``failed``."""
        if cache is None or self.full:
            return list(self._read_all(paths, jobs))
        old = self._old = load_cache(cache)
        now = time.time_ns()
        states = {path: file_state(whole_path(self.root, path)) for path in paths}
        facts = {path: old[path][1] for path in paths if path in old and old[path][0] == states[path]}
        rest = [path for path in paths if path not in facts]
        fresh = dict(zip(rest, self._read_all(rest, jobs), strict=True))
        facts.update(fresh)
        for path, state in states.items():
            if state is not None and path not in self.failed and (path not in fresh or settled([state], now)):
                self._new[path] = (state, facts[path])
        return [facts[path] for path in paths]

    def save(self, cache: str | os.PathLike[str]) -> None:
        """Write what was read to the cache, unless it has all that."""
        if self._new != self._old or not self._new:
            replace_file(cache, encode_cache(self._new))

    def _read_all(self, paths: Sequence[bytes], jobs: int | None) -> Iterator[ModuleFacts]:
        self.opened += len(paths)
        plain = all(path.endswith(b".ko") for path in paths)
        count = jobs or len(os.sched_getaffinity(0))
        many = MANY if plain else 2 * count
        if self.full or count == 1 or len(paths) < many or not can_fork():
            yield from self._read_here(paths, count, plain=plain)
            return
        # Processes, not threads, for packed modules too: reading symbols is Python, and who has unpacked a module
        # waits for it to let go of the interpreter. That took half as long again.
        count = min(count, _MOST_PLAIN) if plain else count
        for path, found in zip(paths, spread(paths, self._read_or_none, 3, count), strict=True):
            yield self._read(path) if found is None else ModuleFacts._make(found)

    def _read_here(self, paths: Sequence[bytes], jobs: int, *, plain: bool) -> Iterator[ModuleFacts]:
        """Read modules in this process."""
        if plain or jobs == 1:
            yield from map(self._read, paths)
            return
        from concurrent.futures import ThreadPoolExecutor  # brings logging along, 15 ms

        with ThreadPoolExecutor(jobs) as pool:
            try:
                yield from pool.map(self._read, paths)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _read_or_none(self, path: bytes) -> ModuleFacts | None:
        facts = self._read(path)
        return None if self.failed.pop(path, None) else facts

    def _read(self, path: bytes) -> ModuleFacts:
        name = whole_path(self.root, path)
        try:
            if self.full:
                return with_elf(name, self.max_size, lambda elf: self._symbols(path, elf))
            return read_facts(name, self.max_size)
        except (FormatError, FileError) as error:
            self.failed[path] = error
        return ModuleFacts(b"", b"", b"")

    def _symbols(self, path: bytes, elf: Elf) -> ModuleFacts:
        found = self.symbols[path] = read_symbols(elf)
        names = [need.name for need in found.needs]
        return ModuleFacts(
            modinfo_of(elf),
            b"\0".join([export.name for export in found.exports]),
            b"\0".join(names),
        )


def load_cache(path: str | os.PathLike[str]) -> Cache:
    """Return a cache of modules; an empty one where the file is not there or is not good."""
    try:
        return decode_cache(read_file(path, max_size=MAX_CACHE), source=os.fspath(path))
    except (CacheError, FileError):
        return {}
