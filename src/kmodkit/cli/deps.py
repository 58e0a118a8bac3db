"""Show what modules need, in load order, themselves last.

Soft dependencies are part of it, unless --no-soft; weak ones, which are never loaded but belong into an image,
only with --weak. What is built into the kernel is left out, unless --builtin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmodkit.cli import common

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from kmodkit.core.catalog import Catalog, Module


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="+", help="a module's name, or an alias it has")
    parser.add_argument("--no-soft", dest="soft", action="store_false", help="leave out soft dependencies")
    parser.add_argument("--weak", action="store_true", help="add weak dependencies")
    parser.add_argument("--builtin", action="store_true", help="show modules that are built in, too")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--paths", action="store_true", help="print paths, relative to the tree")
    form.add_argument("--dot", action="store_true", help="print a graph for Graphviz: soft dashed, weak dotted")
    common.add_json(form)  # type: ignore[arg-type]  # a group takes arguments as a parser does
    common.add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Print the closure of the modules named."""
    from kmodkit.errors import ModuleNotFoundError

    catalog = common.load_catalog(args)
    wanted: list[str] = []
    for name in args.name:
        modules = catalog.resolve(name)
        if not modules:
            raise ModuleNotFoundError(name)
        wanted += [module.name for module in modules]
    closure = catalog.closure(wanted, soft=args.soft, weak=args.weak, builtin=args.builtin)
    if args.json:
        common.print_json([_record(catalog, module) for module in closure])
    elif args.dot:
        print("\n".join(_dot(catalog, closure)))
    else:
        for module in closure:
            print((module.path or "(builtin)") if args.paths else module.name)
    return 0


def _record(catalog: Catalog, module: Module) -> dict[str, object]:
    return {
        **common.module_json(module),
        **dict(_edges(catalog, module)),
    }


def _edges(catalog: Catalog, module: Module) -> Iterator[tuple[str, list[str]]]:
    """Yield the kinds of dependency of ``module``, soft and weak ones resolved to modules."""
    yield "depends", list(module.depends)
    for kind, targets in (
        ("softdep_pre", module.softdeps.pre),
        ("softdep_post", module.softdeps.post),
        ("weakdep", module.weakdeps),
    ):
        found = dict.fromkeys(other.name for target in targets for other in catalog.resolve(target))
        yield kind, list(found)


def _dot(catalog: Catalog, closure: tuple[Module, ...]) -> Iterator[str]:
    """Yield a Graphviz digraph; an arrow leads from a module to what it needs."""
    styles = {"depends": "", "softdep_pre": " [style=dashed]", "softdep_post": " [style=dashed]"}
    shown = {module.name for module in closure}
    yield "digraph modules {"
    yield "  rankdir=LR;"
    yield "  node [shape=box];"
    for module in closure:
        yield f"  {_quoted(module.name)};"
    for module in closure:
        for kind, names in _edges(catalog, module):
            for name in names:
                if name in shown:
                    yield f"  {_quoted(module.name)} -> {_quoted(name)}{styles.get(kind, ' [style=dotted]')};"
    yield "}"


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
