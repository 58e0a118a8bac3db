"""rmmod(8): unload modules, and nothing that they needed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from kmodkit.cli.options import Log, Options, answered
from kmodkit.core.names import normalize_name
from kmodkit.errors import FileError, KmodError, SyscallError
from kmodkit.kernel import modules

if TYPE_CHECKING:
    from collections.abc import Sequence

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
\t{prog} [options] MODULE ...
Options:
\t-f, --force       unload even what is in use, which most likely crashes
\t                  the kernel
\t-s, --syslog      send messages to syslog instead of standard error
\t-v, --verbose     say more
\t    --json        print the outcomes as JSON
\t-V, --version     print the version
\t-h, --help        print this help
"""


def main(words: Sequence[str], prog: str = "rmmod") -> int:
    """Run the command and return its exit status: 0 all unloaded, 1 one was not or wrong words."""
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
        log.error("missing module name.")
        return 1
    outcomes = []
    for word in options.operands:
        name = module_name(word)
        problems = _remove(name, force=force)
        for problem in problems:
            log.error(problem)
        outcomes.append({"name": name, "ok": not problems, "error": problems[-1] if problems else None})
    if as_json:
        from kmodkit.cli.common import print_json

        print_json(outcomes)
    return 0 if all(outcome["ok"] for outcome in outcomes) else 1


def module_name(word: str) -> str:
    """Return the module that a word of the command line means: a name, or a file's path.

    >>> module_name("snd-timer.ko.xz")
    'snd_timer'
    """
    try:
        os.stat(word)  # noqa: PTH116 - pathlib is 10 ms of the start
        word = word.rpartition("/")[2]
    except (OSError, ValueError):
        pass
    return normalize_name(word.partition(".")[0])


def _remove(name: str, *, force: bool) -> list[str]:
    """Unload a module and return what went wrong."""
    from kmodkit.kernel.syscalls import delete_module

    try:
        if not force and (reason := _why_not(name)) is not None:
            return [reason]
        delete_module(name, flags=os.O_NONBLOCK | (os.O_TRUNC if force else 0))
    except SyscallError as error:
        # Twice, as libkmod and the tool both say it: scripts look for the one or the other.
        return [
            f"could not remove '{name}': {error.strerror}",
            f"could not remove module {name}: {error.strerror}",
        ]
    except KmodError as error:
        return [f"could not remove module {name}: {error}"]
    return []


def _why_not(name: str) -> str | None:
    """Return why a module cannot be unloaded, None where nothing shows that."""
    holders = modules.holders(name)
    if holders is None:
        if modules.is_builtin(name) or _listed_builtin(name):
            return f"Module {name} is builtin."
        return f"Module {name} is not currently loaded"
    if holders:
        return f"Module {name} is in use by: {' '.join(holders)}"
    count = modules.refcnt(name)
    if count is None:
        return "Module unloading is not supported"
    if count < 0:
        return f"Module {name} is being unloaded"
    return f"Module {name} is in use" if count else None


def _listed_builtin(name: str) -> bool:
    """Return whether the tree of the running kernel says that ``name`` is built in."""
    from kmodkit.core.names import name_from_path, to_text
    from kmodkit.kernel.files import find_tree

    try:
        listed = find_tree().read_text("modules.builtin")
    except (KmodError, FileError):
        return False
    return name in map(name_from_path, to_text(listed or b"").splitlines())
