"""The fields of protobuf messages, read straight out of bytes and bounds-checked.

The format is that of https://protobuf.dev/programming-guides/encoding/. What is wrong is a MetadataError with its
offset, at the time it is met. Nothing here imports more than a lookup of one shot can afford.
"""

from __future__ import annotations

from kmodkit.errors import MetadataError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, TypeAlias

    # Plain tuples: named ones and a generator made opening a kernel's file and its first lookup take twice as
    # long.
    Span: TypeAlias = tuple[int, int]  # where a message lies in the data
    Field: TypeAlias = tuple[int, int, int, int]  # number, the value of a number (else -1), where its bytes are

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5


class Wire:
    """The bytes of a message and of those in it; ``source`` names the file in errors."""

    def __init__(self, data: bytes, source: str | None) -> None:
        self.data = data
        self.source = source

    def error(self, reason: str, offset: int) -> MetadataError:
        """Return the error for what is wrong at ``offset``."""
        return MetadataError(reason, offset=offset, source=self.source)

    def varint(self, pos: int, end: int) -> tuple[int, int]:
        """Return the number at ``pos`` and the offset behind it."""
        value = shift = 0
        start = pos
        while pos < end and shift < 70:
            byte = self.data[pos]
            pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, pos
            shift += 7
        raise self.error("a number is cut short", start)

    def fields(self, span: Span) -> list[Field]:
        """Return the fields of the message at ``span``."""
        data = self.data
        pos, end = span
        found: list[Field] = []
        while pos < end:
            start = pos
            key = data[pos]
            pos += 1
            if key >= 0x80:
                key, pos = self.varint(start, end)
            kind = key & 7
            if kind == _BYTES:
                if pos < end and data[pos] < 0x80:
                    size = data[pos]
                    pos += 1
                elif pos + 1 < end and data[pos + 1] < 0x80:
                    size = data[pos] & 0x7F | data[pos + 1] << 7
                    pos += 2
                else:
                    size, pos = self.varint(pos, end)
                if size > end - pos:
                    raise self.error("a field reaches beyond its message", start)
                found.append((key >> 3, -1, pos, pos + size))
                pos += size
            elif kind == _VARINT:
                begin = pos
                value, pos = self.varint(pos, end)
                found.append((key >> 3, value, begin, pos))
            elif kind in (_FIXED32, _FIXED64):
                pos += 4 if kind == _FIXED32 else 8
                if pos > end:
                    raise self.error("a field reaches beyond its message", start)
            else:
                raise self.error(f"unknown wire type {kind}", start)
        return found

    def numbers(self, field: Field) -> Iterator[int]:
        """Yield the numbers of a repeated field, packed or not."""
        _, value, pos, end = field
        if value >= 0:
            yield value
            return
        while pos < end:
            value, pos = self.varint(pos, end)
            yield value

    def raw(self, field: Field) -> bytes:
        """Return the contents of a field that holds bytes."""
        if field[1] >= 0:
            raise self.error("a number stands where text belongs", field[2])
        return self.data[field[2] : field[3]]

    def text(self, field: Field) -> str:
        """Return the contents of a string field."""
        try:
            return self.raw(field).decode()
        except UnicodeDecodeError as error:
            raise self.error("a string is not UTF-8", field[2]) from error

    def span(self, field: Field) -> Span:
        """Return where the message in a field lies."""
        if field[1] >= 0:
            raise self.error("a number stands where a message belongs", field[2])
        return field[2:]
