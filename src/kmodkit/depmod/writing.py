"""depmod's files put into place."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from kmodkit.errors import FileError
from kmodkit.kernel.files import sync_directory

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Mapping


def write_files(directory: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Put ``files`` into a directory, which is made where it is not there.

    All are written and forced to disk under other names first, and only then renamed, one behind the other. So
    each is whole at any time, and a full disk changes none. Raises FileError.
    """
    root = os.fspath(directory)
    waiting: dict[str, str] = {}
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            temporary = f"{root}/.{name}.{os.getpid()}"
            waiting[temporary] = f"{root}/{name}"
            _write(temporary, data)
        for temporary in list(waiting):
            Path(temporary).rename(waiting[temporary])
            del waiting[temporary]
        sync_directory(root)
    except OSError as error:
        raise FileError.wrap(error, root) from error
    finally:
        for temporary in waiting:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)
