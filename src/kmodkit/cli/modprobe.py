"""modprobe(8): load and unload modules with all that belongs to them, as modprobe.d(5) says."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kmodkit.cli.options import WARNING, Log, Options, answered
from kmodkit.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kmodkit.kernel.syscalls import ModuleFlags
    from kmodkit.modprobe.calls import Calls
    from kmodkit.modprobe.insert import Action, Inserter
    from kmodkit.modprobe.lookup import Modules, Target

_SHORT: Final = "arw:RibfDcnC:d:S:sqvVh"
_LONG: Final = {
    "all": "a",
    "remove": "r",
    "remove-dependencies": "holders",
    "remove-holders": "holders",
    "wait=": "w",
    "first-time": "first_time",
    "ignore-install": "i",
    "ignore-remove": "i",
    "use-blacklist": "b",
    "force": "f",
    "force-modversion": "modversion",
    "force-vermagic": "vermagic",
    "resolve-alias": "R",
    "show-depends": "D",
    "showconfig": "c",
    "show-config": "c",
    "show-modversions": "modversions",
    "dump-modversions": "modversions",
    "show-exports": "exports",
    "dry-run": "n",
    "show": "n",
    "config=": "C",
    "dirname=": "d",
    "set-version=": "S",
    "syslog": "s",
    "quiet": "q",
    "verbose": "v",
    "version": "V",
    "help": "h",
    "json": "json",
    "explain": "explain",
    "blacklisted": "blacklisted",
    "strict-params": "strict_params",
}

_HELP: Final = """\
Usage:
\t{prog} [options] [-i] [-b] NAME [PARAMETER=VALUE ...]
\t{prog} [options] -a [-i] [-b] NAME ...
\t{prog} [options] -r [-i] NAME ...
\t{prog} [options] -c
\t{prog} [options] --explain NAME [PARAMETER=VALUE ...]

What to do:
\t-a, --all               load every NAME, and go on where one fails
\t-r, --remove            unload
\t    --remove-holders    unload what uses the module first, with -r
\t    --remove-dependencies  the same, by its old name
\t-w, --wait=MSEC         with -r, try again for so long where it is in use
\t    --first-time        fail where it is loaded, or not loaded, already
\t-i, --ignore-install    pass over the install and remove lines of NAME
\t    --ignore-remove     the same
\t-b, --use-blacklist     heed blacklist lines for names of modules, too
\t-f, --force             the next two in one; with -r, unload what is in use
\t    --force-modversion  ignore the versions of symbols
\t    --force-vermagic    ignore the version magic
\t    --strict-params     load no module with a parameter it does not list

What to show:
\t-R, --resolve-alias     print the modules that NAME means
\t-D, --show-depends      print what would be loaded
\t-c, --showconfig        print the configuration and the indexes
\t    --show-config       the same
\t    --show-modversions  print the symbols that a file needs
\t    --dump-modversions  the same
\t    --show-exports      print the symbols that a file exports
\t    --explain           print what would be done, and which line says so
\t    --blacklisted       print which modules NAME needs that are blacklisted

