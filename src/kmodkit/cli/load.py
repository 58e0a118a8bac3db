"""Load modules, and what they need, into the running kernel.

A NAME is a module's or an alias such as a device's modalias; words with = behind it are its parameters. What is
loaded or built in already is fine.

Exit status: 0 everything is loaded, 1 something is not or was not found, 2 the call's words are wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmodkit.cli import modules

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("word", metavar="NAME [PARAM=VALUE...]", nargs="+", help="a module and its parameters")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing where a name is not known")
    modules.add_arguments(parser)
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Load what is named; status 1 where something could not be loaded."""
    from kmodkit.errors import KmodError, ModuleNotFoundError

    requests = _requests(args)
    manager = modules.open_manager(args)
    shown = modules.Shown("load", args)
    for name, params in requests:
        try:
            plan = manager.plan(name, params)
            if args.dry_run:
                shown.plan(plan)
            else:
                shown.result(manager.execute(plan))
        except ModuleNotFoundError as error:
            shown.error(error, quiet=args.quiet)
        except KmodError as error:
            shown.error(error)
    return shown.end()


def _requests(args: argparse.Namespace) -> list[tuple[str, str]]:
    requests: list[tuple[str, list[str]]] = []
    for word in args.word:
        if "=" not in word:
            requests.append((word, []))
        elif requests:
            requests[-1][1].append(word)
        else:
            args.parser.error(f"parameter {word!r} comes before any module")
    return [(name, " ".join(params)) for name, params in requests]
