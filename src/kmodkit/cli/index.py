"""Read every module of a tree and write its metadata, by default to meta.pb in the tree.

A file that cannot be read is skipped and named on standard error; the index of the rest is written, and the
exit status is 1. With --strict nothing is written then. An index is replaced whole or not at all.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kmodkit.cli import common

if TYPE_CHECKING:
    import argparse

    from kmodkit.scanner import ScanResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("tree", metavar="TREE", nargs="?", help=common.TREE_HELP)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write; - is standard output")
    parser.add_argument(
        "--strict", action="store_true", help="fail on any skipped file, unknown dependency or dependency cycle"
    )
    parser.add_argument(
        "-j", "--jobs", metavar="N", type=positive_int, help="threads that unpack; default: one a processor"
    )
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Index a tree; status 1 where a file was skipped."""
    from kmodkit.errors import ScanError
    from kmodkit.kernel.files import replace_file
    from kmodkit.meta.codec import encode

    try:
        result = common.scan_tree(args.tree, strict=args.strict, jobs=args.jobs)
    except ScanError as error:
        for found in error.problems:
            print(f"kmodkit index: {found}", file=sys.stderr)
        return 1
    # Found by going over all dependencies, so not asked for twice.
    problems = [str(problem) for problem in result.problems[len(result.skipped) :]]
    for problem in problems:
        common.warn(problem)
    common.warn_skipped(result)
    data = encode(result.catalog)
    if args.output == "-":
        common.write_bytes(data)
        return 1 if result.skipped else 0
    path = args.output or f"{result.tree.root}/meta.pb"
    replace_file(path, data)
    summary = _summary(result, path, len(data), problems)
    if args.json:
        common.print_json(summary)
    else:
        print(
            f"{path}: {summary['modules']} modules, {summary['builtin']} built in, {summary['aliases']} aliases, "
            f"{len(data)} bytes" + (f"; {len(result.skipped)} files skipped" if result.skipped else "")
        )
    return 1 if result.skipped else 0


def positive_int(word: str) -> int:
    """Return a number of the command line; argparse refuses what raises ValueError."""
    number = int(word)
    if number < 1:
        raise ValueError
    return number


def _summary(result: ScanResult, path: str, size: int, problems: list[str]) -> dict[str, object]:
    loadable = [module for module in result.catalog if not module.builtin]
    return {
        "tree": result.tree.root,
        "output": path,
        "size": size,
        "modules": len(loadable),
        "builtin": len(result.catalog) - len(loadable),
        "aliases": sum(len(module.aliases) for module in loadable),
        "skipped": [str(error) for error in result.skipped],
        "problems": problems,
    }
