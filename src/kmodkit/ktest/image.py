"""The guest's initramfs: an interpreter, the package under test, and the modules asked for.

A file lies at the same path in the guest as on the host, so that a traceback of the guest can be read on the
host. ``/bin``, ``/sbin``, ``/lib`` and ``/lib64`` are links into ``/usr``, whatever the host has.

An image is two or more cpio archives one after another: the interpreter and the distributions, which rarely
change and are cached on their own, and the rest. It is not compressed: unpacking costs an emulated machine
more time than reading.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from kmodkit.core.cpio import Entry, pack
from kmodkit.errors import KtestError
from kmodkit.ktest.cache import cached
from kmodkit.ktest.interpreter import Interpreter, distribution_files, loadable, shared_libraries, tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_FORMAT: Final = 1
"""Part of every key: raise it when the same inputs make another image."""

_MERGED: Final = ("bin", "sbin", "lib", "lib32", "lib64")
_AGENT: Final = "usr/lib/kmodkit-ktest"
_AGENT_FILES: Final = ("guest_init.py", "protocol.py")
_BATCH: Final = 64 << 20
"""Contents per archive, in bytes: what making an image holds in memory at a time."""

_TREE_FILES: Final = ("modules.builtin", "modules.builtin.modinfo", "modules.order")
_ENVIRONMENT: Final = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "TERM": "dumb",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """What an image holds.

    ``python`` is the interpreter (None: the one that runs); ``python_path`` directories for ``sys.path``, or
    packages, which are put there alone; ``distributions`` installed ones, with their requirements;
    ``programs`` further executables, also linked from ``/usr/bin``; ``files`` pairs of a host path (file or
    directory) and an absolute guest path; ``env`` additions to the environment of every command.

    ``modules`` are files below ``modules_root``, the module directory of kernel ``release``; they lie under
    ``/lib/modules/RELEASE`` in the guest. The caller gives the closure: nothing is added but the lists of
    built-in modules and of the module order.

    ``archives`` are initramfs images of others, compressed or not; the kernel unpacks them over all this, in
    their order.
    """

    python: Path | None = None
    python_path: tuple[Path, ...] = ()
    distributions: tuple[str, ...] = ()
    programs: tuple[Path, ...] = ()
    files: tuple[tuple[Path, str], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    modules_root: Path | None = None
    release: str = ""
    modules: tuple[Path, ...] = ()
    archives: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: ``key`` names its contents, ``size`` is in bytes."""

    path: Path
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the contents of one file of the guest come from.

    ``data`` where they are made up, else ``path``; ``trim`` cuts an ELF file to what is loaded, and
    ``compiled`` adds the byte code.
    """

    path: Path | None = None
    data: bytes = b""
    mode: int = 0o644
    trim: bool = False
    compiled: bool = False

    def signature(self) -> object:
        """Return what changes when the contents do."""
        if self.path is None:
            return [self.data.hex(), self.mode]
        status = self.path.stat()
        facts = [
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
            stat.S_IMODE(status.st_mode),
        ]
        return [str(self.path), facts, self.trim, self.compiled]


_Plan = dict[str, _Source]


def build(spec: ImageSpec, *, root: Path | None = None) -> Image:
    """Return the image of ``spec``, from the cache where its inputs are unchanged.

    ``root`` is the cache directory. Raises KtestError for an input that is missing or unusable.
    """
    python = Interpreter.query(spec.python)
    try:
        base, library_roots = _base_plan(spec, python)
        top = _top_plan(spec, python, library_roots)
        base_key = _key(python, base)
        archives = {f"archive/{number}": _Source(path) for number, path in enumerate(spec.archives)}
        key = _key(python, base | top | archives)
        below = cached(f"base-{base_key}", lambda path: _write_base(path, base, python), root=root)
        path = cached(f"image-{key}", lambda path: _write_top(path, below, top, python, spec.archives), root=root)
    except OSError as error:
        raise KtestError(f"{error.filename}: {error.strerror}") from error
    return Image(path, key, path.stat().st_size)


def _guest_path(path: Path | str) -> str:
    """Return the archive name of an absolute path, the merged directories resolved."""
    pure = PurePosixPath(os.path.normpath(path))
    if not pure.is_absolute() or len(pure.parts) < 2:
        raise KtestError(f"{path}: not an absolute path of a file")
    parts = pure.parts[1:]
    return "/".join(("usr", *parts) if parts[0] in _MERGED else parts)


def _base_plan(spec: ImageSpec, python: Interpreter) -> tuple[_Plan, list[Path]]:
    """Return the files of interpreter, distributions and programs, and the roots of the distributions.

    Shared libraries are left to `_write_base`: finding them takes longer than all of the rest, and a base that
    keeps the libraries it was made with is as good.
    """
    installed, roots = distribution_files(spec.distributions)
    sources = [*python.files(), *installed]
    programs = [python.executable, *(_program(path) for path in spec.programs)]
    plan = {_guest_path(file): _Source(file, compiled=file.suffix == ".py") for file in sources}
    binaries = [file for file in sources if ".so" in file.suffixes]
    plan |= {_guest_path(file): _Source(file, mode=0o755, trim=True) for file in [*binaries, *programs]}
    return plan, roots


def _program(path: Path) -> Path:
    found = shutil.which(path)
    if found is None:
        raise KtestError(f"{path}: no such program")
    return Path(found).absolute()


def _top_plan(spec: ImageSpec, python: Interpreter, library_roots: Sequence[Path]) -> _Plan:
    """Return everything that changes from run to run: agent, code under test, files, modules."""
    plan: _Plan = {}
    search = []
    for entry in spec.python_path:
        entry = entry.absolute()
        if not entry.is_dir():
            raise KtestError(f"{entry}: no directory")
        search.append(entry.parent if (entry / "__init__.py").is_file() else entry)
        for file in tree(entry):
            plan[_guest_path(file)] = _Source(file, compiled=file.suffix == ".py")
    for path, target in spec.files:
        plan.update(_file_plan(path, target))
    if spec.modules_root is not None:
        plan.update(_module_plan(spec.modules_root, spec.release, spec.modules))
    for name in _AGENT_FILES:
        plan[f"{_AGENT}/{name}"] = _Source(Path(__file__).with_name(name), compiled=True)
    paths = dict.fromkeys(map(str, [*search, *library_roots]))
    env = {
        **_ENVIRONMENT,
        "PATH": os.pathsep.join(dict.fromkeys([str(python.executable.parent), "/usr/bin", "/usr/sbin"])),
        "PYTHONPATH": os.pathsep.join(paths),
        **dict(spec.env),
    }
    plan["etc/ktest.json"] = _Source(data=json.dumps({"env": env}, sort_keys=True).encode())
    plan["init"] = _Source(data=_init(python), mode=0o755)
    return plan


def _init(python: Interpreter) -> bytes:
    """Return the script the kernel starts; the rest is byte code, which starts faster."""
    lines = (
        f"#!{python.executable} -IS",
        "import sys",
        f"sys.path.insert(0, {'/' + _AGENT!r})",
        "import guest_init",
        "guest_init.main()",
    )
    return "\n".join((*lines, "")).encode()


def _file_plan(path: Path, target: str) -> _Plan:
    if path.is_dir():
        return {_guest_path(f"{target}/{file.relative_to(path)}"): _copy(file) for file in tree(path)}
    if not path.is_file():
        raise KtestError(f"{path}: no such file")
    return {_guest_path(target): _copy(path)}


def _copy(path: Path) -> _Source:
    return _Source(path, mode=0o755 if os.access(path, os.X_OK) else 0o644)


def _module_plan(root: Path, release: str, modules: Iterable[Path]) -> _Plan:
    root = root.absolute()
    if not release:
        raise KtestError("modules were given without the release of their kernel")
    plan = {}
    for module in [*modules, *(root / name for name in _TREE_FILES if (root / name).is_file())]:
        path = root / module
        if not path.is_file() or not path.is_relative_to(root):
            raise KtestError(f"{path}: no module file below {root}")
        plan[_guest_path(f"/lib/modules/{release}/{path.relative_to(root)}")] = _Source(path)
    return plan


def _key(python: Interpreter, plan: _Plan) -> str:
    facts = [_FORMAT, python.version, [[name, plan[name].signature()] for name in sorted(plan)]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _base_entries(python: Interpreter) -> list[Entry]:
    """Return the links, directories and device nodes of every image."""
    names = ("dev", "dev/pts", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var", "var/tmp")
    entries = [Entry.directory(name, mode=0o1777 if name.endswith("tmp") else 0o755) for name in names]
    entries += [Entry.symlink(name, f"usr/{name}") for name in _MERGED]
    entries += [Entry.directory(f"usr/{name}") for name in _MERGED]
    entries += [
        # The kernel opens the console, and the interpreter the random pool, before /dev is mounted.
        Entry.device("dev/console", 5, 1),
        Entry.device("dev/null", 1, 3, mode=0o666),
        Entry.device("dev/urandom", 1, 9, mode=0o666),
        Entry.symlink("var/run", "../run"),
    ]
    for name in ("python", "python3"):
        if _guest_path(python.executable) != f"usr/bin/{name}":
            entries.append(Entry.symlink(f"usr/bin/{name}", str(python.executable)))
    return entries


def _links(plan: _Plan, taken: Iterable[Entry]) -> list[Entry]:
    """Return links for libraries outside the loader's own directories, and for programs outside PATH."""
    names = {entry.name for entry in taken} | plan.keys()
    links = {}
    for path, source in plan.items():
        directory, _, name = path.rpartition("/")
        wanted = []
        if source.trim and ".so" in name and not directory.startswith("usr/lib/python"):
            # The guest has no ld.so.cache; Debian's loader looks in /usr/lib, Fedora's in /usr/lib64.
            wanted = [f"usr/lib/{name}", f"usr/lib64/{name}"] if ".cpython-" not in name else []
        elif source.trim and ".so" not in name and directory not in ("usr/bin", "usr/sbin"):
            wanted = [f"usr/bin/{name}"]
        links.update({link: f"/{path}" for link in wanted if link not in names})
    return [Entry.symlink(link, target) for link, target in links.items()]


