"""Unload modules from the running kernel.

Exit status: 0 all are unloaded, 1 one is not, 2 the call's words are wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmodkit.cli import modules

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="+", help="a module's name")
    parser.add_argument("--remove-holders", action="store_true", help="unload the modules that use it first")
    parser.add_argument("--unused", action="store_true", help="unload dependencies that nothing uses then, too")
    parser.add_argument(
        "--wait", metavar="SECONDS", type=float, default=0.0, help="try a module in use again for so long"
    )
    modules.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Unload what is named; status 1 where a module stays."""
    from kmodkit.errors import KmodError

    manager = modules.open_manager(args)
    options = {"remove_holders": args.remove_holders, "unused": args.unused}
    shown = modules.Shown("unload", args)
    for name in args.name:
        try:
            if args.dry_run:
                shown.plan(manager.plan_unload(name, **options))
            else:
                shown.result(manager.unload(name, wait=args.wait, **options))
        except KmodError as error:
            shown.error(error)
    return shown.end()
