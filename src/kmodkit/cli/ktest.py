"""Run a command inside a real kernel in QEMU.

The guest has a Python interpreter, the package kmodkit, and the modules asked for with all they need. It starts
from a snapshot taken after boot, which the first run makes and later ones find in the cache. The command's output
goes to standard output, the kernel's log with --console to standard error.

Exit status: that of the command, up to 251 (127: no such program in the guest, 128 + N: ended by signal N; more
than 251 becomes 251). 252: the run could not be made. 253: out of time, at boot or in the command. 254: the guest
was lost (a kernel panic, a reset) or its answer was garbled, so that the command's status is not known.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from kmodkit.errors import KmodError
    from kmodkit.ktest.process import Completed
    from kmodkit.ktest.runner import Setup

MAX_STATUS: Final = 251
NOT_MADE: Final = 252
TIMED_OUT: Final = 253
LOST: Final = 254


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    kernel_help = "a kernel image, or a directory that holds one and its modules, as an unpacked package does"
    add("--kernel", metavar="PATH", required=True, help=kernel_help)
    add("--modules-root", metavar="DIR", help="the modules, where they are not beside the kernel")
    add("--module", metavar="NAME", action="append", default=[], help="have this module in the guest; '*' for all")
    add("--device", metavar="DEVICE", action="append", default=[], help="emulate it, as QEMU's -device takes it")
    add("--timeout", metavar="S", type=float, default=60.0, help="seconds for the command (default: 60)")
    add("--boot-timeout", metavar="S", type=float, default=120.0, help="seconds for the boot (default: 120)")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--snapshot", dest="cold", action="store_false", help="start from a snapshot (the default)")
    mode.add_argument("--cold", action="store_true", help="boot for this run alone")
    add("--file", metavar="HOST:GUEST", action="append", default=[], help="put a file or directory into the image")
    add("--archive", metavar="FILE", action="append", default=[], help="unpack this initramfs over the image")
    add("--program", metavar="PROGRAM", action="append", default=[], help="put a program and its libraries there")
    add("--python", metavar="PROGRAM", help="the interpreter for the guest (default: the one that runs this)")
    path_help = "a directory for the guest's sys.path, or a package (default: kmodkit)"
    add("--python-path", metavar="DIR", action="append", default=[], help=path_help)
    add("--dist", metavar="NAME", action="append", default=[], help="an installed distribution for the guest")
    add("--env", metavar="NAME=VALUE", action="append", default=[], help="set it for the command")
    add("--stdin", action="store_true", help="give the command our standard input, all of it, at most 1 MiB")
    add("--memory", metavar="MIB", type=int, default=0, help="the guest's memory (default: 512, more if need be)")
    add("--cpus", metavar="N", type=int, default=2, help="the guest's processors (default: 2)")
    add("--append", metavar="WORDS", default="", help="more words for the kernel's command line")
    add("--accel", choices=("tcg", "kvm", "auto"), default="tcg", help="auto: KVM if a trial shows that it works")
    add("--console", action="store_true", help="copy the kernel's log to standard error")
    add("--json", action="store_true", help="print one JSON object at the end, and nothing before")
    add("command", nargs="+", metavar="-- COMMAND", help="the command and its arguments; there is no shell")


def run(args: argparse.Namespace) -> int:
    """Run the command and return the exit status."""
    from kmodkit.errors import KmodError, KtestLostError, KtestTimeoutError

    try:
        done = _run(args)
    except KtestTimeoutError as error:
        return _failed(args, TIMED_OUT, "timed out", error)
    except KtestLostError as error:
        return _failed(args, LOST, "lost", error)
    except KmodError as error:
        return _failed(args, NOT_MADE, "not made", error)
    if args.json:
        _print_json("completed", done.status, "", done.output, done.console, done.seconds)
    return min(done.status, MAX_STATUS)


def _run(args: argparse.Namespace) -> Completed:
    from kmodkit.ktest.runner import start

    def show(channel: str, data: bytes) -> None:
        if args.json or (channel == "console" and not args.console):
            return
        stream = (sys.stderr if channel == "console" else sys.stdout).buffer
        stream.write(data)
        stream.flush()

    stdin = sys.stdin.buffer.read() if args.stdin else b""
    env = dict(_pair(text, "=", "NAME=VALUE") for text in args.env)
    with start(_setup(args), cold=args.cold, on_data=show, boot_timeout=args.boot_timeout) as machine:
        return machine.run(args.command, timeout=args.timeout, env=env, stdin=stdin)


def _setup(args: argparse.Namespace) -> Setup:
    from pathlib import Path

    import kmodkit
    from kmodkit.ktest.image import ImageSpec
    from kmodkit.ktest.runner import Setup

    own = Path(kmodkit.__file__).parent
    image = ImageSpec(
        python=Path(args.python) if args.python else None,
        python_path=tuple(Path(path) for path in args.python_path) or (own,),
        distributions=tuple(args.dist),
        programs=tuple(Path(path) for path in args.program),
        archives=tuple(Path(path) for path in args.archive),
        files=tuple((Path(host), guest) for host, guest in (_pair(text, ":", "HOST:GUEST") for text in args.file)),
    )
    return Setup(
        kernel=Path(args.kernel),
        modules_root=Path(args.modules_root) if args.modules_root else None,
        modules=tuple(args.module),
        image=image,
        devices=tuple(args.device),
        memory=args.memory,
        cpus=args.cpus,
        append=args.append,
        accel=args.accel,
    )


def _pair(text: str, separator: str, form: str) -> tuple[str, str]:
    from kmodkit.errors import KtestError

    left, found, right = text.partition(separator)
    if not (left and found):
        raise KtestError(f"{text!r} is not of the form {form}")
    return left, right


def _failed(args: argparse.Namespace, status: int, outcome: str, error: KmodError) -> int:
    print(f"kmodkit ktest: {error}", file=sys.stderr)
    if args.json:
        output, console = getattr(error, "output", b""), getattr(error, "console", b"")
        _print_json(outcome, None, str(error), output, console, None)
    return status


def _print_json(
    outcome: str, status: int | None, error: str, output: bytes, console: bytes, seconds: float | None
) -> None:
    import json

    document = {
        "outcome": outcome,
        "status": status,
        "error": error,
        "output": output.decode(errors="replace"),
        "console": console.decode(errors="replace"),
        "seconds": seconds,
    }
    print(json.dumps(document, indent=2))
