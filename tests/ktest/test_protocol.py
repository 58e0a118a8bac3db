"""The control channel's frames: whole, or noticed."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmodkit.ktest import protocol
from kmodkit.ktest.protocol import GarbledError


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_frame_comes_back(message: protocol.Message) -> None:
    """Any object survives, in one line of ASCII."""
    frame = protocol.encode("abc", message)
    assert frame.count(b"\n") == 1
    assert frame.isascii()
    assert protocol.decode(frame) == ("abc", message)


@given(st.data())
def test_one_changed_byte_is_noticed(data: st.DataObject) -> None:
    """Neither another status nor another output length can come of it."""
    frame = bytearray(protocol.encode("abc", {"type": "result", "status": 0, "out_length": 10})[:-1])
    at = data.draw(st.integers(frame.index(b" ") + 5, len(frame) - 1))
    frame[at] = data.draw(st.integers(0, 255).filter(lambda value: value != frame[at]))
    try:
        _, message = protocol.decode(bytes(frame))
    except GarbledError:
        return
    # A space or sign before a number, or upper case digits, are the same frame.
    assert message == {"type": "result", "status": 0, "out_length": 10}


@pytest.mark.parametrize("line", [b"", b"junk", b"KT1 abc 2 00000000 {}", b"KT1 abc 2 99f04bf5 []", b"\xff\xfe"])
def test_other_lines_are_garbled(line: bytes) -> None:
    """A line of something else, a wrong checksum, a value that is no object."""
    with pytest.raises(GarbledError):
        protocol.decode(line)


def test_every_truncation_is_noticed() -> None:
    """No prefix of a frame is one."""
    frame = protocol.encode("abc", {"type": "result", "status": 0})[:-1]
    for length in range(len(frame)):
        with pytest.raises(GarbledError):
            protocol.decode(frame[:length])


def test_long_message_is_sent_in_parts() -> None:
    """Each fits the serial line's buffers, and together they are the message."""
    message: protocol.Message = {"data": protocol.to_text(os.urandom(100_000))}
    frames = protocol.split("abc", message)
    parts = [protocol.decode(frame)[1] for frame in frames]
    assert max(map(len, frames)) < 2 * protocol.PART_SIZE
    assert [part["last"] for part in parts] == [False] * (len(parts) - 1) + [True]
    assert protocol.join([protocol.to_bytes(part["data"]) for part in parts]) == message


def test_parts_that_do_not_fit_are_garbled() -> None:
    """A lost part is noticed."""
    with pytest.raises(GarbledError):
        protocol.join([b"x"])
