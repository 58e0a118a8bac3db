"""Scan a module tree to a `Catalog`, and keep catalogs in meta.pb files."""

from __future__ import annotations

import os

from kmodkit.core.catalog import DEFAULT_SEARCH, Catalog, Module, file_rank
from kmodkit.core.modinfo import MAX_ALIAS, ModuleInfo, parse_builtin_modinfo
from kmodkit.core.names import name_from_path, to_text
from kmodkit.errors import (
    CycleError,
    FileError,
    FormatError,
    KmodError,
    ModinfoError,
    ScanError,
    TreeError,
    UnknownDependencyError,
)
from kmodkit.kernel.beside import MANY, spread
from kmodkit.kernel.collector import without_collector
from kmodkit.kernel.files import ModuleTree, find_tree, read_section, replace_file
from kmodkit.kernel.opening import DEFAULT_MAX_SIZE, read_file
from kmodkit.meta.search import MAX_METADATA
from kmodkit.scancache import ScanCache

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from dataclasses import dataclass
    from typing import Final
else:
    from kmodkit.core.values import dataclass


_PROCESSES: Final = 2  # that read plain modules; more would take longer to start than they save
_NOT_UTF_8: Final = "the name of the file or the module is not UTF-8"


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan found.

    ``skipped`` has an error for each file that could not be read, in the order of their paths; the modules in
    them are missing from ``catalog``. ``problems`` adds what is wrong with the modules that were read.
    ``hidden`` has the parts of the kernel that have no place in the catalog, as the name is that of a module
    file, and that ask for firmware.
    """

    tree: ModuleTree
    catalog: Catalog
    skipped: tuple[KmodError, ...] = ()
    hidden: tuple[Module, ...] = ()

    @property
    def problems(self) -> tuple[KmodError, ...]:
        """What was skipped, dependencies on unknown modules, and dependency cycles."""
        unknown = self.catalog.unknown_dependencies
        return (
            *self.skipped,
            *(UnknownDependencyError(name, need) for name, needs in unknown.items() for need in needs),
            *(CycleError(cycle) for cycle in self.catalog.cycles()),
        )


def scan(
    tree: str | os.PathLike[str] | ModuleTree | None = None,
    *,
    strict: bool = False,
    search: Sequence[str] = DEFAULT_SEARCH,
    max_size: int = DEFAULT_MAX_SIZE,
    jobs: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> ScanResult:
    """Read every module of a tree, and what the kernel has built in, to a catalog.

    ``tree`` is as for `find_tree`. A file that cannot be read is skipped and reported in the result; with
    ``strict``, any problem ends in a ScanError of all. ``search`` orders directories as depmod.d(5) does.
    ``max_size`` bounds a module's size unpacked, in bytes. Compressed modules are read by ``jobs`` threads, as
    many as there are processors to use by default. ``progress`` is called with the number of modules read and
    of all, from time to time and at the end. ``cache`` is a file that keeps what was read: a module whose file has
    not changed, by all that stat(2) says, is not opened again.

    Raises TreeError where there is no tree or no module in it, and FileError where a directory or one of the
    kernel's own lists cannot be read, or the cache cannot be written.
    """
    found = tree if isinstance(tree, ModuleTree) else find_tree(tree)
    paths = found.module_paths()
    kept = None if cache is None else ScanCache(cache, found.root, paths)
    outcome = scan_paths(found, paths, kept, search=search, max_size=max_size, jobs=jobs, progress=progress)
    if kept is not None:
        kept.save()
    if strict and (problems := outcome.problems):
        raise ScanError(problems)
    return outcome


@without_collector
def scan_paths(
    found: ModuleTree,
    paths: Sequence[str],
    cache: ScanCache | None = None,
    *,
    search: Sequence[str] = DEFAULT_SEARCH,
    max_size: int = DEFAULT_MAX_SIZE,
    jobs: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> ScanResult:
    """Read the modules of a tree at ``paths``, with what ``cache`` has of them; see `scan` for the rest."""
    files: list[Module] = []
    skipped: list[KmodError] = []
    for done, result in enumerate(_read_all(found.root, paths, cache, max_size, jobs), 1):
        if isinstance(result, Module):
            files.append(result)
        else:
            skipped.append(result)
        if progress is not None and (done % 64 == 0 or done == len(paths)):
            progress(done, len(paths))
    parts = builtin_modules(found)
    builtin = _less_files(parts, files, _lines(found, "modules.builtin"))
    hidden = [Module.from_info(info) for info in parts if info.firmware and info not in builtin]
    if not paths and not builtin:
        raise TreeError(found.root, "no modules here")
    catalog = Catalog.from_modules(
        [*files, *map(Module.from_info, builtin)], order=_lines(found, "modules.order"), search=search
    )
    return ScanResult(found, catalog, tuple(skipped), tuple(hidden))


def module_files(tree: ModuleTree, *, search: Sequence[str] = DEFAULT_SEARCH) -> dict[str, str]:
    """Return the path of each module by the name its file has, without opening any; see `scan` for ``search``."""
    paths = sorted(tree.module_paths(), key=lambda path: file_rank(path, search), reverse=True)
    return {name_from_path(path): path for path in paths}


def builtin_modules(tree: ModuleTree) -> list[ModuleInfo]:
    """Return the modules that a tree's ``modules.builtin.modinfo`` and ``modules.builtin`` say are built in.

    Raises FileError where one of the lists is there and cannot be read.
    """
    data = tree.read_text("modules.builtin.modinfo") or b""
    listed = dict.fromkeys(map(name_from_path, _lines(tree, "modules.builtin")))
    # The first list also has parts of the kernel that never are modules, such as acpi and vt. They are of use
    # only for their aliases and firmware, and must not answer to a name that is another module's alias.
    infos = {
        info.name: info
        for info in parse_builtin_modinfo(data, merge=True)
        if info.name in listed or info.aliases or info.firmware or not listed
    }
    for name in listed:
        infos.setdefault(name, ModuleInfo((("name", name),)))
    return list(infos.values())


def load_metadata(path: str | os.PathLike[str]) -> Catalog:
    """Return the catalog in a meta.pb file; raises FileError and MetadataError."""
    from kmodkit.meta.codec import decode  # protobuf takes 40 ms, which only its users should pay

    return decode(read_file(path, max_size=MAX_METADATA), source=os.fspath(path))


def open_metadata(path: str | os.PathLike[str]) -> Catalog:
    """Return the catalog in a meta.pb file without decoding all of it.

    It gives the answers of `load_metadata`, the first of them a hundred times sooner, and reads what each
    question needs; so MetadataError for a corrupt file may come from any of its methods. Raises FileError and
    MetadataError.
    """
    from kmodkit.meta.wire import WireCatalog

    return WireCatalog(read_file(path, max_size=MAX_METADATA), source=os.fspath(path))


def save_metadata(catalog: Catalog, path: str | os.PathLike[str]) -> int:
    """Write ``catalog`` to a meta.pb file, whole or not at all, and return its size in bytes.

    Raises FileError, and MetadataError for a catalog that the format cannot hold.
    """
    data = encode_metadata(catalog)
    replace_file(path, data)
    return len(data)


@without_collector
def encode_metadata(catalog: Catalog) -> bytes:
    """Return the bytes of a meta.pb; raises MetadataError."""
    from kmodkit.meta.codec import encode

    return encode(catalog)


def _read_all(
    root: str, paths: Sequence[str], cache: ScanCache | None, max_size: int, jobs: int | None
) -> Iterator[Module | KmodError]:
    """Yield for each path what the module says, or why it cannot be read, in order."""

    def read(path: str) -> bytes | KmodError:
        section = None if cache is None else cache.get(path)
        try:
            return read_section(f"{root}/{path}", max_size=max_size) if section is None else section
        except UnicodeError:
            return FileError(None, _NOT_UTF_8, f"{root}/{path}")
        except (FormatError, FileError) as error:
            return error

    for path, found in zip(paths, _sections(paths, read, jobs), strict=True):
        if isinstance(found, bytes):
            if cache is not None:
                cache.keep(path, found)
            yield _module(root, path, found)
        else:
            yield found


def _module(root: str, path: str, section: bytes) -> Module | KmodError:
    try:
        path.encode()
        module = Module.from_section(section, path)
        module.name.encode()
    except UnicodeError:
        return FileError(None, _NOT_UTF_8, f"{root}/{path}")
    if module.aliases and max(map(len, module.aliases)) > MAX_ALIAS:
        return ModinfoError(f"an alias is longer than {MAX_ALIAS} bytes", source=f"{root}/{path}")
    return module


def _sections(
    paths: Sequence[str], read: Callable[[str], bytes | KmodError], jobs: int | None
) -> Iterator[bytes | KmodError]:
    """Yield what ``read`` gives for each path, on both of two processors."""
    # Reading a plain module is all Python and a few preads: threads only add to it (118 ms against 77 for 4,022
    # modules), a second process takes half. Unpacking is C without the interpreter's lock, so threads do.
    if all(path.endswith(".ko") for path in paths):
        if len(paths) < MANY or jobs == 1:
            yield from map(read, paths)
            return

        def pieces(path: str) -> tuple[bytes] | None:
            section = read(path)
            return (section,) if isinstance(section, bytes) else None

        for path, found in zip(paths, spread(paths, pieces, 1, _PROCESSES), strict=True):
            yield read(path) if found is None else found[0]
        return
    from concurrent.futures import ThreadPoolExecutor  # brings logging along

    with ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        try:
            yield from pool.map(read, paths)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _less_files(builtin: Sequence[ModuleInfo], files: Sequence[Module], listed: Sequence[str]) -> list[ModuleInfo]:
    """Return ``builtin`` without what has the name of a file and is not in ``listed``, where that has anything.

    modules.builtin.modinfo also names parts of the kernel that never are modules. Linux 6.12 has ``core`` there,
    for several of them, and c2port's core.ko beside it; on s390x ``keyboard`` has aliases there.
    """
    sure = set(map(name_from_path, listed)) or {info.name for info in builtin}
    doubtful = {module.name for module in files} - sure
    return [info for info in builtin if info.name not in doubtful]


def _lines(tree: ModuleTree, name: str) -> list[str]:
    return [line for line in to_text(tree.read_text(name) or b"").splitlines() if line]
