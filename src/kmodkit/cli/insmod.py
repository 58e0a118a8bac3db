"""insmod(8): load one module file, and nothing that it needs."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from kmodkit.cli.options import Log, Options, answered
from kmodkit.errors import FileError, KmodError, SyscallError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONG: Final = {
    "force": "f",
    "syslog": "s",
    "verbose": "v",
    "version": "V",
    "help": "h",
    "json": "json",
}

_HELP: Final = """\
Usage:
\t{prog} [options] FILE [PARAMETER=VALUE ...]
Options:
\t-f, --force       load it although it was built for another kernel, which
\t                  may crash this one
\t-s, --syslog      send messages to syslog instead of standard error
\t-v, --verbose     say more
\t    --json        print the outcome as JSON
\t-V, --version     print the version
\t-h, --help        print this help
"""

_REASONS: Final = {
    errno.ENOEXEC: "Invalid module format",
    errno.ENOENT: "Unknown symbol in module",
    errno.ESRCH: "Module has wrong symbol version",
    errno.EINVAL: "Invalid parameters",
}


def main(words: Sequence[str], prog: str = "insmod") -> int:
    """Run the command and return its exit status: 0 loaded, 1 not loaded or wrong words."""
    log = Log(prog)
    force = as_json = False
    options = Options(words, "fsvVh", _LONG)
    for key, _ in options:
        if answered(key, _HELP, prog):
            return 0
        force |= key == "f"
        as_json |= key == "json"
        log.take(key)
    if not options.operands:
        log.error("missing filename.")
        return 1
    path, *params = options.operands
    if path == "-":
        log.error("this tool does not support loading from stdin!")
        return 1
    problem = _insert(path, parameter_string(params), force=force)
    if problem is not None:
        log.error(problem)
    if as_json:
        from kmodkit.cli.common import print_json

        print_json({"filename": path, "ok": problem is None, "error": problem})
    return 0 if problem is None else 1


def parameter_string(words: Iterable[str]) -> str:
    """Return parameters, given as words of a command line, as the kernel takes them.

    A value with a blank in it is put in double quotes, unless it begins with a quote.

    >>> parameter_string(["debug=1", "name=two words"])
    'debug=1 name="two words"'
    """
    quoted = []
    for word in words:
        name, equals, value = word.partition("=")
        if " " in value and value[0] not in "\"'":
            word = f'{name}{equals}"{value}"'
        quoted.append(word)
    return " ".join(quoted).lstrip(" ")


def load_reason(number: int) -> str:
    """Return what kmod's tools call an errno from loading a module."""
    return _REASONS.get(number) or os.strerror(number)


def _insert(path: str, params: str, *, force: bool) -> str | None:
    """Load the module and return what went wrong, None where nothing did."""
    from kmodkit.kernel.insert import insert_module
    from kmodkit.kernel.syscalls import ModuleFlags

    flags = ModuleFlags.IGNORE_MODVERSIONS | ModuleFlags.IGNORE_VERMAGIC if force else ModuleFlags.NONE
    try:
        os.stat(path)  # noqa: PTH116 - pathlib is 10 ms of the start
    except (OSError, ValueError) as error:
        return f"could not load module {path}: {getattr(error, 'strerror', None) or error}"
    try:
        insert_module(path, params, flags)
    except (SyscallError, FileError) as error:
        if os.path.isdir(path):  # noqa: PTH112
            return f"could not insert module {path}: {os.strerror(errno.EISDIR)}"
        return f"could not insert module {path}: {load_reason(error.errno) if error.errno else error.strerror}"
    except KmodError as error:
        return f"could not insert module {path}: {error}"
    return None
