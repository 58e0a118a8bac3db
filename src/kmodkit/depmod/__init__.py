"""depmod(8): from the modules of a tree to its ``modules.*`` files.

`generate` finds and reads the modules and returns the contents of all files; `write_files` puts them into place.
What is computed is in `kmodkit.core.depfiles`.
"""

from __future__ import annotations

import os

from kmodkit.core.deplines import Messages, sort_paths
from kmodkit.depmod.finding import Lists, find_modules, relative_path
from kmodkit.kernel.collector import without_collector
from kmodkit.kernel.opening import DEFAULT_MAX_SIZE

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from dataclasses import dataclass

    from kmodkit.config.depmod import DepmodConfig
    from kmodkit.core.kmodwrite import Layout
    from kmodkit.depmod.sources import load_config, read_symvers, read_system_map
    from kmodkit.depmod.writing import write_files
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

_HOME_OF = {
    "Layout": "kmodkit.core.kmodwrite",
    "load_config": "kmodkit.depmod.sources",
    "read_symvers": "kmodkit.depmod.sources",
    "read_system_map": "kmodkit.depmod.sources",
    "write_files": "kmodkit.depmod.writing",
}
"""What a run that finds little changed does without."""


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


@dataclass(frozen=True, slots=True)
class Generated:
    """The contents of depmod's files by name, and what there is to say of the modules.

    ``modules`` counts the modules, ``opened`` those whose files were read. ``changed`` names the files that are
    not in place already, None where that is not known.
    """

    files: Mapping[str, bytes]
    messages: tuple[tuple[str, str], ...]
    modules: int
    opened: int
    changed: tuple[str, ...] | None = None

    @property
    def unchanged(self) -> bool:
        """Whether ``files`` are those that are in place already."""
        return self.changed == ()


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
    layout: Layout | None = None,
    cache: str | os.PathLike[str] | None = None,
    previous: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    max_size: int = DEFAULT_MAX_SIZE,
) -> Generated:
    """Return what depmod writes for the modules of ``directory``, such as ``/lib/modules/RELEASE``.

    ``paths`` names the module files to take instead of all. ``config`` is what depmod.d says for the release
    (`load_config`). ``cache`` is a file that keeps what was read: a module whose file has not changed is not
    opened again. Beside it, in ``cache``.state, is noted what was made; where the directory ``previous`` has those
    files still, they are returned as they are if nothing has changed, and are gone on from if little has (see
    `kmodkit.core.depstate`). Compressed modules are read by ``jobs`` threads, as many as there are processors
    by default. A module that cannot be read is listed without dependencies, and named in the messages.

    Raises FileError where the directory or a list in it cannot be read, CyclesError where modules need each other,
    and KmodIndexError for an alias that no index can hold.
    """
    root = os.fspath(directory)
    log, late = Messages(), Messages()
    found = (
        find_modules(root, config, log)
        if paths is None
        else list(dict.fromkeys(relative_path(root, path) for path in paths))
    )
    lists = Lists(root, log, late)
    newest = layout is None or layout.value == "34"
    ordered = sort_paths(found, lists.lines(root, log), last=not newest)
    run = None
    if cache is not None and newest and (checks is None or checks == Checks()):
        from kmodkit.depmod.again import Run

        run = Run(f"{os.fspath(cache)}.state", root, ordered, lists)
        # What there was to say is said again by every run, so such a run is made in full.
        if previous is not None and not (log.lines or late.lines):
            kept = run.refresh(os.fspath(previous), max_size)
            if kept is not None:
                files, changed, opened = kept
                return Generated(files, (), len(ordered), opened, changed)
    from kmodkit.depmod.full import Work, generate_all

    work = Work(root, ordered, lists, checks or Checks(), layout, run)
    return generate_all(work, log, late, cache=cache, jobs=jobs, max_size=max_size)
