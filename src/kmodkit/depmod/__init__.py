"""depmod(8): from the modules of a tree to its ``modules.*`` files.

`generate` finds and reads the modules and returns the contents of all files; `write_files` puts them into place.
What is computed is in `kmodkit.core.depfiles`.
"""

from __future__ import annotations

import contextlib
import os
from itertools import islice

from kmodkit.config.depmod import DepmodConfig
from kmodkit.core import depfiles
from kmodkit.core.depfiles import DepModule
from kmodkit.core.deplines import Messages, module_name
from kmodkit.core.kmodwrite import Layout
from kmodkit.depmod.reading import Reader, find_modules, relative_path, whole_path
from kmodkit.depmod.sources import MAX_LIST, load_config, read_symvers, read_system_map
from kmodkit.depmod.stamp import inputs_digest, make_stamp, unchanged_files
from kmodkit.depmod.writing import write_files
from kmodkit.errors import FileError, KmodError
from kmodkit.kernel.beside import MANY, beside
from kmodkit.kernel.collector import without_collector
from kmodkit.kernel.files import DEFAULT_MAX_SIZE
from kmodkit.kernel.opening import read_file

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from dataclasses import dataclass

    from kmodkit.core.symbols import Symbols
else:
    from kmodkit.core.values import dataclass

__all__ = [
    "Checks",
    "Generated",
    "Layout",
    "generate",
    "load_config",
    "read_symvers",
    "read_system_map",
    "write_files",
]


