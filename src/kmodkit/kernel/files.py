"""Files: module trees, module files plain or compressed, and writing that never leaves half a file."""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from functools import partial
from pathlib import Path

from kmodkit.core.elf import HEAD, Elf
from kmodkit.core.modinfo import ModuleInfo, modinfo_from_elf, parse_modinfo, section_of
from kmodkit.core.names import module_file_suffix
from kmodkit.core.signature import Signature, read_signature
from kmodkit.errors import CompressionError, FileError, FormatError, TreeError
from kmodkit.kernel.opening import DEFAULT_MAX_SIZE, compression, opened, read_file, read_whole, sync_directory

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from dataclasses import dataclass
    from types import ModuleType
    from typing import Final, Protocol

    from kmodkit.core.elf import Read

    class _Decompressor(Protocol):
        @property
        def eof(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, /, max_length: int = ...) -> bytes: ...
else:
    from kmodkit.core.values import dataclass

_MODULE_DIRS: Final = ("lib/modules", "usr/lib/modules")
_TREE_MARKS: Final = ("kernel", "modules.order", "modules.builtin", "modules.dep")
# An xz stream may ask for 4 GiB of dictionary; the kernel's own decoder and `xz -9` stay at 64 MiB.
_XZ_MEMORY: Final = 192 << 20
_XZ_PADDING: Final = re.compile(b"\0*")
_CHUNK: Final = 1 << 20
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_FIRST_PIECE: Final = 1 << 12


class _Gzip:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, /, max_length: int = 0) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


# --- module files -------------------------------------------------------------------------------------------


def decompress(data: bytes, *, max_size: int = DEFAULT_MAX_SIZE) -> bytes:
    """Return ``data`` unpacked where it is gzip, xz or zstd, else as it is.

    Raises CompressionError where it is corrupt or cut short, or has more than ``max_size`` bytes unpacked.
    """
    kind = compression(data)
    if kind is None:
        if len(data) > max_size:
            raise CompressionError(f"{len(data)} bytes are over the limit of {max_size}")
        return data
    parts: list[bytes] = []
    room = max_size + 1
    pos = 0
    while compression(data[pos : pos + 8]) == kind:
        try:
            unpacked, end, whole = _one_stream(kind, data, pos, room)
        except Exception as error:  # each codec has an error class of its own, and importing all costs
            raise CompressionError(f"corrupt {kind} data: {error}", offset=pos) from error
        parts.append(unpacked)
        room -= len(unpacked)
        if room <= 0:
            raise CompressionError(f"unpacks to more than the limit of {max_size} bytes")
        if not whole:
            raise CompressionError(f"{kind} data is cut short", offset=len(data))
        padding = _XZ_PADDING.match(data, end) if kind == "xz" else None
        pos = padding.end() if padding else end
    if pos < len(data):
        raise CompressionError(f"junk behind the {kind} data", offset=pos)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _one_stream(kind: str, data: bytes, pos: int, room: int) -> tuple[bytes, int, bool]:
    """Unpack the stream at ``pos``, at most ``room`` bytes; return them, its end, and whether that was reached."""
    decoder = _decompressor(kind)
    parts: list[bytes] = []
    # Decoders copy what they were given too much of. Given all, a file of many small streams would cost the
    # square of its length.
    size = _FIRST_PIECE
    while True:
        piece = data[pos : pos + size]
        pos += len(piece)
        size = min(2 * size, _CHUNK)
        part = decoder.decompress(piece, max_length=room)
        parts.append(part)
        room -= len(part)
        if decoder.eof or room <= 0 or not (piece or part):
            return b"".join(parts), pos - len(decoder.unused_data), decoder.eof


def _decompressor(kind: str) -> _Decompressor:
    # Each is imported by the first file that needs it: lzma and zstd cost milliseconds of a command's start.
    if kind == "gz":
        return _Gzip()
    if kind == "xz":
        import lzma

        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    decompressor: _Decompressor = zstd_module().ZstdDecompressor()
    return decompressor


