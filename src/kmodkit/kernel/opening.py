"""Opening and reading regular files, with FileError for all that can go wrong.

Nothing here imports more than a lookup of one shot can afford; modules and trees are in `kmodkit.kernel.files`.
"""

from __future__ import annotations

import os
import stat

from kmodkit.errors import FileError, KmodError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Final

DEFAULT_MAX_SIZE: Final = 512 << 20
"""How many bytes a module may have unpacked. Debug information makes the largest 400 MiB."""

_CHUNK: Final = 1 << 20


class opened:  # noqa: N801 - used as the function that `contextlib` would make, which takes 5 ms to import
    """Open a regular file for reading, as a descriptor; raises FileError, also for an OSError of the body.

    ``size`` is how many bytes the file had when it was opened.
    """

    __slots__ = ("_fd", "_name", "size")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._name = os.fspath(path)

    def __enter__(self) -> int:
        name = self._name
        try:
            # O_NONBLOCK: a fifo called x.ko must not stop us.
            self._fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise FileError.wrap(error, name) from error
        except ValueError as error:
            raise FileError(None, str(error), name) from error
        try:
            status = os.fstat(self._fd)
        except OSError as error:
            os.close(self._fd)
            raise FileError.wrap(error, name) from error
        self.size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            os.close(self._fd)
            raise FileError(None, "not a regular file", name)
        return self._fd

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        if isinstance(error, OSError) and not isinstance(error, KmodError):
            raise FileError.wrap(error, self._name) from error


def read_file(path: str | os.PathLike[str], *, max_size: int) -> bytes:
    """Return the contents of a regular file; raises FileError, also where it has more than ``max_size`` bytes."""
    with opened(path) as fd:
        return read_whole(fd, os.fspath(path), max_size)


def read_whole(fd: int, name: str, max_size: int) -> bytes:
    """Return what the file at ``fd``, called ``name``, holds; raises FileError where it is over ``max_size``."""
    if os.fstat(fd).st_size > max_size:
        raise FileError(None, f"more than the limit of {max_size} bytes", name)
    parts: list[bytes] = []
    room = max_size + 1
    offset = 0
    # Not one read of st_size: /proc and /sys say 0 or 4096, and a file may grow.
    while room > 0 and (part := os.pread(fd, min(room, _CHUNK), offset)):
        parts.append(part)
        offset += len(part)
        room -= len(part)
    if room <= 0:
        raise FileError(None, f"more than the limit of {max_size} bytes", name)
    return b"".join(parts)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Force a directory's entries to disk; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def compression(head: bytes) -> str | None:
    """Return ``gz``, ``xz`` or ``zst`` as the first bytes of a file say, None where it is not compressed."""
    if head.startswith(b"\x1f\x8b"):
        return "gz"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    return "zst" if head.startswith(b"\x28\xb5\x2f\xfd") else None
