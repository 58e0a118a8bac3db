"""depmod(8): write the indexes of a module tree; and compare those of two."""

from __future__ import annotations

import os
import sys

from kmodkit.cli.options import ERROR, Log, OptionError, Options, answered
from kmodkit.errors import CyclesError, FileError, KmodError, KmodIndexError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Final

    from kmodkit.config.depmod import DepmodConfig
    from kmodkit.depmod import Checks, Generated, Layout

_LONG: Final = {
    "all": "a",
    "quick": "A",
    "basedir=": "b",
    "moduledir=": "m",
    "outdir=": "o",
    "config=": "C",
    "symvers=": "E",
    "filesyms=": "F",
    "errsyms": "e",
    "verbose": "v",
    "show": "n",
    "dry-run": "n",
    "symbol-prefix=": "P",
    "warn": "w",
    "version": "V",
    "help": "h",
    "incremental": "incremental",
    "cache=": "cache",
    "format=": "format",
    "jobs=": "jobs",
    "diff": "diff",
    "json": "json",
}

_HELP: Final = """\
Usage:
\t{prog} [-a | -A] [options] [RELEASE [FILE...]]
\t{prog} --diff [--json] OLD NEW

Reads the modules of a kernel, by default the running one's, and writes the
indexes that modprobe and others look them up in. With FILEs, absolute paths,
only those modules are taken.

Options:
\t-a, --all                take all modules; the default without FILEs
\t-A, --quick              do nothing unless a module is newer than modules.dep
\t-e, --errsyms            name symbols that nobody has; needs -E or -F
\t-n, --show, --dry-run    print the text files instead of writing
\t-P, --symbol-prefix=C    ignore the character C at the start of symbols
\t-C, --config=PATH        read depmod.d from PATH instead; may be repeated
\t-v, --verbose            say which symbol makes a module need another one
\t-w, --warn               name what is there twice
\t-V, --version            print the version
\t-h, --help               print this help

For other trees than the one of this machine:
\t-b, --basedir=DIR        the root that the tree is below (default: /)
\t-m, --moduledir=DIR      the directory of trees (default: /lib/modules)
\t-o, --outdir=DIR         the root to write below (default: that of -b)
\t-F, --filesyms=FILE      take the kernel's symbols from a System.map
\t-E, --symvers=FILE       take them, and their versions, from a Module.symvers

What kmod has not:
\t    --incremental        keep what was read in modules.kmodkit-cache beside
\t                         the indexes, and open only modules that changed
\t    --cache=FILE         the same, with a file of your choice
\t    --format=30|34       the bytes of that release of kmod (default: 34)
\t    --jobs=N             threads that unpack (default: one a processor)
\t    --diff               show which modules, aliases, symbols and dependencies
\t                         came and went; trees with or without indexes
\t    --json               with --diff: print JSON
"""

CACHE_NAME: Final = "modules.kmodkit-cache"


class _Call:
    """What the words of a call ask for."""

    __slots__ = (
        "configs", "diff", "errsyms", "everything", "incremental", "json", "operands", "quick", "show", "values",
        "verbose", "warn",
    )  # fmt: skip

    @property
    def kernel_symbols(self) -> bool:
        """Whether a list of the kernel's symbols is named, or what symbols begin with."""
        return not self.values.keys().isdisjoint(("E", "F", "P"))

    def __init__(self) -> None:
        self.everything = self.quick = self.show = self.verbose = self.errsyms = self.warn = False
        self.incremental = self.diff = self.json = False
        self.values: dict[str, str] = {}
        self.configs: list[str] = []
        self.operands: list[str] = []


class _StopError(Exception):
    """Nothing can be done; ``reasons`` are said, each at its level."""

    def __init__(self, *reasons: tuple[int, str]) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


_FLAGS: Final = {
    "A": "quick",
    "n": "show",
    "v": "verbose",
    "e": "errsyms",
    "w": "warn",
    "incremental": "incremental",
    "diff": "diff",
    "json": "json",
}
_FATAL: Final = 2


def main(words: Sequence[str], prog: str = "depmod") -> int:
    """Run the command and return its exit status: 0 done or nothing to do, 1 it failed, or wrong words."""
    log = Log(prog)
    call = _Call()
    options = Options(words, "aAb:m:o:C:E:F:evnP:wVh", _LONG)
    try:
        for key, value in options:
            if answered(key, _HELP, prog):
                return 0
            _take(call, key, value)
        call.operands = options.operands
        return _diff(call) if call.diff else _run(call, log)
    except OptionError as error:
        print(f"{log.name}: {error}", file=sys.stderr)
    except _StopError as stop:
        for level, text in stop.reasons:
            log.say(level, text)
    return 1


