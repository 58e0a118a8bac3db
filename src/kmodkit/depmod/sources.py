"""What depmod reads beside modules: depmod.d, ``System.map`` and ``Module.symvers``."""

from __future__ import annotations

import os

from kmodkit.config.depmod import DIRECTORIES, DepmodConfig
from kmodkit.depmod.finding import MAX_LIST
from kmodkit.kernel.opening import read_file

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def load_config(release: str, paths: Iterable[str] | None = None) -> DepmodConfig:
    """Return what depmod.d(5) says for a kernel's release.

    ``paths`` are files and directories to read instead of the usual ones; what is not there is left out.
    """
    chosen: dict[str, str] = {}
    for place in DIRECTORIES if paths is None else paths:
        for name, path in _config_files(place):
            chosen.setdefault(name, path)
    files = [(chosen[name], read_file(chosen[name], max_size=MAX_LIST)) for name in sorted(chosen)]
    return DepmodConfig.parse(files).for_release(release)


def _config_files(place: str) -> Iterator[tuple[str, str]]:
    if os.path.isdir(place):  # noqa: PTH112 - pathlib is 5 ms of an incremental run
        with os.scandir(place) as entries:
            names = sorted(entry.name for entry in entries if not entry.is_dir())
        for name in names:
            if name.endswith(".conf") and not name.startswith(".") and name != ".conf":
                yield name, f"{place}/{name}"
    elif os.path.isfile(place):  # noqa: PTH113 - see above
        yield place.rpartition("/")[2], place


def read_system_map(path: str) -> tuple[dict[bytes, int], list[str]]:
    """Return the symbols that a ``System.map`` says the kernel exports, and a line for each line that is none."""
    found: dict[bytes, int] = {}
    problems = []
    for number, line in enumerate(read_file(path, max_size=MAX_LIST).splitlines(), 1):
        words = line.split(b" ", 2)
        if len(words) < 3:
            problems.append(f"{path}:{number}: invalid line: {os.fsdecode(line)}")
        elif words[2].startswith(b"__ksymtab_"):
            found[words[2][10:]] = 0
    return found, problems


def read_symvers(path: str) -> tuple[dict[bytes, int], list[str]]:
    """Return the kernel's symbols in a ``Module.symvers`` with their checksums, and a line for each bad one."""
    found: dict[bytes, int] = {}
    problems = []
    for number, line in enumerate(read_file(path, max_size=MAX_LIST).splitlines(), 1):
        words = line.split()
        if len(words) < 3 or words[2] != b"vmlinux":
            continue
        try:
            found[words[1]] = int(words[0], 16) & (2**64 - 1)
        except ValueError:
            problems.append(f"{path}:{number} Invalid symbol version {os.fsdecode(words[0])}")
    return found, problems
