"""Show the modules that the running kernel has loaded, the latest first; or the state of those named.

Columns: the module, its size in bytes, how often it is used, its state (Live, Loading, Unloading) and the modules
that use it. With names, a line each: live, live (built in), coming, going or not loaded.

Exit status: 0 done, and every module named is live; 1 one is not, or there was an error; 2 wrong words.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from kmodkit.cli import common

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="*", help="a module's name")
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print what is loaded; status 1 where a module named is not live."""
    from kmodkit.core.names import normalize_name
    from kmodkit.kernel.modules import initstate, is_builtin, loaded_modules

    if not args.name:
        found = loaded_modules()
        if args.json:
            common.print_json([asdict(module) for module in found])
            return 0
        print(f"{'Module':<28}{'Size':>10}  {'Used':>4}  {'State':<10}By")
        for module in found:
            used = "-" if module.refcnt is None else module.refcnt
            print(f"{module.name:<28}{module.size:>10}  {used:>4}  {module.state:<10}{','.join(module.holders)}")
        return 0
    states = {
        name: initstate(name) or ("live (built in)" if is_builtin(name) else "not loaded") for name in args.name
    }
    if args.json:
        common.print_json([{"name": normalize_name(name), "state": state} for name, state in states.items()])
    else:
        for name, state in states.items():
            print(f"{normalize_name(name)}: {state}")
    return 0 if all(state.startswith("live") for state in states.values()) else 1