def _take(call: _Call, key: str, value: str) -> None:
    if key in _FLAGS:
        setattr(call, _FLAGS[key], True)
    elif key == "C":
        call.configs.append(value)
    elif key == "P" and len(os.fsencode(value)) != 1:
        raise _StopError((_FATAL, "-P only takes a single char"))
    elif key == "format" and value not in ("30", "34"):
        raise OptionError(f"no such format: '{value}'")
    elif key == "jobs" and not (value.isdecimal() and int(value)):
        raise OptionError(f"not a number of threads: '{value}'")
    elif key == "a":
        call.everything = True
    else:
        call.values[key] = value


def _run(call: _Call, log: Log) -> int:
    from kmodkit.depmod import generate

    values = call.values
    release, files = _release(call)
    base = values.get("m", "/lib/modules").lstrip("/")
    root = f"{_absolute(values.get('b', ''))}/{base}/{release}"
    out = f"{_absolute(values['o'])}/{base}/{release}" if "o" in values else root
    if call.quick and (call.show or _up_to_date(root, log)):
        return 0
    checks = _checks(call, log) if call.kernel_symbols or call.errsyms or call.warn or call.verbose else None
    everything = call.everything or call.quick or not files
    config = _config(call, release, log) if everything else None
    cache = values.get("cache") or (f"{out}/{CACHE_NAME}" if call.incremental else None)
    if cache is not None:
        _make_directory(os.path.dirname(cache) or ".")  # noqa: PTH120 - a string is wanted
    try:
        found = generate(
            root,
            paths=None if everything else files,
            config=config,
            checks=checks,
            layout=_layout(values["format"]) if "format" in values else None,
            cache=cache,
            previous=out,
            jobs=int(values["jobs"]) if "jobs" in values else None,
        )
    except CyclesError as error:
        raise _StopError(*_cycle_reasons(error)) from error
    except KmodIndexError as error:
        raise _StopError((_FATAL, f"Module index: {error}")) from error
    except FileError as error:
        raise _StopError(
            (ERROR, f"could not open directory {error.filename}: {error.strerror}"),
            (_FATAL, f"could not search modules: {error.strerror}"),
        ) from error
    _tell(found, log)
    if call.show:
        _print_files(found.files)
        return 0
    if found.unchanged:
        return 0
    from kmodkit.depmod import write_files

    changed = found.files if found.changed is None else {name: found.files[name] for name in found.changed}
    try:
        write_files(out, changed)
    except FileError as error:
        raise _StopError((_FATAL, f"could not write indexes to {out}: {error.strerror}")) from error
    return 0


def _layout(name: str) -> Layout:
    from kmodkit.depmod import Layout

    return Layout(name)


def _release(call: _Call) -> tuple[str, list[str]]:
    """Return the kernel's release, and the files to take where not all are meant."""
    if not call.operands:
        return os.uname().release, []
    release, *files = call.operands
    digits = release.split(".")[:2]
    if len(digits) < 2 or not digits[0].strip().isdecimal() or not digits[1][:1].isdecimal():
        raise _StopError((ERROR, f"Bad version passed {release}"))
    for file in files:
        if not call.everything and not file.startswith("/"):
            raise _StopError((_FATAL, f"{file}: not absolute path."))
        if not call.everything and not os.path.exists(file):  # noqa: PTH110 - pathlib is 10 ms of the start
            raise _StopError((_FATAL, f"could not create module {file}: No such file or directory"))
    return release, files


def _absolute(path: str) -> str:
    return f"{os.getcwd()}/{path}" if path and not path.startswith("/") else path  # noqa: PTH109 - see above


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103 - see above
    except OSError as error:
        raise _StopError((_FATAL, f"could not create directory {path}: {error.strerror}")) from error


