"""Read every module of a tree and write its metadata, by default to meta.pb in the tree.

A file that cannot be read is skipped and named on standard error; the index of the rest is written, and the
exit status is 1. With --strict nothing is written then. An index is replaced whole or not at all.

With --incremental, what was read is kept in a file beside the index, its name with .cache behind it; modules that
have not changed since are not opened again, and an index that is up to date is left as it is.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kmodkit.cli import common

if TYPE_CHECKING:
    import argparse

    from kmodkit.update import MetadataUpdate


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
    parser.add_argument(
        "--incremental", action="store_true", help="keep what was read, and read only what has changed"
    )
    parser.add_argument("--cache", metavar="FILE", help="the same, with a file of your choice")
    common.add_json(parser)
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Index a tree; status 1 where a file was skipped."""
    from kmodkit.errors import ScanError

    to_stdout = args.output == "-"
    if to_stdout and (args.incremental or args.cache):
        args.parser.error("nothing can be kept beside standard output")
    try:
        return _to_stdout(args) if to_stdout else _to_file(args)
    except ScanError as error:
        for found in error.problems:
            print(f"kmodkit index: {found}", file=sys.stderr)
        return 1


def _to_stdout(args: argparse.Namespace) -> int:
    from kmodkit.meta.codec import encode

    result = common.scan_tree(args.tree, strict=args.strict, jobs=args.jobs)
    # Found by going over all dependencies, so not asked for twice.
    for problem in result.problems[len(result.skipped) :]:
        common.warn(str(problem))
    common.warn_skipped(result.skipped)
    common.write_bytes(encode(result.catalog))
    return 1 if result.skipped else 0


def _to_file(args: argparse.Namespace) -> int:
    from kmodkit.cli.progress import progress_bar
    from kmodkit.kernel.files import find_tree
    from kmodkit.update import update_metadata

    tree = find_tree(args.tree)
    path = args.output or f"{tree.root}/meta.pb"
    cache = args.cache or (f"{path}.cache" if args.incremental else None)
    with progress_bar("reading modules") as progress:
        update = update_metadata(path, tree, cache=cache, strict=args.strict, jobs=args.jobs, progress=progress)
    for problem in update.problems:
        common.warn(str(problem))
    common.warn_skipped(update.skipped)
    if args.json:
        common.print_json(_summary(update, path))
    else:
        print(
            f"{path}: {update.modules} modules, {update.builtin} built in, {update.aliases} aliases, "
            f"{update.size} bytes" + (f"; {len(update.skipped)} files skipped" if update.skipped else "")
        )
    return 1 if update.skipped else 0


def positive_int(word: str) -> int:
    """Return a number of the command line; argparse refuses what raises ValueError."""
    number = int(word)
    if number < 1:
        raise ValueError
    return number


def _summary(update: MetadataUpdate, path: str) -> dict[str, object]:
    return {
        "tree": update.tree.root,
        "output": path,
        "size": update.size,
        "modules": update.modules,
        "builtin": update.builtin,
        "aliases": update.aliases,
        "skipped": [str(error) for error in update.skipped],
        "problems": [str(error) for error in update.problems],
        "changed": update.changed,
    }