In general:
\t-n, --dry-run           do nothing
\t    --show              the same
\t-C, --config=PATH       read this file or directory, not the usual ones
\t-d, --dirname=ROOT      take modules from below ROOT
\t-S, --set-version=RELEASE  take modules of this kernel
\t-s, --syslog            send messages to syslog
\t-q, --quiet             say nothing of what goes wrong
\t-v, --verbose           say what is done
\t    --json              print JSON
\t-V, --version           print the version
\t-h, --help              print this help
"""


class Ended(Exception):  # noqa: N818 - no error of its own: the way out of a request that cannot be met
    """Nothing more is to be done, as after a message that kmod calls fatal."""


@dataclass(slots=True)
class Call:
    """The words of one call."""

    log: Log
    flags: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)
    root: str | None = None
    release: str | None = None
    wait: int = 0
    operands: list[str] = field(default_factory=list)

    def __contains__(self, flag: str) -> bool:
        return flag in self.flags

    @property
    def tree(self) -> str:
        """The directory of modules."""
        root = self.root or ""
        if root and not root.startswith("/"):
            root = f"{os.getcwd()}/{root}"  # noqa: PTH109 - pathlib is 10 ms of the start
        release = self.release if self.release is not None else os.uname().release
        usual = f"{root}/lib/modules/{release}"
        merged = f"{root}/usr/lib/modules/{release}"
        # A kernel package of Debian has no link lib; kmod finds nothing there.
        return merged if not os.path.lexists(usual) and os.path.lexists(merged) else usual


def main(words: Sequence[str], prog: str = "modprobe") -> int:
    """Run the command and return its exit status, 1 for everything that went wrong."""
    call = Call(Log(prog))
    options = Options([*environment_words(os.environ.get("MODPROBE_OPTIONS", "")), *words], _SHORT, _LONG)
    for key, value in options:
        if answered(key, _HELP, prog):
            return 0
        if not _take(call, key, value):
            return 1
    call.operands = options.operands
    if not call.operands and "c" not in call:
        # Wrong words are named with -q as well.
        Log(prog).error("missing parameters. See -h.")
        return 1
    return _run(call)


def environment_words(text: str) -> list[str]:
    """Return the words in MODPROBE_OPTIONS: blanks separate them, quotes of either kind keep one together.

    >>> environment_words('-v  -C "/etc/my conf"')
    ['-v', '-C', '/etc/my conf']
    """
    words: list[str] = []
    while text := text.lstrip(" "):
        quote = text[0]
        end = text.find(f"{quote} ", 1) if quote in "\"'" else -1
        if quote in "\"'" and (end > 0 or (len(text) > 1 and text.endswith(quote))):
            end = end if end > 0 else len(text) - 1
            words.append(text[1:end])
            text = text[end + 1 :]
        else:
            word, _, text = text.partition(" ")
            words.append(word)
    return words


def _take(call: Call, key: str, value: str) -> bool:
    """Note an option; return False where its argument is a wrong one."""
    if key == "w":
        if not (value.isascii() and value.isdigit()):
            Log(call.log.prog).error(f"unexpected wait value '{value}'.")
            return False
        call.wait = int(value[:9])
    elif key == "C":
        call.places.append(value)
        _hand_on(f"-C {value}")
    elif key == "d":
        call.root = value
    elif key == "S":
        call.release = value
    elif key == "q":
        call.log.level = 0
        _hand_on("-q")
    elif key == "v":
        call.log.level += 1
        _hand_on("-v")
    elif key == "s":
        call.log.syslog = True
        _hand_on("-s")
    else:
        call.flags.add(key)
    return True


def _hand_on(words: str) -> None:
    """Give an option to the modprobe that an install or remove line may run."""
    before = os.environ.get("MODPROBE_OPTIONS")
    os.environ["MODPROBE_OPTIONS"] = f"{before} {words}" if before else words


def open_modules(call: Call) -> Modules:
    """Return the modules of the call's tree with the configuration of the machine."""
    from kmodkit.modprobe.lookup import Modules, NameIndex
    from kmodkit.modprobe.settings import load_config

    # The command line of this kernel says nothing of another root.
    cmdline = "/proc/cmdline" if call.root in (None, "/") else None
    config = load_config(call.tree, call.places or None, cmdline=cmdline)
    for problem in config.problems:
        call.log.error(problem.text)
    return Modules(call.tree, NameIndex(call.tree), config, lambda error: call.log.error(str(error)))


def _run(call: Call) -> int:
    if call.flags & {"c", "modversions", "exports", "explain", "blacklisted"}:
        from kmodkit.cli import modprobe_query

        return modprobe_query.run(call)
    modules = open_modules(call)
    shown = Shown(call)
    act = _remove if "r" in call else _insert
    try:
        status = act(call, modules, shown)
    except Ended:
        status = 1
    shown.end()
    return status


