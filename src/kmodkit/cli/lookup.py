"""Show the modules that devices need, by their modalias.

Answers come from the file of --meta, or else of a module tree: from the indexes that depmod left there, as
modprobe takes them, or where there are none, and with --scan, from the modules themselves.

For one MODALIAS the module names are printed, one a line; for several, and with --sysfs, a line each:
MODALIAS, a tab, the names. With --sysfs a line also starts with the device and a tab, and devices that need
no module are left out. Names come in the order of modules.order, then by name (those of depmod's indexes in
depmod's order).

Exit status: 0 every MODALIAS has a module (always with --sysfs), 1 one has none or there was an error,
2 the call's words are wrong.
"""

from __future__ import annotations

from kmodkit.cli import common
from kmodkit.cli.plain import read_plain

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from typing import Final, TypeAlias

    Found: TypeAlias = list[tuple[str, str | None]]  # names, each with the path of the module
    Look: TypeAlias = Callable[[str], Found]

_FLAGS: Final = {"--sysfs": "sysfs", "--builtin": "builtin", "--json": "json", "--scan": "scan"}
_WITH_VALUE: Final = {"--meta": "meta", "--tree": "tree"}


class Words:
    """The words of a plain call, with the names that argparse gives them."""

    def __init__(self) -> None:
        self.modalias: list[str] = []
        self.meta: str | None = None
        self.tree: str | None = None
        self.sysfs = self.builtin = self.json = self.scan = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("modalias", metavar="MODALIAS", nargs="*", help="a device's modalias")
    parser.add_argument("--sysfs", action="store_true", help="look up every device of this machine")
    parser.add_argument("--builtin", action="store_true", help="report modules that are built in, too")
    parser.add_argument("--scan", action="store_true", help="read the modules, whatever depmod left in the tree")
    common.add_source(parser)
    common.add_json(parser)
    parser.set_defaults(parser=parser)


def plain_words(words: Sequence[str]) -> Words | None:
    """Return what argparse makes of ``words``, None where that is better asked itself."""
    found = Words()
    operands = read_plain(found, words, _FLAGS, _WITH_VALUE)
    if operands is None:
        return None
    found.modalias = operands
    if bool(found.modalias) == found.sysfs or (found.meta is not None and found.tree is not None):
        return None
    return found


def run(args: argparse.Namespace | Words) -> int:
    """Look modaliases up; status 1 where one that was named has no module."""
    if bool(args.modalias) == args.sysfs and not isinstance(args, Words):
        args.parser.error("give one MODALIAS or more, or --sysfs")
    look = _source(args)
    results = [(device, modalias, look(modalias)) for device, modalias in _queries(args)]
    if args.json:
        common.print_json([_record(*result) for result in results])
    elif len(results) == 1 and not args.sysfs:
        for name, _ in results[0][2]:
            print(name)
    else:
        for device, modalias, modules in results:
            if modules or not args.sysfs:
                start = f"{device}\t" if device is not None else ""
                print(f"{start}{_printable(modalias)}\t{' '.join([name for name, _ in modules])}")
    return 0 if args.sysfs or all(modules for _, _, modules in results) else 1


def _source(args: argparse.Namespace | Words) -> Look:
    """Return the lookup of what the call names; the two that most calls take import next to nothing."""
    if args.meta is not None and not args.builtin:
        return _meta_file(args.meta)
    if args.meta is None and not args.scan:
        look = _depmod_files(args.tree, builtin=args.builtin)
        if look is not None:
            return look
    catalog = common.load_catalog(args)
    return lambda modalias: [
        (module.name, module.path) for module in catalog.lookup(modalias, builtin=args.builtin)
    ]


def _meta_file(path: str) -> Look:
    from kmodkit.core.names import normalize_alias, to_bytes
    from kmodkit.kernel.opening import read_file
    from kmodkit.meta.search import MAX_METADATA, MetaFile

    file = MetaFile(read_file(path, max_size=MAX_METADATA), source=path)
    return lambda modalias: [
        (file.name(at), file.path(at)) for at in file.lookup(normalize_alias(to_bytes(modalias)))
    ]


def _depmod_files(tree: str | None, *, builtin: bool) -> Look | None:
    from kmodkit.installed import InstalledIndex

    index = InstalledIndex.find(tree)
    if index is None:
        return None

    def look(modalias: str) -> Found:
        found: Found = [(name, index.path(name)) for name in index.lookup(modalias)]
        names = index.lookup_builtin(modalias) if builtin else ()
        return found + [(name, None) for name in names]

    return look


def _queries(args: argparse.Namespace | Words) -> Iterator[tuple[str | None, str]]:
    if args.sysfs:
        from kmodkit.kernel.uevents import read_modaliases

        yield from read_modaliases()
    for modalias in args.modalias:
        yield None, modalias


def _record(device: str | None, modalias: str, modules: Found) -> dict[str, object]:
    start = {} if device is None else {"device": device}
    return {**start, "modalias": modalias, "modules": [{"name": name, "path": path} for name, path in modules]}


def _printable(modalias: str) -> str:
    return modalias.encode("utf-8", "backslashreplace").decode()