@dataclass(frozen=True, slots=True)
class Generated:
    """The contents of depmod's files by name, and what there is to say of the modules.

    ``modules`` counts the modules, ``opened`` those whose files were read. ``unchanged`` says that ``files`` are
    those that are in place already.
    """

    files: Mapping[str, bytes]
    messages: tuple[tuple[str, str], ...]
    modules: int
    opened: int
    unchanged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What depmod's options ask for beside the files.

    ``kernel`` maps the kernel's own symbols to their checksums (`read_system_map`, `read_symvers`). With
    ``unknown`` a warning names each symbol that nobody has, and with ``versions`` each whose checksum differs.
    ``prefix`` is a byte to ignore at the start of symbols. ``duplicates`` warns of what is there twice, and
    ``show`` says which symbol makes a module need another.
    """

    kernel: Mapping[bytes, int] | None = None
    unknown: bool = False
    versions: bool = False
    prefix: bytes = b""
    duplicates: bool = False
    show: bool = False


@without_collector
def generate(
    directory: str | os.PathLike[str],
    *,
    paths: Sequence[str] | None = None,
    config: DepmodConfig | None = None,
    checks: Checks | None = None,
    layout: Layout = Layout.PARENTS_FIRST,
    cache: str | os.PathLike[str] | None = None,
    previous: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    max_size: int = DEFAULT_MAX_SIZE,
) -> Generated:
    """Return what depmod writes for the modules of ``directory``, such as ``/lib/modules/RELEASE``.

    ``paths`` names the module files to take instead of all. ``config`` is what depmod.d says for the release
    (`load_config`). ``cache`` is a file that keeps what was read: a module whose file has not changed is not
    opened again, and where nothing at all has, and the directory ``previous`` has the files that were made then,
    they are returned as they are. Compressed modules are read by ``jobs`` threads, as many as there are processors
    by default. A module that cannot be read is listed without dependencies, and named in the messages.

    Raises FileError where the directory or a list in it cannot be read, CyclesError where modules need each other,
    and KmodIndexError for an alias that no index can hold.
    """
    root = os.fspath(directory)
    checks = checks or Checks()
    config = config or DepmodConfig().for_release("")
    log = Messages()
    found = (
        find_modules(root, config, log)
        if paths is None
        else list(dict.fromkeys(relative_path(root, path) for path in paths))
    )
    reader = Reader(root, max_size, full=checks.unknown)
    facts = reader.read(found, cache, jobs)
    order = _list(root, "modules.order", log)
    late = Messages()
    builtin = _list(root, "modules.builtin", late)
    modinfo = _list(root, "modules.builtin.modinfo", late)
    inputs = ""
    if reader.states and checks == Checks():
        inputs = inputs_digest(reader.states, (order, builtin, modinfo), layout.value, root)
        kept = unchanged_files(reader.stamp, inputs, os.fspath(previous)) if previous is not None else None
        if kept is not None and not log.lines and not late.lines:
            return Generated(kept, (), len(found), reader.opened, unchanged=True)
    modules = [DepModule(module_name(path), path, *fact) for path, fact in zip(found, facts, strict=True)]
    modules = depfiles.sort_modules(modules, _lines(root, order, log))
    _report_unread(modules, root, reader.failed, log)
    files = _files(modules, root, reader, checks, layout, log)
    log.lines += late.lines
    files |= depfiles.builtin_files(builtin, modinfo, layout, log)
    if layout is Layout.CHILDREN_FIRST:
        del files["modules.weakdep"]  # came with kmod 33
    ordered: dict[str, bytes] = {name: files[name] for name in depfiles.FILES if name in files}
    if cache is not None and reader.states:
        # What there was to say is said again by every run, so such a run is not left out.
        reader.save(cache, make_stamp(inputs, ordered) if inputs and reader.settled and not log.lines else b"")
    return Generated(ordered, tuple(log.lines), len(modules), reader.opened)


def _files(
    modules: Sequence[DepModule], root: str, reader: Reader, checks: Checks, layout: Layout, log: Messages
) -> dict[str, bytes]:
    """Return the files that come of modules."""
    owners = depfiles.symbol_owners(modules, checks.kernel, checks.prefix)
    if checks.unknown:
        _check(modules, root, reader.symbols, owners, checks, log)
    show = _shower(root, log) if checks.show else None
    resolved = depfiles.resolve(modules, owners, prefix=checks.prefix, show=show)

    def infos() -> list[bytes]:
        own = Messages()
        made = depfiles.info_files(modules, layout, own, warn=checks.duplicates)
        said = [text.encode("utf-8", "surrogateescape") for line in own.lines for text in line]
        return [*made.values(), *said]

    with beside(infos) if len(modules) >= MANY else contextlib.nullcontext(infos) as result:
        files = {**depfiles.dep_files(resolved, layout), **depfiles.symbol_files(resolved, layout)}
        pieces = iter(result())
    files |= zip(depfiles.INFO_FILES, islice(pieces, len(depfiles.INFO_FILES)), strict=True)
    texts = [piece.decode("utf-8", "surrogateescape") for piece in pieces]
    log.lines += zip(texts[::2], texts[1::2], strict=True)
    return files


def _lines(root: str, order: bytes | None, log: Messages) -> list[bytes]:
    """Return the lines of modules.order."""
    order = order or b""
    if order and not order.endswith(b"\n"):
        # It was cut short, so what it says of the order is not used.
        number = order.count(b"\n") + 1
        log.error(rf"{root}/modules.order:{number} corrupted line misses '\n'")
        return []
    return order.split(b"\n")


def _list(root: str, name: str, log: Messages) -> bytes | None:
    path = f"{root}/{name}"
    try:
        return read_file(path, max_size=MAX_LIST)
    except FileError as error:
        log.warning(f"could not open {name} at {root}: {error.strerror}")
        return None


def _report_unread(
    modules: Sequence[DepModule], root: str, failed: Mapping[bytes, KmodError], log: Messages
) -> None:
    for module in modules:
        error = failed.get(module.path)
        if error is not None:
            reason = error.strerror if isinstance(error, FileError) else getattr(error, "reason", str(error))
            log.error(f"failed to load symbols from {whole_path(root, module.path)}: {reason}")


def _shower(root: str, log: Messages) -> Callable[[DepModule, bytes, DepModule], object]:
    def show(module: DepModule, symbol: bytes, owner: DepModule) -> None:
        log.show(f'{whole_path(root, module.path)} needs "{os.fsdecode(symbol)}": {whole_path(root, owner.path)}')

    return show


def _check(
    modules: Sequence[DepModule],
    root: str,
    symbols: Mapping[bytes, Symbols],
    owners: Mapping[bytes, int],
    checks: Checks,
    log: Messages,
) -> None:
    """Warn of symbols that nobody has, and of those whose checksum is another one."""
    crcs = dict(checks.kernel or {})
    for module in modules:
        if module.path in symbols:
            crcs.update(symbols[module.path].exports)
    for module in modules:
        for need in symbols[module.path].needs if module.path in symbols else ():
            name = depfiles.found_name(need.name, checks.prefix)
            text = os.fsdecode(need.name)
            if need.weak:
                continue
            if name not in owners:
                log.warning(f"{whole_path(root, module.path)} needs unknown symbol {text}")
            elif checks.versions and crcs.get(name, 0) != need.crc:
                log.warning(f"{whole_path(root, module.path)} disagrees about version of symbol {text}")
