"""The command line: ``kmodkit VERB ...``, one file a verb, imported only when that verb runs.

Exit status of every verb, where its own help does not say more: 0 done, 1 something failed or was not found,
2 the call's words are wrong.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Final

from kmodkit import __version__
from kmodkit.errors import KmodError

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS: Final = {
    "index": "read a module tree and write its meta.pb",
    "lookup": "show the modules that devices need",
    "info": "show what modules say of themselves",
    "deps": "show what modules need, in load order",
    "patterns": "show the tree of alias patterns",
    "load": "load modules and what they need",
    "unload": "unload modules",
    "status": "show what is loaded",
    "coldplug": "load what the devices that are there need",
    "watch": "follow devices as they come, and load what they need",
    "ktest": "run a command inside a real kernel in QEMU",
}

_USAGE: Final = """\
usage: kmodkit VERB [ARGUMENT...]
       kmodkit VERB --help
       kmodkit --version

Read, index, look up, load and unload Linux kernel modules.

"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; argparse raises SystemExit for --help and wrong words."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:2] == ["-q", "--"]:
        # How the kernel calls the helper named in /proc/sys/kernel/modprobe (kernel/module/kmod.c).
        words.insert(0, "load")
    if not words or words[0] not in VERBS:
        return _without_verb(words)
    try:
        status = _run(words[0], words[1:])
        sys.stdout.flush()
    except KmodError as error:
        print(f"kmodkit {words[0]}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read us has enough, as `head` does. What is still in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _run(verb: str, words: Sequence[str]) -> int:
    import argparse

    module = importlib.import_module(f"kmodkit.cli.{verb}")
    parser = argparse.ArgumentParser(
        prog=f"kmodkit {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(words))
    return status


def _without_verb(words: Sequence[str]) -> int:
    verbs = _USAGE + "verbs:\n" + "".join(f"  {verb:10}{text}\n" for verb, text in VERBS.items())
    if words and words[0] in ("-h", "--help"):
        print(verbs, end="")
        return 0
    if words and words[0] in ("-V", "--version"):
        print(f"kmodkit {__version__}")
        return 0
    if words:
        print(f"kmodkit: no such verb: {words[0]}", file=sys.stderr)
    print(verbs, end="", file=sys.stderr)
    return 2