def zstd_module() -> ModuleType:
    """Return Python's zstd module, of the standard library or, before 3.14, of its backport."""
    import importlib
    import sys

    return importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def read_module_bytes(path: str | os.PathLike[str], *, max_size: int = DEFAULT_MAX_SIZE) -> bytes:
    """Return a module file's contents, unpacked where it is compressed.

    Raises FileError and CompressionError.
    """
    with _named(path):
        return decompress(read_file(path, max_size=max_size), max_size=max_size)


def read_module(
    path: str | os.PathLike[str], *, name: str | None = None, max_size: int = DEFAULT_MAX_SIZE
) -> ModuleInfo:
    """Return the information of the module file ``path``, plain or compressed.

    ``name`` is the path that the result carries, by default ``path`` itself. Of a plain file only the pieces
    that matter are read. Raises FileError, CompressionError, ElfError and ModinfoError, each naming the file.
    """
    return parse_modinfo(read_section(path, max_size=max_size), os.fspath(path) if name is None else name)


def read_section(path: str | os.PathLike[str], *, max_size: int = DEFAULT_MAX_SIZE) -> bytes:
    """Return the contents of the ``.modinfo`` section of a module file, as `read_module` reads it."""
    try:
        with (file := opened(path)) as fd:
            head = os.pread(fd, HEAD, 0)
            if compression(head) is None:
                return section_of(Elf.parse(_reader(fd), file.size, head))
            data = decompress(read_whole(fd, os.fspath(path), max_size), max_size=max_size)
            return section_of(Elf.from_bytes(data))
    except FormatError as error:
        error.source = error.source or os.fspath(path)
        raise


def read_signed_module(
    path: str | os.PathLike[str], *, max_size: int = DEFAULT_MAX_SIZE
) -> tuple[ModuleInfo, Signature | None]:
    """Return the information of a module file and the signature appended to it, which is not verified.

    Raises what `read_module` does, and SignatureError.
    """
    with _named(path):
        data = read_module_bytes(path, max_size=max_size)
        info = modinfo_from_elf(Elf.from_bytes(data), os.fspath(path))
        return info, read_signature(lambda offset, size: data[offset : offset + size], len(data))


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the file's name into the errors of the pure core, which does not know it."""
    try:
        yield
    except FormatError as error:
        error.source = error.source or os.fspath(path)
        raise


def _reader(fd: int) -> Read:
    def read(offset: int, size: int) -> bytes:
        return os.pread(fd, size, offset)

    return read


