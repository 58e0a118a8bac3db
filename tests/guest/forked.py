"""Calls of kmodkit's commands inside a guest, each in a process of its own that has them imported already.

On an emulated processor the imports of one call take a second, and there are a hundred calls. What runs is the
same as in a process started afresh: the entry point, with the name it is called by.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import NamedTuple

from kmodkit.cli import depmod, insmod, lsmod, main, modprobe, modprobe_query, rmmod

IMPORTED = (depmod, insmod, lsmod, modprobe, modprobe_query, rmmod)


class Done(NamedTuple):
    """What a call did, with the names that `subprocess` gives to it."""

    returncode: int
    stdout: str
    stderr: str


def call(name: str, *words: str) -> Done:
    """Run the command ``name``, as a link of that name would."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            _be_the_command(out.fileno(), err.fileno(), [f"/usr/sbin/{name}", *words])
        _, status = os.waitpid(child, 0)
        for file in (out, err):
            file.seek(0)
        return Done(os.waitstatus_to_exitcode(status), out.read(), err.read())


def _be_the_command(out: int, err: int, argv: list[str]) -> None:
    """Run to the end in this process, which is a child of its own."""
    status: object = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.argv = argv
        status = main()
    except SystemExit as error:
        status = error.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)
