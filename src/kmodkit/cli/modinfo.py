"""modinfo(8): show what modules say of themselves."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from kmodkit.cli.options import Log, Options, answered
from kmodkit.core.names import module_file_suffix
from kmodkit.errors import FormatError, KmodError, ModuleNotFoundError, TreeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kmodkit.core.modinfo import ModuleInfo
    from kmodkit.kernel.files import ModuleTree

_LONG: Final = {
    "author": "a",
    "description": "d",
    "license": "l",
    "parameters": "p",
    "filename": "n",
    "null": "0",
    "modname": "m",
    "field=": "F",
    "set-version=": "k",
    "basedir=": "b",
    "version": "V",
    "help": "h",
    "json": "json",
}
_FIELDS: Final = {"a": "author", "d": "description", "l": "license", "p": "parm", "n": "filename"}

_HELP: Final = """\
Usage:
\t{prog} [options] <module|file> ...
Options:
\t-a, --author                print the field author alone
\t-d, --description           print the field description alone
\t-l, --license               print the field license alone
\t-p, --parameters            print the field parm alone
\t-n, --filename              print the field filename alone
\t-F, --field=FIELD           print the field FIELD alone
\t-0, --null                  end values with NUL instead of a new line
\t-m, --modname               take names for those of modules, not of files or aliases
\t-k, --set-version=RELEASE   look in the modules of this release, not the running one
\t-b, --basedir=DIR           look for lib/modules in DIR, not in /
\t    --json                  print JSON
\t-V, --version               print the version
\t-h, --help                  print this help
"""


class _Call:
    """What the words of a call ask for."""

    def __init__(self) -> None:
        self.field: str | None = None
        self.null = False
        self.only_modules = False
        self.json = False
        self.release: str | None = None
        self.root: str | None = None

    def take(self, key: str, value: str) -> None:
        """Take one option."""
        if key in _FIELDS:
            self.field = _FIELDS[key]
        elif key == "F":
            self.field = value
        elif key == "k":
            self.release = value
        elif key == "b":
            self.root = value
        else:
            self.null |= key == "0"
            self.only_modules |= key == "m"
            self.json |= key == "json"


def main(words: Sequence[str], prog: str = "modinfo") -> int:
    """Run the command and return its exit status: 0 all shown, 1 one was not or wrong words."""
    log = Log(prog)
    call = _Call()
    options = Options(words, "adlpn0mF:k:b:Vh", _LONG)
    for key, value in options:
        if answered(key, _HELP, prog):
            return 0
        call.take(key, value)
    if not options.operands:
        log.error("missing module or filename.")
        return 1
    return _show(options.operands, call, log)


def _show(names: Iterable[str], call: _Call, log: Log) -> int:
    from kmodkit.cli.info import Finder

    finder = Finder(_tree(call.root, call.release))
    records: list[dict[str, object]] = []
    status = 0
    for name in names:
        try:
            if call.only_modules:
                found = finder.module(name)
            elif _is_module_file(name):
                # What the field filename shows: the working directory in front, and nothing else changed.
                found = iter([(name if name.startswith("/") else f"{os.getcwd()}/{name}", None)])  # noqa: PTH109
            else:
                found = finder.named(name)
            for path, builtin in found:
                status |= _show_one(path, builtin, call, log, records)
        except (ModuleNotFoundError, TreeError):
            log.error(f"Module{' name' * call.only_modules} {name} not found.")
            status = 1
        except KmodError as error:
            log.error(str(error))
            status = 1
    if call.json:
        from kmodkit.cli.common import print_json

        print_json(records)
    return status


def _show_one(
    path: str | None, builtin: ModuleInfo | None, call: _Call, log: Log, records: list[dict[str, object]]
) -> int:
    """Show one module and return 1 where that failed."""
    from kmodkit.cli import info

    if call.field == "filename" and path is not None and not call.json:
        info.write(path + ("\0" if call.null else "\n"))
        return 0
    try:
        read, signature = (
            (builtin, None)
            if builtin is not None
            else info.read(path or "", None if call.json else call.field, warn=log.warning)
        )
    except KmodError as error:
        from kmodkit.core.names import name_from_path

        if call.field is None and path is not None and not call.json:
            info.write(f"{'filename:':<16}{path}" + ("\0" if call.null else "\n"))
        if isinstance(error, FormatError) and error.source is None:
            error.source = path
        log.error(f"could not get modinfo from '{name_from_path(path or '')}': {error}")
        return 1
    if call.json:
        records.append(info.record(path, read, signature))
    else:
        info.write(info.format_info(path, read, signature, field=call.field, null=call.null))
    return 0


def _is_module_file(name: str) -> bool:
    if not module_file_suffix(name):
        return False
    try:
        return stat.S_ISREG(os.stat(name).st_mode)  # noqa: PTH116 - pathlib is 10 ms of the start
    except (OSError, ValueError):
        return False


def _tree(root: str | None, release: str | None) -> ModuleTree | str | None:
    """Return the module tree that ``-b`` and ``-k`` mean, None for the running kernel's."""
    if root is None and release is None:
        return None
    base = root or ""
    if base and not base.startswith("/"):
        base = f"{os.getcwd()}/{base}"  # noqa: PTH109
    places = [f"{base}/{where}/{release or os.uname().release}" for where in ("lib/modules", "usr/lib/modules")]
    from kmodkit.kernel.files import ModuleTree

    # Not by find_tree, which makes the path shorter where it can be: the field filename shows it as it was given.
    return next((ModuleTree(place) for place in places if os.path.isdir(place)), places[0])  # noqa: PTH112
