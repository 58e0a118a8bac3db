"""All of depmod's files made anew, from what the modules say."""

from __future__ import annotations

import contextlib
import os
from itertools import islice

from kmodkit.core import depfiles
from kmodkit.core.depfiles import DepModule
from kmodkit.core.deplines import Messages, module_name
from kmodkit.core.depstate import MOST
from kmodkit.core.kmodwrite import Layout
from kmodkit.depmod.finding import whole_path
from kmodkit.depmod.reading import Reader
from kmodkit.errors import FileError
from kmodkit.kernel.beside import MANY, beside

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kmodkit.core.symbols import Symbols
    from kmodkit.depmod import Checks, Generated
    from kmodkit.depmod.again import Run
    from kmodkit.depmod.finding import Lists
    from kmodkit.errors import KmodError


_ALIASES = "modules.alias.bin"


class Work:
    """What a run is made from: the paths of the modules in their order, and all that is beside them."""

    def __init__(
        self,
        root: str,
        paths: Sequence[bytes],
        lists: Lists,
        checks: Checks,
        layout: Layout | None,
        run: Run | None,
    ) -> None:
        self.root = root
        self.paths = paths
        self.lists = lists
        self.checks = checks
        self.layout = layout or Layout.PARENTS_FIRST
        self.run = run


def generate_all(
    work: Work,
    log: Messages,
    late: Messages,
    *,
    cache: str | os.PathLike[str] | None,
    jobs: int | None,
    max_size: int,
) -> Generated:
    """Return depmod's files; see `kmodkit.depmod.generate`. ``late`` has what is to be said at the end."""
    from kmodkit.depmod import Generated

    root, layout = work.root, work.layout
    reader = Reader(root, max_size, full=work.checks.unknown)
    facts = reader.read(work.paths, cache, jobs)
    modules = [DepModule(module_name(path), path, *fact) for path, fact in zip(work.paths, facts, strict=True)]
    _report_unread(modules, root, reader.failed, log)
    places: dict[str, bytes] | None = None if work.run is None else {}
    files, direct = _files(modules, work, reader, log, places)
    log.lines += late.lines
    files |= depfiles.builtin_files(work.lists.builtin, work.lists.modinfo, layout, log)
    if layout is Layout.CHILDREN_FIRST:
        del files["modules.weakdep"]  # came with kmod 33
    ordered: dict[str, bytes] = {name: files[name] for name in depfiles.FILES if name in files}
    if cache is not None and not reader.full:
        reader.save(cache)
    # What there was to say is said again by every run, so such a run is not gone on from.
    if work.run is not None and places is not None and not log.lines:
        tail = [(module.modinfo, bool(module.exports)) for module in modules[-MOST:]]
        work.run.save(direct, tail, ordered, places)
    return Generated(ordered, tuple(log.lines), len(modules), reader.opened)


def _files(
    modules: Sequence[DepModule], work: Work, reader: Reader, log: Messages, places: dict[str, bytes] | None
) -> tuple[dict[str, bytes], Sequence[Sequence[int]]]:
    """Return the files that come of modules, and which of these each needs directly."""
    root, checks, layout = work.root, work.checks, work.layout

    def infos() -> list[bytes]:
        own = Messages()
        where: dict[str, bytes] | None = None if places is None else {}
        made = depfiles.info_files(modules, layout, own, warn=checks.duplicates, places=where)
        said = [text.encode("utf-8", "surrogateescape") for line in own.lines for text in line]
        return [where[_ALIASES] if where else b"", *made.values(), *said]

    # Aliases and symbols need nothing of each other, and take as long.
    with beside(infos) if len(modules) >= MANY else contextlib.nullcontext(infos) as result:
        owners = depfiles.symbol_owners(modules, checks.kernel, checks.prefix)
        if checks.unknown:
            _check(modules, root, reader.symbols, owners, checks, log)
        show = _shower(root, log) if checks.show else None
        resolved = depfiles.resolve(modules, owners, prefix=checks.prefix, show=show)
        files = {**depfiles.dep_files(resolved, layout, places), **depfiles.symbol_files(resolved, layout)}
        pieces = iter(result())
    where = next(pieces)
    if places is not None:
        places[_ALIASES] = where
    files |= zip(depfiles.INFO_FILES, islice(pieces, len(depfiles.INFO_FILES)), strict=True)
    texts = [piece.decode("utf-8", "surrogateescape") for piece in pieces]
    log.lines += zip(texts[::2], texts[1::2], strict=True)
    return files, resolved.direct


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
