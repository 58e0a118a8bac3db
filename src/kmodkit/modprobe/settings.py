"""modprobe's configuration as it lies on disk: directories in order, one hiding the files of the next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from kmodkit.config.modprobe import ModprobeConfig, Origin, Problem, parse_modprobe_conf
from kmodkit.errors import FileError
from kmodkit.kernel.opening import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DIRECTORIES: Final = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
"""Where files are looked for, first come first: the order of modprobe.d(5)."""

_TREE_FILES: Final = ("modules.softdep", "modules.weakdep")
_MAX_SIZE: Final = 64 << 20


def load_config(
    tree: str | None, places: Iterable[str] | None = None, *, cmdline: str | None = "/proc/cmdline"
) -> ModprobeConfig:
    """Return the configuration for the modules of ``tree``, a directory such as ``/lib/modules/RELEASE``.

    ``places`` are files and directories to read instead of the usual ones; what is not there is left out. Files
    sort by base name over all of them, and the tree's modules.softdep and modules.weakdep, as if they lay there
    too, among them. ``cmdline`` is the kernel's command line, which counts last; None for another root, since the
    one of this kernel says nothing there. Never raises for a file: what is wrong is in ``problems``.
    """
    problems: list[Problem] = []
    chosen: dict[bytes, str] = {}
    for place in DIRECTORIES if places is None else places:
        for name, path in _files(place, problems):
            chosen.setdefault(os.fsencode(name), path)
    for name in _TREE_FILES if tree is not None else ():
        if os.path.lexists(f"{tree}/{name}"):
            chosen.setdefault(name.encode(), f"{tree}/{name}")
    parts = [ModprobeConfig(problems=tuple(problems))]
    parts += (_read(chosen[name]) for name in sorted(chosen))
    if cmdline is not None:
        parts.append(_read_cmdline(cmdline))
    return ModprobeConfig.join(parts)


def _files(place: str, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    """Yield base name and path of the files that ``place``, a file or a directory, holds."""
    if os.path.isfile(place):  # noqa: PTH113 - pathlib is 10 ms of the start
        yield place.rpartition("/")[2], place
        return
    try:
        with os.scandir(place) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if not entry.name.endswith(".conf") or entry.name.startswith("."):
            continue
        path = f"{place}/{entry.name}"
        if entry.is_dir():
            problems.append(Problem(f"Directories inside directories are not supported: {path}", Origin(path, 0)))
        elif not os.path.exists(path):  # noqa: PTH110
            problems.append(Problem(f"Cannot stat directory entry: {path}", Origin(path, 0)))
        else:
            yield entry.name, path


def _read(path: str) -> ModprobeConfig:
    try:
        # /dev/null as a file of the directory means an empty one that hides others.
        data = read_file(path, max_size=_MAX_SIZE) if os.path.isfile(path) else b""  # noqa: PTH113
    except FileError as error:
        return ModprobeConfig(problems=(Problem(str(error), Origin(path, 0)),))
    return parse_modprobe_conf(data, path)


def _read_cmdline(path: str) -> ModprobeConfig:
    from kmodkit.config.cmdline import parse_cmdline

    try:
        return parse_cmdline(read_file(path, max_size=_MAX_SIZE), path)
    except FileError:
        return ModprobeConfig()
