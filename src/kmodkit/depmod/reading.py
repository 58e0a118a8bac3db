"""The modules of a tree: which files to take, and what they say."""

from __future__ import annotations

import os
import time

from kmodkit.core.deplines import module_name
from kmodkit.core.elf import Elf
from kmodkit.core.modcache import Cache, FileState, ModuleFacts, decode_cache, encode_cache
from kmodkit.core.modinfo import MAX_MODINFO
from kmodkit.core.names import module_file_suffix, without_module_suffix
from kmodkit.core.symbols import Sections, Symbols, read_symbol_names, read_symbols
from kmodkit.errors import CacheError, FileError, FormatError, KmodError
from kmodkit.kernel.beside import MANY, can_fork, spread
from kmodkit.kernel.files import decompress, leads_to, replace_file
from kmodkit.kernel.opening import opened, read_file

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

    from kmodkit.config.depmod import DepmodConfig
    from kmodkit.core.deplines import Messages

MAX_CACHE: Final = 1 << 30
STAMP: Final = b""  # where the cache has what is no module's, as no path is empty
# A file can change twice within one tick of the kernel's clock and keep its times: 10 ms at most, and two seconds
# on file systems that keep whole ones.
_TICK: Final = 20_000_000
_COARSE_TICK: Final = 2_000_000_000


def find_modules(root: str, config: DepmodConfig, log: Messages | None = None) -> list[bytes]:
    """Return the module files to take, relative to ``root`` or absolute for external ones, sorted by path.

    Of several with one name `DepmodConfig.prefers` chooses. Links are followed; ``build`` and ``source`` are left
    out at every level, as are the names that ``config`` excludes. Raises FileError for a directory that cannot be
    read.
    """
    chosen: dict[bytes, str] = {}
    places = [(root, "")] + [(found.directory, found.directory + "/") for found in reversed(config.externals)]
    for place, prefix in places:
        try:
            paths = sorted(walk(place, config))
        except FileError as error:
            if place == root:
                raise
            if log is not None:
                log.error(f"could not open directory {error.filename}: {error.strerror}")
            continue
        for path in paths:
            whole = prefix + path
            name = module_name(os.fsencode(whole))
            before = chosen.get(name)
            if before is None or config.prefers(without_module_suffix(whole), without_module_suffix(before)):
                chosen[name] = whole
    return sorted(os.fsencode(path) for path in chosen.values())


def walk(root: str, config: DepmodConfig) -> Iterator[str]:
    """Yield every module file below ``root``, relative to it, in no order; raises FileError."""
    excluded = frozenset(("build", "source", *config.excludes))
    pending = [""]
    seen: set[tuple[int, int]] = set()
    while pending:
        prefix = pending.pop()
        directory = f"{root}/{prefix}"
        try:
            status = os.stat(directory)  # noqa: PTH116 - a Path for each directory costs more than the walk
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                for entry in entries:
                    name = entry.name
                    if name in excluded:
                        continue
                    if module_file_suffix(name) and leads_to(entry.is_file):
                        yield prefix + name
                    elif leads_to(entry.is_dir):
                        pending.append(f"{prefix}{name}/")
        except OSError as error:
            raise FileError.wrap(error, directory.rstrip("/")) from error


def relative_path(root: str, path: str) -> bytes:
    """Return ``path`` relative to ``root`` where it is below that."""
    return os.fsencode(path.removeprefix(root + "/"))


def whole_path(root: str, path: bytes) -> str:
    """Return the path of a module of the tree ``root``."""
    text = os.fsdecode(path)
    return text if text.startswith("/") else f"{root}/{text}"


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
        self.states: dict[bytes, FileState | None] = {}
        self.stamp = b""
        self._old: Cache = {}
        self._new: Cache = {}

    def read(
        self, paths: Sequence[bytes], cache: str | os.PathLike[str] | None, jobs: int | None
    ) -> list[ModuleFacts]:
        """Return what each file has; nothing for one that cannot be read, which is then in ``failed``."""
        if cache is None or self.full:
            return list(self._read_all(paths, jobs))
        old = self._old = load_cache(cache)
        self.stamp = old[STAMP][1].modinfo if STAMP in old else b""
        now = time.time_ns()
        states = self.states = {path: _state(whole_path(self.root, path)) for path in paths}
        facts = {path: old[path][1] for path in paths if path in old and old[path][0] == states[path]}
        rest = [path for path in paths if path not in facts]
        fresh = dict(zip(rest, self._read_all(rest, jobs), strict=True))
        facts.update(fresh)
        for path, state in states.items():
            if state is not None and path not in self.failed and (path not in fresh or _settled(state, now)):
                self._new[path] = (state, facts[path])
        return [facts[path] for path in paths]

    @property
    def settled(self) -> bool:
        """Whether a change of any module from now on would be seen."""
        return bool(self.states) and len(self._new) == len(self.states)

    def save(self, cache: str | os.PathLike[str], stamp: bytes) -> None:
        """Write what was read, and ``stamp``, to the cache, unless it has all that."""
        if stamp:
            self._new[STAMP] = (FileState(0, 0, 0, 0, 0), ModuleFacts(stamp, b"", b""))
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
            with opened(name) as fd:
                if path.endswith(b".ko"):
                    elf = Elf.parse(lambda offset, size: os.pread(fd, size, offset), os.fstat(fd).st_size)
                    return self._facts(path, elf)
            data = decompress(read_file(name, max_size=self.max_size), max_size=self.max_size)
            return self._facts(path, Elf.from_bytes(data))
        except FormatError as error:
            error.source = error.source or name
            self.failed[path] = error
        except FileError as error:
            self.failed[path] = error
        return ModuleFacts(b"", b"", b"")

    def _facts(self, path: bytes, elf: Elf) -> ModuleFacts:
        sections = Sections(elf)
        section = sections.find(b".modinfo")
        modinfo = b"" if section is None else elf.contents(section, limit=MAX_MODINFO)
        if self.full:
            found = self.symbols[path] = read_symbols(elf)
            names = [need.name for need in found.needs]
            return ModuleFacts(modinfo, b"\0".join([export.name for export in found.exports]), b"\0".join(names))
        exports, needs = read_symbol_names(elf, sections)
        return ModuleFacts(modinfo, b"\0".join(exports), b"\0".join(needs))


def load_cache(path: str | os.PathLike[str]) -> Cache:
    """Return a cache of modules; an empty one where the file is not there or is not good."""
    try:
        return decode_cache(read_file(path, max_size=MAX_CACHE), source=os.fspath(path))
    except (CacheError, FileError):
        return {}


def _state(path: str) -> FileState | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - one for each module
    except OSError:
        return None
    return FileState(
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev & (2**64 - 1)
    )


def _settled(state: FileState, now: int) -> bool:
    """Return whether a change from now on would be seen; a time to come says that the clock was set back."""
    tick = _TICK if state.ctime % 1_000_000_000 else _COARSE_TICK
    return state.ctime + tick < now
