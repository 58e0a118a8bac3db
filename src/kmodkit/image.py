"""Images: chosen modules and their firmware as a directory, a tar or a newc cpio archive.

`Image.of` says what an image is to hold, as values; the functions that write it read each file when its turn
comes. The same parts make the same bytes, whatever the machine: entries are sorted, owned by root, of mode 0644
or 0755 and one time, and cpio's inode numbers count from 1.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from kmodkit.core.catalog import Catalog
from kmodkit.core.cpio import Entry, pack
from kmodkit.core.names import MODULE_SUFFIXES, module_file_suffix, without_module_suffix
from kmodkit.depmod import generate
from kmodkit.errors import ArgumentError, FileError
from kmodkit.kernel.compress import compressed
from kmodkit.kernel.files import read_module_bytes, replace_directory, replacing
from kmodkit.kernel.opening import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from _typeshed import ReadableBuffer

    from kmodkit.core.selection import Reason, Selection
    from kmodkit.firmware import FirmwareSelection, Need
    from kmodkit.kernel.compress import Compression

PREFIX: Final = "usr/lib"
"""Where modules and firmware go by default: where ``/lib`` is a link to ``usr/lib``, as on merged systems."""

_MAX_FILE: Final = (1 << 32) - 1
_LISTS: Final = ("modules.builtin", "modules.builtin.modinfo", "modules.order")
_MAX_LIST: Final = 64 << 20

Kind = Literal["module", "firmware", "index"]


@dataclass(frozen=True, slots=True)
class Part:
    """One file or link of an image, and why it is there.

    ``path`` is below the image's root; ``name`` the module's name, the firmware's path below its directory or the
    index file's name. ``size`` is in bytes, as stored; that of a link is 0. A file's contents are those of
    ``source``, unpacked where ``unpack``, or where that is None ``data``; a link has a ``target``.
    ``needs`` has what asks for a piece of firmware, ``chain`` the reasons for a module, or for the first module
    that asks.
    """

    path: str
    kind: Kind
    name: str
    size: int
    source: str | None = None
    data: bytes = b""
    target: str | None = None
    unpack: bool = False
    needs: tuple[Need, ...] = ()
    chain: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """What an image holds: its parts, sorted by path."""

    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        selection: Selection,
        firmware: FirmwareSelection,
        *,
        tree: str,
        release: str,
        prefix: str = PREFIX,
        unpack: bool = False,
        indexes: Mapping[str, bytes] | None = None,
    ) -> Image:
        """Return the image of chosen modules, whose files are below ``tree``, and of their firmware.

        They go to ``PREFIX/modules/RELEASE`` and ``PREFIX/firmware``; prefix and release may be empty. With
        ``unpack``, compressed modules are stored plain, which a compressed archive makes up for more than once.
        ``indexes`` are further files for the module directory, by name. Raises FileError for a file that is not
        there, and ArgumentError for a release or prefix that is no path to put files below.
        """
        places = [place for place in (prefix, release) if place]
        if "/" in release or not all(map(_is_relative, places)):
            raise ArgumentError(f"no place for modules: {prefix!r}, release {release!r}")
        top = f"{prefix}/" if prefix else ""
        modules = f"{top}modules/{release}" if release else f"{top}modules"
        chains = {chosen.module.name: chosen.chain for chosen in selection.chosen}
        parts = []
        for module in selection.modules:
            path = module.path or ""
            source = f"{tree}/{path}"
            stored = stored_path(path, unpack=unpack)
            packed = stored != path
            size = len(read_module_bytes(source)) if packed else _size(source)
            parts.append(
                Part(
                    f"{modules}/{stored}",
                    "module",
                    module.name,
                    size,
                    source,
                    unpack=packed,
                    chain=chains[module.name],
                )
            )
        parts += _firmware(firmware, f"{top}firmware", chains)
        parts += [
            Part(f"{modules}/{name}", "index", name, len(data), data=data)
            for name, data in (indexes or {}).items()
        ]
        return cls(tuple(sorted(parts, key=lambda part: os.fsencode(part.path))))

    @property
    def size(self) -> int:
        """The bytes of all contents."""
        return sum(part.size for part in self.parts)


def stored_path(path: str, *, unpack: bool) -> str:
    """Return the path that a module file has in an image, where ``unpack`` that of a plain one."""
    return without_module_suffix(path) + MODULE_SUFFIXES[0] if unpack and module_file_suffix(path) else path


def stored_catalog(selection: Selection, *, unpack: bool) -> Catalog:
    """Return the catalog of what an image has, with the paths that files have in it."""
    return Catalog(
        tuple(
            module if module.path is None else replace(module, path=stored_path(module.path, unpack=unpack))
            for module in selection.subset()
        )
    )


def module_indexes(
    selection: Selection, tree: str, *, unpack: bool = False, jobs: int | None = None
) -> dict[str, bytes]:
    """Return the kernel's own lists in ``tree``, and what depmod writes for the modules that an image has.

    Raises FileError, and what `kmodkit.depmod.generate` raises.
    """
    lists = {name: read_file(f"{tree}/{name}", max_size=_MAX_LIST) for name in _LISTS if Path(tree, name).exists()}
    if not selection.modules:
        return lists
    with tempfile.TemporaryDirectory(prefix="kmodkit-") as top:
        for name, data in lists.items():
            Path(top, name).write_bytes(data)
        # Links to what is stored as it is; depmod's files name modules as the image does.
        for module in selection.modules:
            path = module.path or ""
            place = Path(top, stored_path(path, unpack=unpack))
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.name == path.rpartition("/")[2]:
                place.symlink_to(os.path.realpath(f"{tree}/{path}"))
            else:
                place.write_bytes(read_module_bytes(f"{tree}/{path}"))
        return lists | dict(generate(top, jobs=jobs).files)


# --- archives -----------------------------------------------------------------------------------------------


def write_cpio(
    image: Image,
    path: str | os.PathLike[str],
    *,
    compression: Compression = "none",
    level: int | None = None,
    mtime: int = 0,
    jobs: int | None = None,
) -> int:
    """Write a newc cpio archive, as the kernel unpacks one, and return its size in bytes.

    ``compression`` is ``none``, ``gz``, ``xz`` or ``zst``; ``jobs`` only says how many threads zstd takes.
    Raises FileError, and leaves what ``path`` was where anything fails.
    """
    by_path = {part.path: part for part in image.parts}
    entries = [_entry(part, mtime) for part in image.parts]
    directories = [Entry(name, stat.S_IFDIR | 0o755, nlink=2, mtime=mtime) for name in _directories(image)]
    pieces = pack([*directories, *entries], mtime=None, contents=lambda entry: _contents(by_path[entry.name]))
    with replacing(path) as write, compressed(write, compression, level=level, jobs=jobs) as squeeze:
        for piece in pieces:
            squeeze(piece)
    return Path(path).stat().st_size


def write_tar(
    image: Image,
    path: str | os.PathLike[str],
    *,
    compression: Compression = "none",
    level: int | None = None,
    mtime: int = 0,
    jobs: int | None = None,
) -> int:
    """Write a tar archive (GNU format) and return its size in bytes; see `write_cpio`."""
    import tarfile

    members: dict[str, Part | None] = dict.fromkeys(_directories(image))
    members |= {part.path: part for part in image.parts}
    with (
        replacing(path) as write,
        compressed(write, compression, level=level, jobs=jobs) as squeeze,
        tarfile.open(mode="w|", fileobj=_Sink(squeeze), format=tarfile.GNU_FORMAT) as archive,
    ):
        for name, part in sorted(members.items(), key=lambda item: os.fsencode(item[0])):
            info = tarfile.TarInfo(name)
            info.mtime = mtime
            if part is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            elif part.target is not None:
                info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, part.target
                archive.addfile(info)
            else:
                data = _contents(part)
                info.mode, info.size = 0o644, len(data)
                archive.addfile(info, io.BytesIO(data))
    return Path(path).stat().st_size


class _Sink(io.RawIOBase):
    """What tarfile takes for a file to write a stream to."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def write(self, data: ReadableBuffer) -> int:
        whole = bytes(data)
        self._write(whole)
        return len(whole)


