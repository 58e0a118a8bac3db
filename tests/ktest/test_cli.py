"""``kmodkit ktest``: its exit status and what it prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from kmodkit.cli import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


def ktest(kernel: Path, *words: str) -> int:
    """Run the verb."""
    return main(["ktest", "--kernel", str(kernel), *words])


def test_status_and_output_are_the_commands(kernel_root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Standard output has nothing else."""
    assert ktest(kernel_root, "--", "python3", "-I", "-c", "print('out'); raise SystemExit(7)") == 7
    assert capfdbinary.readouterr().out == b"out\n"


@pytest.mark.parametrize(
    ("words", "code", "status", "outcome"),
    [
        ([], "raise SystemExit(255)", 251, "completed"),
        (["--timeout", "3"], "import time; time.sleep(60)", 253, "timed out"),
        ([], "open('/proc/sysrq-trigger', 'w').write('c')", 254, "lost"),
        (["--module", "no-such-module"], "", 252, "not made"),
    ],
)
def test_failures_have_a_status_each(  # noqa: PLR0913, RUF100
    kernel_root: Path, words: list[str], code: str, status: int, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And JSON says the same in words."""
    assert ktest(kernel_root, "--json", *words, "--", "python3", "-I", "-S", "-c", code) == status
    assert json.loads(capsys.readouterr().out)["outcome"] == outcome


def test_wrong_words_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before a kernel is looked for."""
    assert ktest(tmp_path, "--file", "x", "--", "true") == 252
    assert "HOST:GUEST" in capsys.readouterr().err


def test_missing_kernel_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the place that was looked at."""
    assert ktest(tmp_path, "--", "true") == 252
    assert str(tmp_path) in capsys.readouterr().err
