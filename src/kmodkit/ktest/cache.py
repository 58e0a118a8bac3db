"""The cache directory: things made once, complete or absent, the oldest thrown away when they grow too many."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT: Final = 6 << 30
"""How many bytes the entries of one cache may take before the least recently used ones go."""


def cache_root() -> Path:
    """Return ``$KMODKIT_CACHE/ktest``, else that below ``$XDG_CACHE_HOME/kmodkit`` or ``~/.cache/kmodkit``."""
    own = os.environ.get("KMODKIT_CACHE")
    if own:
        return Path(own) / "ktest"
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "kmodkit" / "ktest"


def cached(name: str, make: Callable[[Path], object], *, root: Path | None = None) -> Path:
    """Return the entry ``name``, a file or directory, calling ``make(path)`` to make it where it is missing.

    ``make`` writes to a path that does not exist yet; the entry appears under its name only once ``make`` has
    returned. Of several processes that want the same entry at once, one makes it and the others wait.
    """
    root = root or cache_root()
    root.mkdir(parents=True, exist_ok=True)
    entry = root / name
    with _locked(_lock_of(entry)):
        if not entry.exists():
            prune(root)
            work = Path(tempfile.mkdtemp(prefix=".making-", dir=root))
            try:
                make(work / "entry")
                (work / "entry").replace(entry)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        # Its time tells the last use; that of the entry itself is part of the keys of others.
        os.utime(_lock_of(entry))
    return entry


def prune(root: Path, limit: int = LIMIT) -> None:
    """Remove the least recently used entries until the rest take at most ``limit`` bytes on disk."""
    entries = []
    for path in root.iterdir():
        if path.name.startswith("."):
            continue
        try:
            entries.append((_lock_of(path).stat().st_mtime, _size(path), path))
        except FileNotFoundError:
            continue  # another process prunes too
    excess = sum(size for _, size, _ in entries) - limit
    for _, size, path in sorted(entries):
        if excess <= 0:
            break
        # A virtual machine that uses the entry has its files open and is not disturbed.
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        excess -= size


def _size(path: Path) -> int:
    """Return the bytes allocated: the memory file of a snapshot is sparse."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_blocks * 512 for file in files)


def _lock_of(entry: Path) -> Path:
    return entry.with_name(f".{entry.name}.lock")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
