"""The command line: ``kmodkit VERB ...``, one file a verb, imported only when that verb runs.

Exit status of every verb, where its own help does not say more: 0 done, 1 something failed or was not found,
2 the call's words are wrong.
"""

from __future__ import annotations

import errno
import importlib
import io
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
    "fwprune": "write meta.pb and an FSSpec of modules and the firmware they ask for",
    "ktest": "run a command inside a real kernel in QEMU",
}

# What writing to standard output may end in; for all other files we raise a FileError.
_OUTPUT_ERRORS: Final = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

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
        _open_standard_streams()
    if not words or words[0] not in VERBS:
        return _without_verb(words)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names come out of files: one that is no text of this terminal is printed with escapes, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(words[0], words[1:])
        sys.stdout.flush()
    except KmodError as error:
        print(f"kmodkit {words[0]}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        # Whoever read us may have enough, as `head` has; a disk that is full is another matter.
        if not isinstance(error, BrokenPipeError):
            print(f"kmodkit {words[0]}: standard output: {error.strerror}", file=sys.stderr)
        # What is still in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _open_standard_streams() -> None:
    """Give the process descriptors 0 to 2, which the kernel starts its helpers without.

    A module's file would else be one of them, and what is printed would go into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - the function's own form
    os.close(descriptor)
    sys.stdout = sys.stdout or io.TextIOWrapper(io.FileIO(1, "w", closefd=False))
    sys.stderr = sys.stderr or io.TextIOWrapper(io.FileIO(2, "w", closefd=False))


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
