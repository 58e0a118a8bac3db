"""An FSSpec to protobuf's text format and back. The schema, and what its fields mean, is in ``fsspec.proto``.

The text is that of https://protobuf.dev/reference/protobuf/textformat-spec/, one field a line.
"""

from __future__ import annotations

import enum
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from google.protobuf import text_format

from kmodkit.errors import FsspecError
from kmodkit.fsspec import fsspec_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable


class SpecialType(enum.IntEnum):
    """What a special file is."""

    CHARACTER = fsspec_pb2.SpecialFile.CHARACTER_DEV
    BLOCK = fsspec_pb2.SpecialFile.BLOCK_DEV
    FIFO = fsspec_pb2.SpecialFile.FIFO


@dataclass(frozen=True, slots=True)
class File:
    """A regular file at ``path``, with the contents of the build machine's ``source_path`` and bits ``mode``."""

    path: str
    source_path: str
    mode: int = 0
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory; those above a listed path need no entry, and are then root's with mode 0555."""

    path: str
    mode: int = 0
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class SymbolicLink:
    """A symbolic link; ``target_path`` is what it says, relative to its own directory or absolute."""

    path: str
    target_path: str


@dataclass(frozen=True, slots=True)
class SpecialFile:
    """A device node or a fifo, for which ``major`` and ``minor`` have no meaning."""

    path: str
    type: SpecialType
    major: int = 0
    minor: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class FSSpec:
    """What a file system is made of, each kind in the order in which it is to be written down.

    >>> print(encode(FSSpec(files=(File("/lib/modules/meta.pb", "out/meta.pb", 0o444),))), end="")
    file {
      path: "/lib/modules/meta.pb"
      source_path: "out/meta.pb"
      mode: 292
    }
    """

    files: tuple[File, ...] = ()
    directories: tuple[Directory, ...] = ()
    symbolic_links: tuple[SymbolicLink, ...] = ()
    special_files: tuple[SpecialFile, ...] = ()


_Entry: TypeAlias = File | Directory | SymbolicLink | SpecialFile
_Message: TypeAlias = fsspec_pb2.File | fsspec_pb2.Directory | fsspec_pb2.SymbolicLink | fsspec_pb2.SpecialFile

# The fields of our values have the names of the schema's.
_MODE_AND_OWNER: Final = ("mode", "uid", "gid")
_FILE: Final = ("path", "source_path", *_MODE_AND_OWNER)
_DIRECTORY: Final = ("path", *_MODE_AND_OWNER)
_LINK: Final = ("path", "target_path")
_SPECIAL: Final = ("path", "type", "major", "minor", *_MODE_AND_OWNER)


def encode(spec: FSSpec) -> str:
    """Return ``spec`` as text; the same value always gives the same text.

    Raises FsspecError, with the path as source, for a path that is not UTF-8 and a number outside of 32 bits.
    """
    message = fsspec_pb2.FSSpec()
    for file in spec.files:
        _fill(message.file.add(), file, _FILE)
    for directory in spec.directories:
        _fill(message.directory.add(), directory, _DIRECTORY)
    for link in spec.symbolic_links:
        _fill(message.symbolic_link.add(), link, _LINK)
    for special in spec.special_files:
        _fill(message.special_file.add(), special, _SPECIAL)
    # What as_utf8 is by default depends on the version of protobuf.
    return text_format.MessageToString(message, as_utf8=True)


def decode(text: str, *, source: str | None = None) -> FSSpec:
    """Return the FSSpec that ``text`` holds; ``source`` names the file in errors.

    Raises FsspecError where the text is no such message; the offset, in characters, is where its reader stopped.
    """
    message = fsspec_pb2.FSSpec()
    try:
        text_format.Parse(text, message)
        specials = [_special(raw) for raw in message.special_file]
    except text_format.ParseError as error:
        reason, offset = _explain(text, error)
        raise FsspecError(reason, offset=offset, source=source) from error
    except ValueError as error:
        raise FsspecError(str(error), source=source) from error
    return FSSpec(
        tuple(File(*_values(raw, _FILE)) for raw in message.file),
        tuple(Directory(*_values(raw, _DIRECTORY)) for raw in message.directory),
        tuple(SymbolicLink(*_values(raw, _LINK)) for raw in message.symbolic_link),
        tuple(specials),
    )


def _fill(message: _Message, entry: _Entry, fields: Iterable[str]) -> None:
    for field in fields:
        try:
            setattr(message, field, getattr(entry, field))
        except (ValueError, TypeError) as error:  # UnicodeEncodeError is a ValueError
            raise FsspecError(f"{field} cannot be written: {error}", source=ascii(entry.path)) from error


def _values(message: _Message, fields: tuple[str, ...]) -> tuple[Any, ...]:
    values: tuple[Any, ...] = operator.attrgetter(*fields)(message)
    return values


def _special(raw: fsspec_pb2.SpecialFile) -> SpecialFile:
    path, kind, *rest = _values(raw, _SPECIAL)
    return SpecialFile(path, SpecialType(kind), *rest)


def _explain(text: str, error: text_format.ParseError) -> tuple[str, int | None]:
    """Return what is wrong and where; the parser's message repeats the place and the whole line."""
    reason, number, column = str(error), error.GetLine(), error.GetColumn()
    offset = None
    if number is not None and column is not None:
        lines = text.split("\n")
        reason = reason.removeprefix(f"{number}:{column} : ")
        if number <= len(lines):
            reason = reason.removeprefix(f"{lines[number - 1]!r}: ").removeprefix(f"'{lines[number - 1]}': ")
        offset = sum(len(line) + 1 for line in lines[: number - 1]) + column - 1
    return reason.encode("ascii", "backslashreplace").decode("ascii"), offset
