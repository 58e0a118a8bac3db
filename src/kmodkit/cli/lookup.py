"""Show the modules that devices need, by their modalias.

For one MODALIAS the module names are printed, one a line; for several, and with --sysfs, a line each:
MODALIAS, a tab, the names. With --sysfs a line also starts with the device and a tab, and devices that need
no module are left out. Names come in the order of modules.order, then by name.

Exit status: 0 every MODALIAS has a module (always with --sysfs), 1 one has none or there was an error,
2 the call's words are wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmodkit.cli import common

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from kmodkit.core.catalog import Module


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("modalias", metavar="MODALIAS", nargs="*", help="a device's modalias")
    parser.add_argument("--sysfs", action="store_true", help="look up every device of this machine")
    parser.add_argument("--builtin", action="store_true", help="report modules that are built in, too")
    common.add_source(parser)
    common.add_json(parser)
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Look modaliases up; status 1 where one that was named has no module."""
    if bool(args.modalias) == args.sysfs:
        args.parser.error("give one MODALIAS or more, or --sysfs")
    catalog = common.load_catalog(args)
    results = [
        (device, modalias, catalog.lookup(modalias, builtin=args.builtin)) for device, modalias in _queries(args)
    ]
    if args.json:
        common.print_json([_record(*result) for result in results])
    elif len(results) == 1 and not args.sysfs:
        for module in results[0][2]:
            print(module.name)
    else:
        for device, modalias, modules in results:
            if modules or not args.sysfs:
                start = f"{device}\t" if device is not None else ""
                print(f"{start}{_printable(modalias)}\t{' '.join(module.name for module in modules)}")
    return 0 if args.sysfs or all(modules for _, _, modules in results) else 1


def _queries(args: argparse.Namespace) -> Iterator[tuple[str | None, str]]:
    if args.sysfs:
        from kmodkit.kernel.uevents import read_modaliases

        yield from read_modaliases()
    for modalias in args.modalias:
        yield None, modalias


def _record(device: str | None, modalias: str, modules: tuple[Module, ...]) -> dict[str, object]:
    start = {} if device is None else {"device": device}
    return {**start, "modalias": modalias, "modules": [common.module_json(module) for module in modules]}


def _printable(modalias: str) -> str:
    return modalias.encode("utf-8", "backslashreplace").decode()
