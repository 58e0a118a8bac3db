"""Runs modprobe, the real one or ours, over made-up roots and loaded states, and notes what it does.

The tool runs below strace, which answers the module calls itself, so nothing is loaded or unloaded; and in a mount
namespace of its own, whose /proc and /sys hold nothing but the state given.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import kmodkit
from tests.require import need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCES = Path(kmodkit.__file__).parents[1]
OURS = (sys.executable, "-c", "import sys; from kmodkit.cli import main; sys.exit(main())", "modprobe")

_STATES = {"live": "Live", "coming": "Loading", "going": "Unloading"}
_MODULE_CALL = re.compile(r"\b((?:finit|init|delete)_module\(.*\))\s+= ")
_SHELL_CALL = re.compile(r'\bexecve\("/bin/sh", \["sh", "-c", (?:"--", )?(".*")\], ')
_POINTER = re.compile(r"0x[0-9a-f]+")
_DESCRIPTOR = re.compile(r"\(\d+<")
# What kmod 30 puts before a message of its library: the source line and the function.
_LIBRARY_PLACE = re.compile(r"(?: |: )\.\./libkmod/\S+ (\w+)(\(\) |: )")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A module of a made-up kernel."""

    name: str
    refcnt: int = 0
    holders: tuple[str, ...] = ()
    state: str = "live"


@dataclass(frozen=True, slots=True)
class Did:
    """What a run did: its exit status, what it printed, and its module calls and shell commands in order."""

    status: int
    out: str
    err: str
    calls: tuple[str, ...]


def write_state(directory: Path, loaded: Sequence[Loaded], cmdline: str = "") -> None:
    """Write what /proc and /sys of a kernel with these modules hold, into ``directory``."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "proc").mkdir(parents=True)
    (directory / "sys/module").mkdir(parents=True)
    (directory / "proc/cmdline").write_text(cmdline + "\n")
    lines = []
    for module in loaded:
        users = "".join(holder + "," for holder in module.holders) or "-"
        lines.append(f"{module.name} 16384 {module.refcnt} {users} {_STATES[module.state]} 0x0000000000000000\n")
        place = directory / "sys/module" / module.name
        (place / "holders").mkdir(parents=True)
        for holder in module.holders:
            (place / "holders" / holder).mkdir()
        (place / "initstate").write_text(module.state + "\n")
        (place / "refcnt").write_text(f"{module.refcnt}\n")
        (place / "coresize").write_text("16384\n")
    (directory / "proc/modules").write_text("".join(lines))


@dataclass(frozen=True, slots=True)
class Bench:
    """A place to run modprobe in: ``work`` is a directory for its files."""

    work: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        tool: Sequence[str],
        words: Sequence[str],
        *,
        loaded: Sequence[Loaded] = (),
        cmdline: str = "",
        answer: str = "retval=0",
        env: Mapping[str, str] | None = None,
    ) -> Did:
        """Run ``tool`` with ``words``; ``answer`` is what strace gives the module calls."""
        state = self.work / "state"
        write_state(state, loaded, cmdline)
        trace = self.work / "trace"
        mounts = 'mount --bind "$0/proc" /proc && mount --bind "$0/sys" /sys && exec "$@"'
        calls = "finit_module,init_module,delete_module"
        argv = [
            *("strace", "-f", "-y", "-qq", "-s", "4096", "-e", "signal=none", "-o", str(trace)),
            *("-e", f"trace={calls},execve", "-e", f"inject={calls}:{answer}"),
            *("unshare", "-m", "/bin/sh", "-c", mounts, str(state), *tool, *words),
        ]
        base = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONPATH": str(SOURCES), "LANG": "C"}
        done = subprocess.run(
            argv, env={**base, **self.env, **(env or {})}, capture_output=True, check=False, cwd=self.work
        )
        err = _LIBRARY_PLACE.sub(_place, done.stderr.decode("utf-8", "surrogateescape"))
        return Did(
            done.returncode,
            done.stdout.decode("utf-8", "surrogateescape"),
            err,
            tuple(_calls(trace.read_text("utf-8", "surrogateescape"))),
        )


def _place(found: re.Match[str]) -> str:
    # kmod 34 has "ERROR: name: text" for 30's "ERROR ../libkmod/x.c:1 name: text", and "ERROR: text" for
    # "ERROR: ../libkmod/x.c:1 name() text".
    return f": {found[1]}: " if found[2] == ": " else ": "


def _calls(trace: str) -> list[str]:
    found = []
    for line in trace.splitlines():
        if call := _MODULE_CALL.search(line):
            found.append(_POINTER.sub("PTR", _DESCRIPTOR.sub("(<", call[1])))
        elif shell := _SHELL_CALL.search(line):
            found.append(f"sh -c {shell[1]}")
    return found


@functools.cache
def namespaces() -> None:
    """Skip the test, or fail it where kmod is required, unless this machine lets us trace and mount."""
    words = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=execve", "-e", "inject=delete_module:retval=0"]
    words += ["unshare", "-m", "/bin/sh", "-c", "mount --bind /tmp /proc && mount --bind /tmp /sys"]
    allowed = False
    if shutil.which("strace") and shutil.which("unshare"):
        allowed = subprocess.run(words, capture_output=True, check=False).returncode == 0
    need(allowed or None, "strace with injection and mount namespaces are needed: install strace, be root", "kmod")
