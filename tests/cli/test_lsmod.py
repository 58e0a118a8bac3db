"""kmodkit lsmod, and list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kmodkit.cli.lsmod import Row, format_rows, loaded
from tests.commands import run
from tests.modprobes import Loaded, write_state

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


def test_rows_are_lsmods() -> None:
    """Columns that long names and sizes push aside, users with commas, -2 where the kernel does not count."""
    rows = [
        Row("a", 16384, 2, ("b", "c")),
        Row("a_module_with_a_long_name", 1, 0, ()),
        Row("big", 1234567890, -1, ()),
        Row("uncounted", 4096, None, ()),
    ]
    assert format_rows(rows) == (
        "Module                  Size  Used by\n"
        "a                      16384  2 b,c\n"
        "a_module_with_a_long_name        1  0\n"
        "big                 1234567890  -1\n"
        "uncounted               4096  -2\n"
    )


def test_sizes_and_users_are_those_of_sysfs(tmp_path: Path) -> None:
    """In the order of /proc/modules; where sysfs has no size, that of /proc/modules."""
    write_state(tmp_path, [Loaded("b", 1, ("c",)), Loaded("a", 3)])
    (tmp_path / "sys/module/a/coresize").unlink()
    (tmp_path / "sys/module/b/coresize").write_text("5\n")
    assert loaded(proc=tmp_path / "proc", sys=tmp_path / "sys") == [
        Row("b", 5, 1, ("c",)),
        Row("a", 16384, 3, ()),
    ]


@pytest.mark.parametrize("verb", ["lsmod", "list"])
@pytest.mark.parametrize("word", ["-h", "--help", "-V", "--version"])
def test_help_and_version_are_status_0(verb: str, word: str, capsys: Capture) -> None:
    """On standard output, also with wrong words behind them."""
    ran = run(capsys, verb, word, "-Z")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("kmodkit version " if word[-1] in "Vn" else f"Usage:\n\tkmodkit {verb} [options]\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [(("x",), "ERROR: too many arguments provided."), (("-Z",), "invalid option -- 'Z'")],
)
def test_wrong_words_are_status_1(words: tuple[str, ...], message: str, capsys: Capture) -> None:
    """As with kmod."""
    assert run(capsys, "lsmod", *words) == (1, "", f"lsmod: {message}\n")
