"""The command line: ``kmodkit VERB ...``, one file a verb, imported only when that verb runs.

Exit status of every verb, where its own help does not say more: 0 done, 1 something failed or was not found,
2 the call's words are wrong. The commands of kmod are verbs as well, and answer to their names where kmodkit is
called through a link; these take their words as kmod does, and end with 1 where those are wrong.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys

from kmodkit import __version__
from kmodkit.errors import KmodError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

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
    "image": "write an image of modules and their firmware",
    "size": "show what takes the space in an image",
    "explain": "say why a module or firmware is in an image, or is not",
    "snapshot": "write down the devices of this machine, or compare with that",
    "fwprune": "write meta.pb and an FSSpec of modules and the firmware they ask for",
    "ktest": "run a command inside a real kernel in QEMU",
    "link-tools": "make links with the names of kmod's commands",
}

TOOLS: Final = {
    "modprobe": "load and unload modules, with their dependencies and configuration",
    "depmod": "write the indexes of a module tree",
    "modinfo": "show what modules say of themselves",
    "lsmod": "show the loaded modules",
    "insmod": "load one module file",
    "rmmod": "unload modules",
    "list": "the same as lsmod",
    "static-nodes": "show the device nodes that load modules",
}
"""The commands of kmod, which take their words themselves: ``main(words, prog)`` in each one's file."""

LINK_NAMES: Final = ("modprobe", "depmod", "modinfo", "lsmod", "insmod", "rmmod", "kmod")
"""The names that kmodkit can be called by."""

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
    if sys.stdout is None or sys.stderr is None:
        _open_standard_streams()
    called = sys.argv[0].rpartition("/")[2] if argv is None and sys.argv else ""
    if called in LINK_NAMES:
        return _guarded(called, lambda: _run_tool(called, called, words))
    if words[:2] == ["-q", "--"]:
        # How the kernel calls the helper named in /proc/sys/kernel/modprobe (kernel/module/kmod.c).
        words.insert(0, "load")
    if not words or (words[0] not in VERBS and words[0] not in TOOLS):
        return _without_verb(words)
    verb, *rest = words
    if verb in TOOLS:
        return _guarded(verb, lambda: _run_tool(verb, f"kmodkit {verb}", rest))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names come out of files: one that is no text of this terminal is printed with escapes, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    return _guarded(f"kmodkit {verb}", lambda: _run(verb, rest))


def _guarded(name: str, command: Callable[[], int]) -> int:
    """Run a command; ``name`` begins the message of what it does not handle itself."""
    try:
        status = command()
        sys.stdout.flush()
    except KmodError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        # Whoever read us may have enough, as `head` has; a disk that is full is another matter.
        if not isinstance(error, BrokenPipeError):
            print(f"{name}: standard output: {error.strerror}", file=sys.stderr)
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
    module = importlib.import_module(f"kmodkit.cli.{verb.replace('-', '_')}")
    # What takes argparse longer to import than to be answered.
    plain = module.plain_words(words) if hasattr(module, "plain_words") else None
    status: int
    if plain is not None:
        status = module.run(plain)
        return status
    import argparse

    parser = argparse.ArgumentParser(
        prog=f"kmodkit {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    status = module.run(parser.parse_args(words))
    return status


def _run_tool(name: str, prog: str, words: Sequence[str]) -> int:
    """Run a command of kmod, which writes the bytes of names and fields as they are, as kmod does."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    # No file is called list.py: as an attribute of this package it would hide Python's list here.
    file = "lsmod" if name == "list" else name.replace("-", "_")
    status: int = importlib.import_module(f"kmodkit.cli.{file}").main(words, prog)
    return status


def _without_verb(words: Sequence[str]) -> int:
    verbs = "".join(
        f"{title}:\n" + "".join(f"  {verb:14}{text}\n" for verb, text in group.items())
        for title, group in (("verbs", VERBS), ("\ncommands of kmod", TOOLS))
    )
    verbs = _USAGE + verbs
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