# --- directories --------------------------------------------------------------------------------------------


def write_directory(
    image: Image, path: str | os.PathLike[str], *, link: bool = False, overwrite: bool = False, mtime: int = 0
) -> int:
    """Write the image as a directory and return the bytes of its contents.

    With ``link``, files that are as they are elsewhere on the same file system are hard links to them, and keep
    their times and modes. The directory is made beside its place and then renamed. Raises FileError where
    something is there already, unless it is an empty directory or ``overwrite``, and for all that fails; what was
    there is then as it was.
    """
    target = Path(path)
    if not overwrite and (target.is_symlink() or (target.exists() and not _is_empty(target))):
        raise FileError(None, "is there already, and not an empty directory", os.fspath(path))
    with _beside(target) as made:
        for name in _directories(image):
            (made / name).mkdir(mode=0o755)
        for part in image.parts:
            _place(part, made / part.path, link=link, mtime=mtime)
        for name in (*reversed(list(_directories(image))), ""):
            (made / name).chmod(0o755)
            os.utime(made / name, (mtime, mtime))
        os.sync()
        replace_directory(made, target)
    return image.size


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a new directory beside ``target``, which is gone at the end unless it was renamed."""
    made: Path | None = None
    try:
        try:
            made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            yield made
        except FileError:
            raise
        except OSError as error:
            raise FileError.wrap(error, os.fspath(target)) from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _place(part: Part, path: Path, *, link: bool, mtime: int) -> None:
    if part.target is not None:
        path.symlink_to(part.target)
        os.utime(path, (mtime, mtime), follow_symlinks=False)
        return
    if link and part.source is not None and not part.unpack:
        with suppress(OSError):  # another file system, or one that has no such links
            os.link(os.path.realpath(part.source), path)
            return
    path.write_bytes(_contents(part))
    path.chmod(0o644)
    os.utime(path, (mtime, mtime))


def _is_empty(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


# --- parts --------------------------------------------------------------------------------------------------


def _firmware(firmware: FirmwareSelection, top: str, chains: Mapping[str, tuple[Reason, ...]]) -> Iterator[Part]:
    for file in firmware.files:
        chain = _first_chain(file.needs, chains)
        size = _size(file.source)
        yield Part(f"{top}/{file.path}", "firmware", file.path, size, file.source, needs=file.needs, chain=chain)
    for link in firmware.links:
        chain = _first_chain(link.needs, chains)
        yield Part(
            f"{top}/{link.path}", "firmware", link.path, 0, target=link.target, needs=link.needs, chain=chain
        )


def _first_chain(needs: Iterable[Need], chains: Mapping[str, tuple[Reason, ...]]) -> tuple[Reason, ...]:
    """Return the shortest chain of a module that asks; none where only what is built in does."""
    found = [chains[need.module] for need in needs if need.module in chains]
    return min(found, key=len, default=())


def _entry(part: Part, mtime: int) -> Entry:
    if part.target is not None:
        target = os.fsencode(part.target)
        return Entry(part.path, stat.S_IFLNK | 0o777, target, mtime=mtime)
    return Entry(part.path, stat.S_IFREG | 0o644, mtime=mtime)


def _contents(part: Part) -> bytes:
    if part.source is None:
        return part.data
    return read_module_bytes(part.source) if part.unpack else read_file(part.source, max_size=_MAX_FILE)


def _directories(image: Image) -> list[str]:
    """Return the directories of an image, sorted."""
    found = set()
    for part in image.parts:
        above = part.path.rpartition("/")[0]
        while above and above not in found:
            found.add(above)
            above = above.rpartition("/")[0]
    return sorted(found, key=os.fsencode)


def _is_relative(path: str) -> bool:
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a Path for each file adds nothing
    except OSError as error:
        raise FileError.wrap(error, path) from error