def _checks(call: _Call, log: Log) -> Checks:
    """Read the kernel's symbols, where a list of them is named."""
    from kmodkit.depmod import Checks, read_symvers, read_system_map

    kernel = None
    for key, read in (("E", read_symvers), ("F", read_system_map)):
        path = call.values.get(key)
        if path is not None and kernel is None:
            try:
                kernel, problems = read(path)
            except FileError as error:
                raise _StopError((_FATAL, f"could not load {path}: {error.strerror}")) from error
            for problem in problems:
                log.error(problem)
    if call.errsyms and kernel is None:
        log.warning("-e needs -E or -F")
    return Checks(
        kernel=kernel,
        unknown=call.errsyms and kernel is not None,
        versions="E" in call.values,
        prefix=os.fsencode(call.values.get("P", "")),
        duplicates=call.warn,
        show=call.verbose,
    )


def _config(call: _Call, release: str, log: Log) -> DepmodConfig:
    from kmodkit.depmod import load_config

    try:
        config = load_config(release, call.configs or None)
    except FileError as error:
        raise _StopError((_FATAL, f"could not load configuration files: {error}")) from error
    for problem in config.problems:
        log.error(problem)
    return config


def _up_to_date(root: str, log: Log) -> bool:
    """Return whether modules.dep is there and no module is newer."""
    from kmodkit.depmod.finding import walk

    try:
        written = os.stat(f"{root}/modules.dep").st_mtime_ns  # noqa: PTH116 - see above
    except OSError as error:
        if os.path.isdir(root):  # noqa: PTH112 - see above
            log.error(f"could not fstatat({root}, modules.dep): {error.strerror}")
        else:
            log.error(f"could not open directory {root}: {error.strerror}")
        return False
    try:
        # In microseconds, as kmod compares them.
        return all(
            os.stat(os.fsencode(root) + b"/" + path).st_mtime_ns // 1000 <= written // 1000  # noqa: PTH116
            for path in walk(root)
        )
    except OSError:
        return False


def _cycle_reasons(error: CyclesError) -> list[tuple[int, str]]:
    members = {name for cycle in error.cycles for name in cycle}
    return [
        *((ERROR, f"Cycle detected: {' -> '.join(cycle)}") for cycle in error.cycles),
        (ERROR, f"Found {len(members)} modules in dependency cycles!"),
    ]


def _tell(found: Generated, log: Log) -> None:
    say: Mapping[str, Callable[[str], object]] = {
        "ERROR": log.error,
        "WARNING": log.warning,
        "SHOW": print,
    }
    for level, text in found.messages:
        say[level](text)


def _print_files(files: Mapping[str, bytes]) -> None:
    from kmodkit.cli.common import write_bytes

    for name, data in files.items():
        if not name.endswith(".bin"):
            write_bytes(data)


# --- comparing ----------------------------------------------------------------------------------------------


def _diff(call: _Call) -> int:
    """Compare two trees; 0 whether they differ or not, as what was asked for is the comparison."""
    from kmodkit.core.depdiff import diff_indexes

    if len(call.operands) != 2:
        raise OptionError("--diff takes two trees")
    try:
        found = diff_indexes(*map(_index_files, call.operands))
    except KmodError as error:
        raise _StopError((_FATAL, str(error))) from error
    parts = {
        "modules": found.modules,
        "aliases": found.aliases,
        "symbols": found.symbols,
        "dependencies": found.dependencies,
    }
    if call.json:
        from kmodkit.cli.common import print_json

        print_json({name: {"added": change.added, "removed": change.removed} for name, change in parts.items()})
        return 0
    for name, change in parts.items():
        print(f"{name}: {len(change.added)} added, {len(change.removed)} removed")
        for sign, pairs in (("-", change.removed), ("+", change.added)):
            for one, other in pairs:
                print(f"{sign} {one} {other}")
    return 0


def _index_files(path: str) -> Mapping[str, bytes]:
    """Return depmod's files of a tree: those that are there, else those that would be written."""
    from kmodkit.depmod import generate
    from kmodkit.depmod.finding import MAX_LIST
    from kmodkit.kernel.files import find_tree
    from kmodkit.kernel.opening import read_file

    root = path if os.path.exists(f"{path}/modules.dep") else find_tree(path).root  # noqa: PTH110 - see above
    if not os.path.exists(f"{root}/modules.dep"):  # noqa: PTH110 - see above
        return generate(root).files
    names = ("modules.dep", "modules.alias", "modules.symbols")
    there = [name for name in names if os.path.exists(f"{root}/{name}")]  # noqa: PTH110 - see above
    return {name: read_file(f"{root}/{name}", max_size=MAX_LIST) for name in there}