def _write_base(path: Path, plan: _Plan, python: Interpreter) -> None:
    binaries = [source.path for source in plan.values() if source.trim and source.path]
    libraries = {_guest_path(file): _Source(file, mode=0o755, trim=True) for file in shared_libraries(binaries)}
    _write(path, _base_entries(python), libraries | plan, python)


def _write(path: Path, entries: Sequence[Entry], plan: _Plan, python: Interpreter) -> None:
    with path.open("wb") as file:
        for piece in pack([*entries, *_links(plan, entries)], parents=True):
            file.write(piece)
        for batch in _batches(_entries(plan, python)):
            for piece in pack(batch, parents=True):
                file.write(piece)
        file.write(b"\0" * (-file.tell() % 512))


def _write_top(path: Path, below: Path, plan: _Plan, python: Interpreter, archives: Sequence[Path]) -> None:
    upper = path.with_name("upper")
    _write(upper, [], plan, python)
    shutil.copyfile(below, path)
    with path.open("ab") as file:
        for part in (upper, *archives):
            file.write(b"\0" * (-file.tell() % 512))
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)


def _entries(plan: _Plan, python: Interpreter) -> Iterator[Entry]:
    """Yield the files of a plan with the byte code of those that are to have it."""
    compiled = {name: source.path for name, source in plan.items() if source.compiled and source.path}
    codes = dict(zip(compiled, python.compile(list(compiled.values())), strict=True))
    for name, source in sorted(plan.items()):
        data = source.path.read_bytes() if source.path else source.data
        yield Entry.file(name, loadable(data) if source.trim else data, mode=source.mode)
        if codes.get(name):
            directory, _, base = name.rpartition("/")
            cache = f"{directory}/__pycache__/{base.removesuffix('.py')}.{python.tag}.pyc"
            yield Entry.file(cache, codes[name])


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += len(entry.data)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def environment(overrides: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return a mapping in the form of ``ImageSpec.env``."""
    return tuple(sorted(overrides.items()))
