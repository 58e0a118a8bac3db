"""Write an image of modules, what they need and the firmware they ask for.

Modules go to PREFIX/modules/RELEASE, with the indexes that modprobe and kmodkit look devices up in; firmware goes
to PREFIX/firmware. The format is taken from the name of the output: NAME.cpio (newc, as the kernel unpacks it),
NAME.tar, both also with .gz, .xz or .zst behind, and anything else is a directory. The same input makes the same
bytes; times are that of SOURCE_DATE_EPOCH, or 1970.

  kmodkit image --host -o modules.cpio.zst
  kmodkit image --tree ./root -m i915 --modalias 'pci:v00008086d*bc02*' --rule='!drivers/net/wireless/' -o out.tar

What cannot be found is named on standard error, and the rest is written; with --strict nothing is. A name given
as NAME or -m that is no module is an error. Where writing fails, what was there before is as it was.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from kmodkit.cli import common, selecting

if TYPE_CHECKING:
    import argparse

    from kmodkit.cli.selecting import Choice
    from kmodkit.image import Image
    from kmodkit.kernel.compress import Compression

_COMPRESSIONS: Final[tuple[Compression, ...]] = ("gz", "xz", "zst")
_FORMATS = ("cpio", "tar", "dir")
_LATEST = (1 << 32) - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="a module, by name or alias, as -m")
    parser.add_argument("-o", "--output", metavar="PATH", required=True, help="where to write it")
    parser.add_argument("--format", choices=_FORMATS, help="of the output, whatever its name")
    parser.add_argument("--compress", choices=("none", *_COMPRESSIONS), help="of an archive, whatever its name")
    parser.add_argument("--level", type=int, help="of compression; default: gz 9, xz 6, zst 9")
    parser.add_argument("--unpack", action="store_true", help="store compressed modules plain")
    parser.add_argument("--link", action="store_true", help="hard-link files into a directory, if they can be")
    parser.add_argument("--replace", action="store_true", help="replace a directory that is there")
    parser.add_argument("--prefix", default=None, help="where in the image to put all; default: usr/lib")
    parser.add_argument("--release", help="of the kernel; default: as the tree or its modules say")
    common.add_json(parser)
    selecting.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write the image; status 1 where a module could not be read."""
    from kmodkit.image import PREFIX, Image, module_indexes, stored_catalog
    from kmodkit.meta.codec import encode

    kind, compression = _format(args)
    mtime = _source_date()
    choice = selecting.choose(args, tuple(args.names))
    tree = choice.scan.tree.root
    catalog = stored_catalog(choice.selection, unpack=args.unpack)
    indexes = module_indexes(choice.selection, tree, unpack=args.unpack, jobs=args.jobs)
    indexes |= {"meta.pb": encode(catalog)}
    image = Image.of(
        choice.selection,
        choice.firmware,
        tree=tree,
        release=selecting.release_of(args, choice),
        prefix=PREFIX if args.prefix is None else args.prefix.strip("/"),
        unpack=args.unpack,
        indexes=indexes,
    )
    size = _write(args, image, kind, compression, mtime)
    _report(args, image, size, choice)
    return 1 if choice.scan.skipped else 0


def _format(args: argparse.Namespace) -> tuple[str, Compression]:
    """Return the format and compression, as told or as the name of the output says."""
    from kmodkit.errors import ArgumentError

    name = args.output
    compression: Compression = "none"
    for known in _COMPRESSIONS:
        if name.endswith(f".{known}"):
            name, compression = name.removesuffix(f".{known}"), known
    ending = name.rpartition(".")[2]
    kind = args.format or (ending if ending in _FORMATS[:2] else "dir")
    if kind == "dir":
        if args.compress not in (None, "none") or (compression != "none" and args.format is None):
            raise ArgumentError(f"{args.output}: a directory cannot be compressed; is it to be a .cpio or a .tar?")
        return kind, "none"
    if args.link or args.replace:
        raise ArgumentError("--link and --replace are for directories")
    return kind, args.compress or compression


def _source_date() -> int:
    """Return the time that SOURCE_DATE_EPOCH gives (reproducible-builds.org), else 0."""
    from kmodkit.errors import ArgumentError

    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (text.isascii() and text.isdigit() and int(text) <= _LATEST):
        raise ArgumentError(f"SOURCE_DATE_EPOCH is {text!r}, not seconds since 1970")
    return int(text)


def _write(args: argparse.Namespace, image: Image, kind: str, compression: Compression, mtime: int) -> int:
    from kmodkit.image import write_cpio, write_directory, write_tar

    if kind == "dir":
        return write_directory(image, args.output, link=args.link, overwrite=args.replace, mtime=mtime)
    write = write_cpio if kind == "cpio" else write_tar
    return write(image, args.output, compression=compression, level=args.level, mtime=mtime, jobs=args.jobs)


def _report(args: argparse.Namespace, image: Image, size: int, choice: Choice) -> None:
    modules = sum(part.kind == "module" for part in image.parts)
    firmware = sum(part.kind == "firmware" for part in image.parts)
    if args.json:
        common.print_json(
            {
                "output": args.output,
                "bytes": size,
                "contents": image.size,
                "modules": modules,
                "firmware": firmware,
                "unmatched": list(choice.selection.unmatched),
                "broken": {name: str(error) for name, error in choice.selection.broken.items()},
                "missing": [{"module": n.module, "firmware": n.pattern} for n in choice.firmware.missing],
                "skipped": [str(error) for error in choice.scan.skipped],
            }
        )
    else:
        print(
            f"{args.output}: {modules} modules, {firmware} firmware files and links, "
            f"{common.bytes_text(image.size)}, stored in {common.bytes_text(size)}"
        )
