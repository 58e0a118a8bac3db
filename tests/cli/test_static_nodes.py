"""kmodkit static-nodes; beside the real one in tests/real."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from kmodkit.cli.static_nodes import FORMATS, write_nodes
from kmodkit.core.kmodtext import Devname
from tests.commands import run

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]
NODES = [Devname("fuse", "fuse", "c", 10, 229), Devname("snd_timer", "snd/timer", "b", 116, 33)]


def test_for_people() -> None:
    """A node in five lines."""
    assert FORMATS["human"](NODES[:1]) == (
        "Module: fuse\n\tDevice node: /dev/fuse\n\t\tType: character device\n\t\tMajor: 10\n\t\tMinor: 229\n"
    )


def test_for_systemd_tmpfiles() -> None:
    """A node's directory comes before it."""
    assert FORMATS["tmpfiles"](NODES) == (
        "c! /dev/fuse 0600 - - - 10:229\nd /dev/snd 0755 - - -\nb! /dev/snd/timer 0600 - - - 116:33\n"
    )


def test_for_other_programs() -> None:
    """As modules.devname has them, or as JSON."""
    assert FORMATS["devname"](NODES) == "fuse fuse c10:229\nsnd_timer snd/timer b116:33\n"
    assert json.loads(FORMATS["json"](NODES))[1] == NODES[1]._asdict()


def test_the_directory_of_the_output_is_made(tmp_path: Path) -> None:
    """And the file replaced whole."""
    path = tmp_path / "run/tmpfiles.d/kmod.conf"
    assert write_nodes(str(path), "a\n")
    assert write_nodes(str(path), "b\n")
    assert path.read_text() == "b\n"
    assert os.listdir(path.parent) == ["kmod.conf"]  # noqa: PTH208


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """And stays a pipe."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert write_nodes(str(path), "text")
    assert os.read(reader, 9) == b"text"
    os.close(reader)
    assert path.is_fifo()


def test_an_output_that_cannot_be_made_is_named(tmp_path: Path, capsys: Capture) -> None:
    """With the reason."""
    assert not write_nodes(str(tmp_path), "a\n")
    (tmp_path / "file").touch()
    assert not write_nodes(f"{tmp_path}/file/x", "a\n")
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"Error: could not create {tmp_path} - Is a directory"
    assert second.startswith(f"Error: could not create parent directory for {tmp_path}/file/x - ")


def test_an_unknown_format_is_status_1(capsys: Capture) -> None:
    """With help on standard output, as with kmod."""
    ran = run(capsys, "static-nodes", "-f", "xml")
    assert (ran.status, ran.err) == (1, "Unknown format: 'xml'.\n")
    assert ran.out.startswith("Usage:\n\tkmodkit static-nodes [options]\n")


def test_wrong_words_are_status_1(capsys: Capture) -> None:
    """There is no version to ask for."""
    assert run(capsys, "static-nodes", "-V") == (1, "", "static-nodes: invalid option -- 'V'\n")


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_status_0(word: str, capsys: Capture) -> None:
    """With the formats."""
    ran = run(capsys, "static-nodes", word)
    assert (ran.status, ran.err) == (0, "")
    assert all(f"\t{name} " in ran.out for name in FORMATS)
