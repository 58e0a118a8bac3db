"""Make links to kmodkit with the names of kmod's commands, in a directory that exists.

The links are modprobe, depmod, modinfo, lsmod, insmod, rmmod and kmod. Called through one of them, kmodkit is that
command. What is there already stays, unless it is such a link; --force replaces links and files.

Exit status: 0 all links are there, 1 one could not be made, 2 the call's words are wrong.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kmodkit.cli import LINK_NAMES
from kmodkit.cli.common import add_json, print_json
from kmodkit.errors import FileError

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("directory", metavar="DIR", help="where the links are to be")
    parser.add_argument("--force", action="store_true", help="replace links and files that are in the way")
    parser.add_argument(
        "--target",
        metavar="PATH",
        help="what the links lead to; default: this kmodkit, relative where it is in DIR",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Make the links; nothing is made where one of them may not be."""
    directory = Path(args.directory)
    if not directory.is_dir():
        raise FileError(None, "not a directory", str(directory))
    target = args.target or _own_script(directory)
    if target is None:
        print("kmodkit link-tools: where kmodkit is installed is not known, say --target", file=sys.stderr)
        return 1
    found = {name: _state(directory / name, target) for name in LINK_NAMES}
    refused = [name for name, state in found.items() if state == "dir" or (state == "other" and not args.force)]
    for name in refused:
        why = "a directory" if found[name] == "dir" else "in the way (--force replaces it)"
        print(f"kmodkit link-tools: {directory / name}: {why}", file=sys.stderr)
    done = []
    if not refused:
        for name, state in found.items():
            if state != "same":
                _link(directory / name, target)
            done.append((name, {"same": "kept", "none": "made", "other": "replaced"}[state]))
    if args.json:
        print_json([{"path": str(directory / name), "target": target, "done": what} for name, what in done])
    else:
        for name, what in done:
            print(f"{what} {directory / name} -> {target}")
    return 1 if refused else 0


def _own_script(directory: Path) -> str | None:
    """Return what links lead to: the script this call came by, or the one on PATH."""
    called = Path(sys.argv[0])
    script = called if called.name == "kmodkit" and called.is_file() else None
    found = str(script) if script is not None else shutil.which("kmodkit")
    if found is None:
        return None
    path = Path(found).absolute()
    return path.name if path.parent.resolve() == directory.resolve() else str(path)


def _state(path: Path, target: str) -> str:
    """Return what is at ``path``: ``none``, the ``same`` link, a ``dir``, which always stays, or ``other``."""
    if path.is_symlink():
        return "same" if str(path.readlink()) == target else "other"
    if path.is_dir():
        return "dir"
    return "other" if path.exists() else "none"


def _link(path: Path, target: str) -> None:
    """Make a link, in one step where something is in its place; raises FileError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.symlink_to(target)
        try:
            temporary.replace(path)
        except OSError:
            temporary.unlink()
            raise
    except OSError as error:
        raise FileError.wrap(error, str(path)) from error
