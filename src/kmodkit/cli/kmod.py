"""kmod(8): the commands that have no name of their own."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Final

from kmodkit.cli.options import OptionError, Options, print_version

if TYPE_CHECKING:
    from collections.abc import Sequence

_HELP: Final = """\
kmod - read, list, load and unload Linux kernel modules
Usage:
\t{prog} [options] COMMAND [ARGUMENT ...]

Options:
\t-V, --version     print the version
\t-h, --help        print this help

Commands:
  help         print this help
  list         show the loaded modules
  static-nodes show the device nodes that load a module of the running kernel

Called by one of these names, it is that command:
  lsmod rmmod insmod modinfo modprobe depmod
"""

_COMMANDS: Final = {"list": "kmodkit.cli.lsmod", "static-nodes": "kmodkit.cli.static_nodes"}


def main(words: Sequence[str], prog: str = "kmod") -> int:
    """Run the command and return its exit status, 1 where the words are wrong."""
    options = Options(words, "hV", {"help": "h", "version": "V"}, permute=False)
    for key, _ in options:
        if key == "h":
            print(_HELP.format(prog=prog), end="")
        else:
            print_version()
        return 0
    if not options.operands:
        print("missing command", file=sys.stderr)
        print(_HELP.format(prog=prog), end="")
        return 1
    command, *rest = options.operands
    if command == "help":
        print(_HELP.format(prog=prog), end="")
        return 0
    if command not in _COMMANDS:
        print(f"invalid command '{command}'", file=sys.stderr)
        print(_HELP.format(prog=prog), end="")
        return 1
    name = prog if command == "list" else f"{prog} {command}"
    try:
        status: int = importlib.import_module(_COMMANDS[command]).main(rest, name)
    except OptionError as error:
        # kmod names the command in the messages of getopt, and itself in all others.
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    return status