# --- trees --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModuleTree:
    """A directory of modules: ``/lib/modules/RELEASE``, or any other root of ``.ko`` files."""

    root: str

    def module_paths(self) -> tuple[str, ...]:
        """Return the module files below the root, relative to it, sorted.

        As depmod does, links are followed and ``build`` and ``source`` at the top left out; a directory
        that links lead to twice is read once. Raises FileError where a directory cannot be read.
        """
        found: list[str] = []
        seen: set[tuple[int, int]] = set()
        pending = [""]
        while pending:
            prefix = pending.pop()
            for entry in self._entries(prefix, seen):
                path = prefix + entry.name
                if module_file_suffix(entry.name) and leads_to(entry.is_file):
                    found.append(path)
                elif leads_to(entry.is_dir) and path not in ("build", "source"):
                    pending.append(path + "/")
        return tuple(sorted(found))

    def read_text(self, name: str, *, max_size: int = 64 << 20) -> bytes | None:
        """Return the contents of a file of the tree such as ``modules.order``, None where there is none."""
        path = Path(self.root, name)
        return read_file(path, max_size=max_size) if path.exists() else None

    def _entries(self, prefix: str, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
        directory = f"{self.root}/{prefix}"
        try:
            status = os.stat(directory)  # noqa: PTH116 - a Path for each directory costs more than the walk
            if (status.st_dev, status.st_ino) in seen:
                return []
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise FileError.wrap(error, directory) from error


def leads_to(test: Callable[[], bool]) -> bool:
    """Return what a test of a directory's entry says, False where the entry is a link that cannot be followed."""
    try:
        return test()
    except OSError:  # a link in a circle, which is as good as one to nowhere
        return False


def find_tree(path: str | os.PathLike[str] | None = None) -> ModuleTree:
    """Return the module tree that ``path`` means.

    That is the one of the running kernel where it is None; else ``path`` itself, or the only tree below its
    ``lib/modules`` or ``usr/lib/modules`` (an unpacked kernel package or a root file system), or the only one
    in it where it is such a directory. Raises TreeError where there is none, or more than one.
    """
    if path is None:
        return _running_tree()
    root = Path(path)
    if not root.is_dir():
        raise TreeError(str(root), "not a directory" if root.exists() else "no such directory")
    if _is_tree(root):
        return ModuleTree(str(root))
    holders = [root / sub for sub in _MODULE_DIRS if (root / sub).is_dir()] or [root]
    # A usr-merged root has the same directory under both names.
    trees = {tree.resolve(): tree for holder in holders for tree in sorted(holder.iterdir()) if _is_tree(tree)}
    if len(trees) > 1:
        names = ", ".join(sorted(tree.name for tree in trees.values()))
        raise TreeError(str(root), f"holds more than one module tree, name one of them: {names}")
    if trees:
        return ModuleTree(str(next(iter(trees.values()))))
    return ModuleTree(str(root))


def _running_tree() -> ModuleTree:
    release = os.uname().release
    for base in _MODULE_DIRS:
        path = Path("/", base, release)
        if path.is_dir():
            return ModuleTree(str(path))
    raise TreeError(
        f"/lib/modules/{release}",
        "the running kernel has no module tree here; name one, such as /lib/modules/RELEASE of another kernel, "
        "an unpacked kernel package or any directory of .ko files",
    )


def _is_tree(path: Path) -> bool:
    return path.is_dir() and any((path / mark).exists() for mark in _TREE_MARKS)


# --- writing ------------------------------------------------------------------------------------------------


def replace_file(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` so that it holds the old contents or all of the new; see `replacing`."""
    with replacing(path, mode=mode) as write:
        write(data)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, mode: int = 0o644) -> Iterator[Callable[[bytes], object]]:
    """Give a function that writes what ``path`` is to hold once the block ends well; else it stays as it was.

    The file is written beside its place, forced to disk, given ``mode`` less the umask and renamed; then the
    directory is forced to disk. A link is followed, so that its target is what changes. Raises FileError.
    """
    import tempfile  # brings lzma and bz2 along, which only writing should pay for

    temporary = None
    try:
        with _writing(path):
            target = Path(path).resolve()
            fd, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(fd, "wb", buffering=0) as file:
            yield partial(_write_all, file, path)
            with _writing(path):
                os.fchmod(fd, mode & ~_umask())
                os.fsync(fd)
        with _writing(path):
            Path(temporary).replace(target)
            temporary = None
            sync_directory(target.parent)
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def replace_directory(new: Path, path: Path) -> None:
    """Put the directory ``new`` in the place of ``path``; what was there is then where ``new`` was.

    Both are on one file system. Raises FileError, and then nothing has changed.
    """
    with _writing(path):
        if path.is_symlink() or path.exists():
            _exchange(new, path)
        else:
            new.rename(path)
        sync_directory(path.resolve().parent)


def _exchange(one: Path, other: Path) -> None:
    """Let two paths change places in one step: renameat2(2), which Python has no call for."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fspath(other))


@contextlib.contextmanager
def _writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make what goes wrong in writing an error of ours that names ``path``."""
    try:
        yield
    except OSError as error:
        raise FileError.wrap(error, os.fspath(path)) from error
    except (ValueError, RuntimeError) as error:  # a NUL in the path, and Python 3.12's word for a link in a circle
        raise FileError(None, str(error), os.fspath(path)) from error


def _write_all(file: io.FileIO, path: str | os.PathLike[str], data: bytes) -> None:
    rest = memoryview(data)
    with _writing(path):
        while rest:
            rest = rest[file.write(rest) :]


def _umask() -> int:
    # /proc tells it without the moment of another mask that os.umask needs, which other threads would see.
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
