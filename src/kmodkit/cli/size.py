"""Show what takes the space in an image: modules and firmware, the largest first, and why each is in.

It takes the same words as `kmodkit image`, and writes nothing but what --html asks for: one page with a chart,
which needs no network (and the library plotly to be written: pip install kmodkit[html]).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmodkit.cli import common, selecting

if TYPE_CHECKING:
    import argparse

    from kmodkit.image import Image, Part

_ROWS = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="a module, by name or alias, as -m")
    parser.add_argument("--unpack", action="store_true", help="count compressed modules plain")
    parser.add_argument("--all", action="store_true", help=f"show all rows, not only the first {_ROWS}")
    parser.add_argument("--html", metavar="FILE", help="write a treemap, as a page that needs no network")
    common.add_json(parser)
    selecting.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Show sizes; status 1 where a module could not be read."""
    from kmodkit.image import Image
    from kmodkit.kernel.files import replace_file

    choice = selecting.choose(args, tuple(args.names))
    tree = choice.scan.tree.root
    image = Image.of(choice.selection, choice.firmware, tree=tree, release="", prefix="", unpack=args.unpack)
    if args.html is not None:
        from kmodkit.cli.treemap import treemap_page

        replace_file(args.html, treemap_page(image).encode())
    if args.json:
        common.print_json(_json(image))
    else:
        _table(image, None if args.all else _ROWS)
    return 1 if choice.scan.skipped else 0


def _by_size(image: Image) -> list[Part]:
    return sorted(image.parts, key=lambda part: (-part.size, part.path))


def _table(image: Image, limit: int | None) -> None:
    parts = _by_size(image)
    shown = parts[:limit]
    width = max((len(part.name) for part in shown), default=0)
    for part in shown:
        print(f"{common.bytes_text(part.size):>10}  {part.kind:8}  {part.name:{width}}  {why(part)}")
    if len(parts) > len(shown):
        rest = sum(part.size for part in parts[len(shown) :])
        print(f"{common.bytes_text(rest):>10}  in {len(parts) - len(shown)} more (--all shows them)")
    for kind, label in (("module", "modules"), ("firmware", "firmware files and links")):
        those = [part for part in parts if part.kind == kind]
        print(f"{common.bytes_text(sum(part.size for part in those)):>10}  in {len(those)} {label}")
    print(f"{common.bytes_text(image.size):>10}  in all")


def why(part: Part) -> str:
    """Return the reasons of one part, in a line."""
    chain = "; ".join(map(str, part.chain))
    if not part.needs:
        return chain
    asking = sorted({need.module for need in part.needs})
    more = f" and {len(asking) - 1} more" if len(asking) > 1 else ""
    first = part.chain[-1].module if part.chain else asking[0]
    tail = f" ({chain})" if chain else " (built in)"
    return f"{first}{more} asks for it{tail}"


def _json(image: Image) -> dict[str, object]:
    return {
        "bytes": image.size,
        "parts": [
            {
                "kind": part.kind,
                "name": part.name,
                "path": part.source,
                "bytes": part.size,
                "target": part.target,
                "needed_by": sorted({need.module for need in part.needs}),
                "chain": [common.reason_json(reason) for reason in part.chain],
            }
            for part in _by_size(image)
        ],
    }
