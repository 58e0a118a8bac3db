"""lsmod(8): show the loaded modules."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from kmodkit.cli.options import Log, Options, answered
from kmodkit.errors import FileError, KmodError
from kmodkit.kernel import modules

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONG: Final = {"syslog": "s", "verbose": "v", "version": "V", "help": "h", "json": "json"}

_HELP: Final = """\
Usage:
\t{prog} [options]
Options:
\t-s, --syslog      send messages to syslog instead of standard error
\t-v, --verbose     say more
\t    --json        print JSON
\t-V, --version     print the version
\t-h, --help        print this help
"""


class Row(NamedTuple):
    """One module: ``size`` in bytes, ``refcnt`` None where the kernel does not count."""

    name: str
    size: int
    refcnt: int | None
    holders: tuple[str, ...]


def main(words: Sequence[str], prog: str = "lsmod") -> int:
    """Run the command and return its exit status: 0 done, 1 no list of modules or wrong words."""
    log = Log(prog)
    as_json = False
    options = Options(words, "svVh", _LONG)
    for key, _ in options:
        if answered(key, _HELP, prog):
            return 0
        as_json |= key == "json"
        log.take(key)
    if options.operands:
        log.error("too many arguments provided.")
        return 1
    try:
        rows = loaded()
    except FileError as error:
        log.error(f"could not open /proc/modules: {error.strerror}")
        log.error(f"could not get list of modules: {error.strerror}")
        return 1
    except KmodError as error:
        log.error(f"could not get list of modules: {error}")
        return 1
    if as_json:
        from kmodkit.cli.common import print_json

        print_json([row._asdict() for row in rows])
    else:
        print(format_rows(rows), end="")
    return 0


def loaded(*, proc: modules.Root = "/proc", sys: modules.Root = "/sys") -> list[Row]:
    """Return what is loaded, the module loaded last first; sizes and users from sysfs, as kmod takes them."""
    rows = []
    for module in modules.loaded_modules(proc=proc):
        size = modules.size(module.name, sys=sys)
        rows.append(
            Row(
                module.name,
                module.size if size is None else size,
                modules.refcnt(module.name, sys=sys),
                modules.holders(module.name, sys=sys) or (),
            )
        )
    return rows


def format_rows(rows: Sequence[Row]) -> str:
    """Return the table that lsmod prints."""
    lines = ["Module                  Size  Used by\n"]
    for name, size, refcnt, holders in rows:
        count = -errno.ENOENT if refcnt is None else refcnt
        users = " " + ",".join(holders) if holders else ""
        lines.append(f"{name:<19} {size:8}  {count}{users}\n")
    return "".join(lines)
