"""kmodkit insmod; what it asks of the kernel is in tests/real and tests/guest."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from kmodkit.cli.insmod import load_reason, parameter_string
from tests.commands import run

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], ""),
        (["a=1", "b"], "a=1 b"),
        (["a=x y"], 'a="x y"'),
        (['a="x y"'], 'a="x y"'),
        (["a='x y'"], "a='x y'"),
        (["a b"], "a b"),
        (["a=x\ty"], "a=x\ty"),
    ],
)
def test_parameters_become_one_string(words: list[str], text: str) -> None:
    """A value with a blank is put in quotes, for the shell has taken the user's."""
    assert parameter_string(words) == text


def test_answers_of_the_kernel_have_kmods_words() -> None:
    """Where the C library's would mislead."""
    assert load_reason(errno.ENOENT) == "Unknown symbol in module"
    assert load_reason(errno.EEXIST) == "File exists"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.ko", "could not load module {}: No such file or directory"),
        ("short.ko", "could not insert module {}: Invalid parameters"),
        ("directory", "could not insert module {}: Is a directory"),
        ("cut.ko.xz", "could not insert module {0}: {0}: xz data is cut short (at offset 0x20)"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named(name: str, message: str, tmp_path: Path, capsys: Capture) -> None:
    """In one line, with status 1, and without asking the kernel."""
    (tmp_path / "short.ko").write_bytes(b"\x7fELF")
    (tmp_path / "directory").mkdir()
    (tmp_path / "cut.ko.xz").write_bytes(b"\xfd7zXZ\0\0\4\xe6\xd6\xb4\x46".ljust(32, b"\2"))
    path = tmp_path / name
    ran = run(capsys, "insmod", path)
    assert ran.status == 1
    assert ran.out == ""
    if name != "cut.ko.xz":
        assert ran.err == f"insmod: ERROR: {message.format(path)}\n"
    else:
        assert ran.err.startswith(f"insmod: ERROR: could not insert module {path}: {path}: ")


def test_json_tells_what_went_wrong(tmp_path: Path, capsys: Capture) -> None:
    """One document, beside the message."""
    path = str(tmp_path / "none.ko")
    ran = run(capsys, "insmod", "--json", path)
    reason = f"could not load module {path}: No such file or directory"
    assert (ran.status, ran.json) == (1, {"filename": path, "ok": False, "error": reason})


@pytest.mark.parametrize("word", ["-h", "--help", "-V", "--version"])
def test_help_and_version_are_status_0(word: str, capsys: Capture) -> None:
    """On standard output, whatever else is there."""
    ran = run(capsys, "insmod", "none.ko", word)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("kmodkit version " if word[-1] in "Vn" else "Usage:\n\tkmodkit insmod [options] ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "ERROR: missing filename."),
        (("-",), "ERROR: this tool does not support loading from stdin!"),
        (("x.ko", "a=1", "-q"), "invalid option -- 'q'"),
    ],
)
def test_wrong_words_are_status_1(words: tuple[str, ...], message: str, capsys: Capture) -> None:
    """As with kmod."""
    assert run(capsys, "insmod", *words) == (1, "", f"insmod: {message}\n")
