"""Which files of a tree depmod takes, and the lists of the kernel beside them.

Nothing here imports more than an incremental run can afford.
"""

from __future__ import annotations

import os

from kmodkit.core.deplines import module_name
from kmodkit.core.names import MODULE_SUFFIXES
from kmodkit.errors import FileError
from kmodkit.kernel.opening import read_file

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from kmodkit.config.depmod import DepmodConfig
    from kmodkit.core.deplines import Messages

MAX_LIST: Final = 64 << 20
_SUFFIXES: Final = tuple(suffix.encode() for suffix in MODULE_SUFFIXES)


def find_modules(root: str, config: DepmodConfig | None = None, log: Messages | None = None) -> list[bytes]:
    """Return the module files to take, relative to ``root`` or absolute for external ones, sorted by path.

    Of several with one name `DepmodConfig.prefers` chooses. Links are followed; ``build`` and ``source`` are left
    out at every level, as are the names that ``config`` excludes. Raises FileError for a directory that cannot be
    read.
    """
    chosen: dict[bytes, bytes] = {}
    excludes = config.excludes if config is not None else ()
    externals = reversed(config.externals) if config is not None else ()
    for place, prefix in [
        (root, b""),
        *[(each.directory, os.fsencode(each.directory) + b"/") for each in externals],
    ]:
        try:
            paths = sorted(walk(place, excludes))
        except FileError as error:
            if place == root:
                raise
            if log is not None:
                log.error(f"could not open directory {error.filename}: {error.strerror}")
            continue
        for path in paths:
            whole = prefix + path
            name = module_name(whole)
            if name not in chosen or _preferred(config, whole, chosen[name]):
                chosen[name] = whole
    return sorted(chosen.values())


def _preferred(config: DepmodConfig | None, new: bytes, old: bytes) -> bool:
    from kmodkit.config.depmod import DepmodConfig
    from kmodkit.core.names import without_module_suffix

    paths = (without_module_suffix(os.fsdecode(path)) for path in (new, old))
    return (config or DepmodConfig().for_release("")).prefers(*paths)


def walk(root: str, excludes: tuple[str, ...] = ()) -> Iterator[bytes]:
    """Yield every module file below ``root``, relative to it, in no order; raises FileError."""
    excluded = frozenset((b"build", b"source", *map(os.fsencode, excludes)))
    base = os.fsencode(root)
    pending = [b""]
    seen: set[tuple[int, int]] = set()
    while pending:
        prefix = pending.pop()
        directory = b"%b/%b" % (base, prefix)
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
                    try:
                        if name.endswith(_SUFFIXES) and entry.is_file():
                            yield prefix + name
                        elif entry.is_dir():
                            pending.append(b"%b%b/" % (prefix, name))
                    except OSError:  # a link in a circle, which is as good as one to nowhere
                        continue
        except OSError as error:
            raise FileError.wrap(error, os.fsdecode(directory).rstrip("/")) from error


def relative_path(root: str, path: str) -> bytes:
    """Return ``path`` relative to ``root`` where it is below that."""
    return os.fsencode(path.removeprefix(root + "/"))


def whole_path(root: str, path: bytes) -> str:
    """Return the path of a module of the tree ``root``."""
    text = os.fsdecode(path)
    return text if text.startswith("/") else f"{root}/{text}"


class Lists:
    """The kernel's own lists in a tree, each None where it cannot be read."""

    __slots__ = ("builtin", "modinfo", "order")

    def __init__(self, root: str, log: Messages, late: Messages) -> None:
        """Read them; what is missing is named in ``log`` for the first one, in ``late`` for the others."""
        self.order = _list(root, "modules.order", log)
        self.builtin = _list(root, "modules.builtin", late)
        self.modinfo = _list(root, "modules.builtin.modinfo", late)

    def lines(self, root: str, log: Messages) -> list[bytes]:
        """Return the lines of modules.order."""
        order = self.order or b""
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
