"""depmod's files put into place."""

from __future__ import annotations

import os

from kmodkit.errors import FileError
from kmodkit.kernel.opening import sync_directory

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Mapping


def write_files(directory: str | os.PathLike[str], files: Mapping[str, bytes], *, sync: bool = True) -> None:
    """Put ``files`` into a directory, which is made where it is not there.

    All are written and forced to disk under other names first, and only then renamed, one behind the other. So
    each is whole at any time, and a full disk changes none. Without ``sync`` the disk may be behind, and files
    that were not whole have to be known by what is in them. Raises FileError.
    """
    root = os.fspath(directory)
    waiting: dict[str, str] = {}
    try:
        os.makedirs(root, exist_ok=True)  # noqa: PTH103 - pathlib is 5 ms of an incremental run
        for name, data in files.items():
            temporary = f"{root}/.{name}.{os.getpid()}"
            waiting[temporary] = f"{root}/{name}"
            _write(temporary, data, sync=sync)
        for temporary in list(waiting):
            os.rename(temporary, waiting[temporary])  # noqa: PTH104 - see above
            del waiting[temporary]
        if sync:
            sync_directory(root)
    except OSError as error:
        raise FileError.wrap(error, root) from error
    finally:
        for temporary in waiting:
            try:
                os.unlink(temporary)  # noqa: PTH108 - see above
            except OSError:
                continue


def _write(path: str, data: bytes, *, sync: bool) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
