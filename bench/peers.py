"""The tools that kmodkit is compared with, and our small C programs around them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HERE: Final = Path(__file__).parent
LIBKMOD_SOURCE: Final = HERE / "libkmod_lookup.c"


def compiler() -> str | None:
    """Return the machine's C compiler, None where there is none."""
    return shutil.which("cc")


def has_header(name: str) -> bool:
    """Return whether the C compiler is there and finds the header ``name``."""
    if compiler() is None:
        return False
    probe = ["cc", "-E", "-include", name, "-x", "c", os.devnull, "-o", os.devnull]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def compile_c(source: Path, directory: Path, libraries: Sequence[str] = ()) -> Path:
    """Compile ``source`` into ``directory`` unless it was since it changed, and return the program."""
    target = directory / source.stem
    if target.exists() and target.stat().st_mtime_ns > source.stat().st_mtime_ns:
        return target
    directory.mkdir(parents=True, exist_ok=True)
    # Two processes may be here at once; each renames a program of its own into place.
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        new = Path(scratch, target.name)
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-o", str(new), str(source)]
        subprocess.run(["cc", *flags, *(f"-l{name}" for name in libraries)], check=True)
        new.rename(target)
    return target


def write_texts(path: Path, texts: Iterable[bytes]) -> Path:
    """Write ``texts`` as our C programs read them, a NUL behind each, and return ``path``."""
    path.write_bytes(b"".join(text + b"\0" for text in texts))
    return path


@dataclass(frozen=True, slots=True)
class Libkmod:
    """libkmod's index of the modules in ``directory``, where depmod has been run."""

    program: Path
    directory: Path
    launcher: tuple[str, ...] = ()
    """What goes before the program: a dynamic loader with the libraries of another release."""

    def answers(self, queries: Sequence[bytes]) -> list[tuple[str, ...]]:
        """Return the module names for each query; ``("!", NUMBER)`` where libkmod refuses it."""
        lines = self._run(queries).split("\n")[:-1]
        assert len(lines) == len(queries)
        return [tuple(line.split()) for line in lines]

    def seconds(self, queries: Sequence[bytes], rounds: int) -> tuple[list[float], list[float]]:
        """Return for each round the seconds that opening the index took, and those of all lookups."""
        pairs = [line.split() for line in self._run(queries, str(rounds)).splitlines()]
        opening, looking = (
            [int(value) / 1e9 for name, value in pairs if name == wanted] for wanted in ("open", "lookup")
        )
        return opening, looking

    def _run(self, queries: Sequence[bytes], *rest: str) -> str:
        with tempfile.TemporaryDirectory() as scratch:
            config = Path(scratch, "empty")
            config.mkdir()
            texts = write_texts(Path(scratch, "queries"), queries)
            paths = (self.program, self.directory, config, texts)
            argv = [*self.launcher, *map(str, paths), *rest]
            return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def libkmod(directory: Path, build: Path, launcher: Sequence[str] = ()) -> Libkmod | None:
    """Return libkmod on a depmod'ed ``directory``, None where there is no compiler or no libkmod-dev."""
    if not has_header("libkmod.h"):
        return None
    return Libkmod(compile_c(LIBKMOD_SOURCE, build, ["kmod"]), directory, tuple(launcher))
