"""The lines that host and guest exchange over the control channel.

A frame is one line of ASCII::

    KT1 NONCE LENGTH CRC JSON NEWLINE

LENGTH (decimal) and CRC (``zlib.crc32``, eight hexadecimal digits) are those of JSON, an object. NONCE is the
host's, new for every run, and comes back in every answer, so that no answer of another run, and nothing
written to the channel by accident, can pass for a result. A line that is no frame is an error on both sides.

The serial line behind the channel has no flow control, so the host sends a long message as ``part`` frames
and waits for an ``ack`` after each but the last.

The guest imports this file from a bare interpreter: it uses the standard library only.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode

MAGIC = "KT1"
BOOT_NONCE = "boot"
PART_SIZE = 12 * 1024

Message = dict[str, object]


class GarbledError(ValueError):
    """A line that is no frame, or whose length or checksum does not fit."""


def encode(nonce: str, message: Message) -> bytes:
    """Return ``message`` as one frame, newline included."""
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=True)
    return f"{MAGIC} {nonce} {len(body)} {zlib.crc32(body.encode('ascii')):08x} {body}\n".encode("ascii")


def decode(line: bytes) -> tuple[str, Message]:
    """Return nonce and message of one line, with or without its newline.

    Raises GarbledError for anything that `encode` does not write.
    """
    try:
        magic, nonce, length, crc, body = line.rstrip(b"\n").decode("ascii").split(" ", 4)
        whole = magic == MAGIC and int(length) == len(body) and int(crc, 16) == zlib.crc32(body.encode("ascii"))
        message = json.loads(body) if whole else None
    except ValueError as error:
        raise GarbledError(f"not a frame: {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise GarbledError(f"a frame with a wrong length or checksum: {line[:80]!r}")
    return nonce, message


def split(nonce: str, message: Message) -> list[bytes]:
    """Return the frames to send for ``message``; where they are several, each but the last is acknowledged."""
    frame = encode(nonce, message)
    if len(frame) <= PART_SIZE:
        return [frame]
    packed = zlib.compress(json.dumps(message).encode("ascii"), 1)
    pieces = [packed[at : at + PART_SIZE] for at in range(0, len(packed), PART_SIZE)]
    return [
        encode(nonce, {"type": "part", "data": to_text(piece), "last": piece is pieces[-1]}) for piece in pieces
    ]


def join(parts: list[bytes]) -> Message:
    """Return the message of the data of all ``part`` frames."""
    try:
        message = json.loads(zlib.decompress(b"".join(parts)))
    except (ValueError, zlib.error) as error:
        raise GarbledError("the parts of a message do not fit together") from error
    if not isinstance(message, dict):
        raise GarbledError("the parts of a message are no object")
    return message


def to_text(data: bytes) -> str:
    """Return bytes as text for a JSON value."""
    return b64encode(data).decode("ascii")


def to_bytes(text: object) -> bytes:
    """Return the bytes of a value of `to_text`; GarbledError where it is none."""
    if not isinstance(text, str):
        raise GarbledError("a value that should be base64 is no string")
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise GarbledError("a value that should be base64 is not") from error