class Shown:
    """Says what happens, as kmod does or, with ``--json``, in one document at the end."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._records: list[dict[str, str | None]] | None = [] if "json" in call else None
        self._print = call.log.level > WARNING or "D" in call

    def acting(self, action: Action, target: Target, params: str = "", command: str = "") -> None:
        """Say what is about to be done, or would be."""
        if self._records is not None:
            record = {"action": action, "name": target.name, "path": target.path, "params": params}
            self._records.append({**record, "command": command or None})
        elif self._print:
            what = {
                "insmod": f"insmod {target.path} {params}",
                "install": f"install {command} {params}",
                "remove": f"remove {command}",
            }
            # Flushed where kmod does, so that the output of commands stands at the same place in a pipe.
            print(what.get(action, f"{action} {target.name}"), flush=action == "remove")

    def failed(self, text: str) -> None:
        """Say what went wrong, while the rest goes on."""
        self._error(text)
        self._call.log.error(text)

    def refused(self, text: str) -> None:
        """Say why a request cannot be met; with one request, that is the end."""
        self._error(text)
        if "a" in self._call:
            self._call.log.warning(text)
            return
        self._call.log.critical(text)
        raise Ended

    def resolved(self, names: Sequence[str]) -> None:
        """Print what a name means."""
        if self._records is not None:
            self._records += ({"action": "resolve", "name": name} for name in names)
        else:
            print(*names, sep="\n")

    def end(self) -> None:
        """Print what was kept."""
        if self._records is not None:
            from kmodkit.cli.common import print_json

            print_json(self._records)

    def _error(self, text: str) -> None:
        if self._records is not None:
            self._records.append({"action": "error", "error": text})


def _insert(call: Call, modules: Modules, shown: Shown) -> int:
    from kmodkit.cli.insmod import parameter_string
    from kmodkit.modprobe.insert import Inserter, InsertOptions

    options = InsertOptions(
        dry_run="n" in call or "D" in call,
        ignore_loaded="D" in call,
        ignore_command="i" in call,
        blacklist="b" in call,
        first_time="first_time" in call,
        flags=_load_flags(call),
    )
    inserter = Inserter(modules, _calls(), shown, options, None if "D" in call else _check(call, shown))
    if "a" in call:
        return max([_insert_one(call, modules, shown, inserter, name, "") for name in call.operands])
    name, *params = call.operands
    return _insert_one(call, modules, shown, inserter, name, parameter_string(params))


def _insert_one(call: Call, modules: Modules, shown: Shown, inserter: Inserter, name: str, params: str) -> int:
    from kmodkit.modprobe.insert import insert_message

    if name.startswith(("/", "./")):
        try:
            targets: tuple[Target, ...] = (modules.from_path(name),)
        except FileError as error:
            shown.refused(f"Failed to get module from path {name}: {error.strerror}")
            return 1
    else:
        targets = modules.lookup(name).targets
    if not targets:
        shown.refused(f"Module {name} not found in directory {modules.root}")
        return 1
    if "R" in call:
        shown.resolved([target.name for target in targets])
        return 0
    error_number = 0
    for target in targets:
        error_number = inserter.insert(target, params)
        if error_number:
            shown.failed(insert_message(target.name, error_number))
    return 1 if error_number else 0


def _remove(call: Call, modules: Modules, shown: Shown) -> int:
    from kmodkit.modprobe.remove import RemoveOptions, Remover

    options = RemoveOptions(
        dry_run="n" in call or "D" in call,
        ignore_loaded="D" in call,
        ignore_command="i" in call,
        first_time="first_time" in call,
        holders="holders" in call,
        force="f" in call,
        wait=call.wait / 1000,
    )
    remover = Remover(modules, _calls(), shown, options)
    status = 0
    for name in call.operands:
        targets = modules.lookup(name).targets
        if not targets:
            shown.refused(f"Module {name} not found.")
            status = 1
        for target in targets:
            status |= 1 if remover.remove(target) else 0
    return status


def _calls() -> Calls:
    from kmodkit.modprobe.calls import Calls

    return Calls()


def _load_flags(call: Call) -> ModuleFlags:
    from kmodkit.kernel.syscalls import ModuleFlags

    flags = ModuleFlags.NONE
    if call.flags & {"f", "modversion"}:
        flags |= ModuleFlags.IGNORE_MODVERSIONS
    if call.flags & {"f", "vermagic"}:
        flags |= ModuleFlags.IGNORE_VERMAGIC
    return flags


def _check(call: Call, shown: Shown) -> Callable[[Target, str], bool]:
    """Return a test of parameters: it names those that a module does not list, which the kernel would swallow."""

    def check(target: Target, params: str) -> bool:
        from kmodkit.modprobe.explain import unknown_to

        unknown = unknown_to(target, params)
        for name in unknown:
            text = f"Module {target.name} lists no parameter '{name}'"
            if "strict_params" in call:
                shown.failed(text)
            else:
                call.log.warning(text)
        return not unknown or "strict_params" not in call

    return check
