"""What a Python interpreter of this machine needs to run in a guest: its files, libraries and byte code."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kmodkit.errors import KtestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_PRUNED_DIRECTORIES: Final = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
    }
)
# Modules of the standard library for screens, databases and the network, each with large libraries behind it.
_PRUNED_EXTENSIONS: Final = re.compile(
    r"(_test|_xxtest|xxlimited|_tkinter|_curses|_sqlite3|_ssl|_dbm|_gdbm|readline|nis|ossaudiodev|_ctypes_test)"
)
_QUERY: Final = """
import json, sys, sysconfig
print(json.dumps({
    "executable": getattr(sys, "_base_executable", None) or sys.executable,
    "prefix": sys.base_prefix,
    "version": sys.version,
    "tag": sys.implementation.cache_tag,
    "stdlib": [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")],
}))
"""
# Reads NUL-separated paths; writes for each the length (4 bytes) and the byte code, nothing where it does not
# compile. Unchecked-hash byte code is used without a look at the source (PEP 552).
_COMPILE: Final = """
import importlib.util, marshal, sys, warnings
warnings.simplefilter("ignore")
for path in sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\\0"):
    try:
        with open(path, "rb") as file:
            source = file.read()
        code = marshal.dumps(compile(source, path, "exec", dont_inherit=True, optimize=0))
        code = importlib.util.MAGIC_NUMBER + b"\\1\\0\\0\\0" + importlib.util.source_hash(source) + code
    except (SyntaxError, ValueError, OSError):
        code = b""
    sys.stdout.buffer.write(len(code).to_bytes(4, "little") + code)
"""
_ELF64: Final = b"\x7fELF\x02"
_PT_LOAD: Final = 1


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter: ``executable`` with every link resolved, ``tag`` as in the names of its .pyc files."""

    executable: Path
    prefix: Path
    version: str
    tag: str
    stdlib: tuple[Path, ...]

    @classmethod
    def query(cls, python: Path | None = None) -> Interpreter:
        """Return what ``python`` (default: the one that runs) says of itself; a virtual environment's base.

        Raises KtestError where it does not run.
        """
        found = json.loads(_run([str(python or sys.executable), "-I", "-S", "-c", _QUERY]))
        return cls(
            executable=Path(found["executable"]).resolve(),
            prefix=Path(found["prefix"]),
            version=found["version"],
            tag=found["tag"],
            stdlib=tuple(Path(path) for path in dict.fromkeys(found["stdlib"])),
        )

    def files(self) -> list[Path]:
        """Return the files of the standard library that a test needs."""
        found = {file for root in self.stdlib for file in tree(root, pruned=_PRUNED_DIRECTORIES) if _wanted(file)}
        return sorted(found)

    def compile(self, sources: Sequence[Path]) -> list[bytes]:
        """Return the contents of the .pyc file of each source; empty for one that does not compile."""
        if not sources:
            return []
        names = "\0".join(map(str, sources)).encode("utf-8", "surrogateescape")
        blob = _run([str(self.executable), "-I", "-S", "-c", _COMPILE], names)
        codes = []
        at = 0
        for _ in sources:
            size = int.from_bytes(blob[at : at + 4], "little")
            codes.append(blob[at + 4 : at + 4 + size])
            at += 4 + size
        return codes


def tree(root: Path, *, pruned: frozenset[str] = frozenset({"__pycache__"})) -> Iterator[Path]:
    """Yield the files below ``root`` in a fixed order, hidden directories and ``pruned`` ones left out."""
    for directory, names, files in os.walk(root):
        names[:] = sorted(
            name
            for name in names
            if name not in pruned and not name.startswith((".", "config-")) and not name.endswith(".egg-info")
        )
        for name in sorted(files):
            if not name.endswith((".pyc", ".a", ".exe")):
                yield Path(directory, name)


def distribution_files(names: Iterable[str]) -> tuple[list[Path], list[Path]]:
    """Return the installed files of distributions and of all they require, and the directories they lie in.

    Raises KtestError for one of ``names`` that is not installed; a requirement that is not is passed over, as
    it may be for another platform.
    """
    files: set[Path] = set()
    roots: dict[Path, None] = {}
    wanted = list(names)
    optional: list[str] = []
    seen: set[str] = set()
    while wanted or optional:
        required = bool(wanted)
        name = wanted.pop(0) if wanted else optional.pop(0)
        if _canonical(name) in seen:
            continue
        seen.add(_canonical(name))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            if required:
                raise KtestError(f"the distribution {name} is not installed here") from error
            continue
        roots[Path(str(distribution.locate_file("")))] = None
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and "__pycache__" not in file.parts and path.suffix != ".pth":
                files.add(path)
        optional.extend(_requirements(distribution))
    return sorted(file for file in files if file.is_file()), list(roots)


def shared_libraries(files: Sequence[Path]) -> list[Path]:
    """Return the libraries that the loader maps for these programs and libraries, by the names it uses.

    Raises KtestError for a library that is missing here too.
    """
    libraries: set[Path] = set()
    missing: set[str] = set()
    for at in range(0, len(files), 200):
        batch = [str(file) for file in files[at : at + 200]]
        # ldd's status says no more than that one of the files is not dynamic, which is no fault.
        done = subprocess.run(
            ["ldd", *batch], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False
        )
        missing.update(re.findall(r"^\s+(\S+) => not found", done.stdout, re.MULTILINE))
        libraries.update(Path(name) for name in re.findall(r"(?:=>|^)\s+(/\S+) \(0x", done.stdout, re.MULTILINE))
    # A wheel's own libraries find each other at run time by paths that ldd does not know.
    if missing - {file.name for file in files}:
        raise KtestError(f"libraries not found on this machine: {', '.join(sorted(missing))}")
    return sorted(libraries)


def loadable(data: bytes) -> bytes:
    """Return an ELF64 file up to the last byte that the loader maps, without its section table.

    Symbols for debuggers and the section table, most of some libraries, never reach memory of a process.
    Anything but an ELF64 file comes back as it is.
    """
    if not data.startswith(_ELF64) or len(data) < 64:
        return data
    order = "<" if data[5] == 1 else ">"
    (table,) = struct.unpack_from(order + "Q", data, 32)
    size, count = struct.unpack_from(order + "HH", data, 54)
    end = table + size * count
    if end > len(data):
        return data
    for at in range(table, end, size):
        kind, _, offset, _, _, length = struct.unpack_from(order + "IIQQQQ", data, at)
        if kind == _PT_LOAD:
            end = max(end, offset + length)
    head = bytearray(data[:end])
    struct.pack_into(order + "Q", head, 40, 0)
    struct.pack_into(order + "HHH", head, 58, 0, 0, 0)
    return bytes(head)


def _wanted(file: Path) -> bool:
    if ".so" in file.suffixes:
        return not _PRUNED_EXTENSIONS.match(file.name)
    return file.suffix in (".py", ".json", ".txt") or file.parent.name == "lib-dynload"


def _requirements(distribution: importlib.metadata.Distribution) -> list[str]:
    """Return the names required outright; those of an extra are left out."""
    names = []
    for line in distribution.requires or ():
        match = re.match(r"[A-Za-z0-9._-]+", line)
        if match and not re.search(r";.*\bextra\b", line):
            names.append(match[0])
    return names


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _run(argv: list[str], stdin: bytes = b"") -> bytes:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False, env=environment)
    except OSError as error:
        raise KtestError(f"{argv[0]}: {error.strerror}") from error
    if done.returncode:
        raise KtestError(f"{argv[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
