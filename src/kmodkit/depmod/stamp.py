"""What depmod's files were made from, so that a run that would make the same ones again can be left out."""

from __future__ import annotations

import hashlib
import json

from kmodkit.errors import FileError
from kmodkit.kernel.opening import read_file

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kmodkit.core.modcache import FileState

MAX_FILE = 256 << 20


def inputs_digest(
    states: Mapping[bytes, FileState | None], lists: Iterable[bytes | None], *options: object
) -> str:
    """Return a digest of all that the files are made from: modules by the state of their files, lists, options."""
    digest = hashlib.blake2b(repr((sorted(states.items(), key=_first), options)).encode())
    for data in lists:
        digest.update(b"-" if data is None else b"+%d:" % len(data) + data)
    return digest.hexdigest()


def _first(pair: tuple[bytes, object]) -> bytes:
    return pair[0]


def make_stamp(inputs: str, files: Mapping[str, bytes]) -> bytes:
    """Return a stamp that `unchanged_files` knows ``files`` by."""
    return json.dumps([inputs, {name: _digest(data) for name, data in files.items()}]).encode()


def unchanged_files(stamp: bytes, inputs: str, directory: str) -> dict[str, bytes] | None:
    """Return the files in ``directory``, if they are those of the stamp and were made from the same ``inputs``."""
    try:
        before, digests = json.loads(stamp)
        if before != inputs:
            return None
        files = {name: read_file(f"{directory}/{name}", max_size=MAX_FILE) for name in map(_plain, digests)}
        same = all(_digest(data) == digests[name] for name, data in files.items())
    except (FileError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return files if same else None


def _plain(name: str) -> str:
    """Return a name from a stamp, which is a file as hostile as any, if it is one of a file here."""
    if "/" in name:
        raise ValueError(name)
    return name


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data).hexdigest()
