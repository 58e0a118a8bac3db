"""kmodkit rmmod; what it asks of the kernel is in tests/real and tests/guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kmodkit.cli.rmmod import module_name
from tests.commands import run

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]
ABSENT = "kmodkit-has-no-such-module"


@pytest.mark.parametrize(
    ("word", "name"),
    [("a-b", "a_b"), ("a.ko", "a"), ("a-b.ko.xz", "a_b"), ("/none/a.ko", "/none/a"), ("", "")],
)
def test_a_word_is_a_name_up_to_the_first_dot(word: str, name: str) -> None:
    """Whatever is behind it, and with ``_``."""
    assert module_name(word) == name


def test_a_file_that_is_there_gives_its_own_name(tmp_path: Path) -> None:
    """Without its directory."""
    (tmp_path / "a-b.ko").write_bytes(b"")
    assert module_name(str(tmp_path / "a-b.ko")) == "a_b"


def test_every_module_that_is_not_loaded_is_named(capsys: Capture) -> None:
    """One after the other, with status 1."""
    name = ABSENT.replace("-", "_")
    line = f"rmmod: ERROR: Module {name} is not currently loaded\n"
    assert run(capsys, "rmmod", ABSENT, ABSENT) == (1, "", 2 * line)
    ran = run(capsys, "rmmod", "--json", ABSENT)
    assert ran.json == [{"name": name, "ok": False, "error": f"Module {name} is not currently loaded"}]


@pytest.mark.parametrize("word", ["-h", "--help", "-V", "--version"])
def test_help_and_version_are_status_0(word: str, capsys: Capture) -> None:
    """On standard output, whatever else is there."""
    ran = run(capsys, "rmmod", ABSENT, word)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("kmodkit version " if word[-1] in "Vn" else "Usage:\n\tkmodkit rmmod [options] ")


@pytest.mark.parametrize(
    ("words", "message"),
    [((), "ERROR: missing module name."), (("-w", "x"), "invalid option -- 'w'")],
)
def test_wrong_words_are_status_1(words: tuple[str, ...], message: str, capsys: Capture) -> None:
    """As with kmod."""
    assert run(capsys, "rmmod", *words) == (1, "", f"rmmod: {message}\n")
