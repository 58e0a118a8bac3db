"""Show the tree of alias patterns, as meta.pb has it: a line a node, with the modules whose pattern ends there.

Literal text is quoted, * is any run, ? any byte and [...] one of a set. The picture depends only on the
modules, not on the order in which they were read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmodkit.cli import common

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "--builtin", action="store_true", help="show the patterns of modules that are built in instead"
    )
    common.add_source(parser)
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the pattern tree, or with ``--json`` a list of patterns and their modules."""
    catalog = common.load_catalog(args)
    tree = catalog.pattern_tree(builtin=args.builtin)
    names = [module.name for module in catalog]
    if args.json:
        common.print_json(
            [
                {"pattern": str(pattern), "modules": [names[value] for value in values]}
                for pattern, values in tree.walk()
            ]
        )
        return 0
    for line in tree.lines(names.__getitem__):
        print(line.encode("utf-8", "backslashreplace").decode())
    return 0
