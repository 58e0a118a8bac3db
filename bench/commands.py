"""Whole commands: how long they take from their start to their end, as whoever installed kmodkit runs them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bench.measure import medians

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BARE: Final = (sys.executable, "-I", "-c", "pass")
# What the script does that an installer makes of the entry point.
ALONE: Final = 1.15
"""Two processes side by side that take so much longer than one have no second core to themselves."""
KMODKIT: Final = (sys.executable, "-c", "import sys; from kmodkit.cli import main; sys.exit(main())")


class Runner:
    """Runs commands in an environment that has the bytecode of all that they import, as an installation has."""

    def __init__(self, directory: Path | str) -> None:
        self._environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(directory), "PYTHONPATH": "src"}
        # Set where somebody wants no __pycache__ in a checkout, it would have every run compile all it imports.
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(self, argv: Sequence[str]) -> str:
        """Run a command to its end, and return what it prints; of its status only that it was no signal counts."""
        done = subprocess.run(
            argv, check=False, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert done.returncode in (0, 1), done  # modprobe ends with 1 where one device of many has no module
        return done.stdout


def two_cores(rounds: int) -> float:
    """Return how long two busy processes side by side take for the time of one: 1 where each has a core."""
    spin = [*BARE[:-1], "for _ in range(5_000_000): pass"]

    def both() -> None:
        one, other = subprocess.Popen(spin), subprocess.Popen(spin)
        one.wait()
        other.wait()

    together, alone = medians([both, lambda: subprocess.run(spin, check=True)], rounds)
    return together / alone


@contextmanager
def runner() -> Iterator[Runner]:
    """Give a runner, whose bytecode is kept until the end."""
    with tempfile.TemporaryDirectory() as scratch:
        yield Runner(scratch)
