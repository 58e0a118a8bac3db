"""Write a kernel's meta.pb, and an FSSpec of its modules and the firmware that they ask for.

For image builders; the flags may also be written with one dash. In the FSSpec are the modules below /lib/modules
(mode 0555) and meta.pb beside them (0444), and below /lib/firmware the firmware (0444) and the links that lead to
it. Directories are left to the builder.

  --modinfo FILE             modules.builtin.modinfo, as built with the kernel
  --modules DIR              the kernel's loadable modules
  --firmware-file-list FILE  paths of firmware files, one a line; a name means the path that ends in it
  --firmware-whence FILE     linux-firmware's WHENCE, for its links; may be left out
  --out-meta FILE            where to write meta.pb
  --out-fsspec FILE          where to write the FSSpec, in protobuf's text format

Firmware that is not in the list, and built-in modules that ask for some, are named on standard error. A module
that cannot be read is named too, the rest is written, and the exit status is 1. With --strict, missing firmware
and what is wrong with modules are errors, and nothing is written.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from kmodkit.cli import common

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from kmodkit.core.catalog import Catalog, Module
    from kmodkit.firmware import FirmwareSelection, TableFirmware
    from kmodkit.fsspec.codec import FSSpec
    from kmodkit.scanner import ScanResult

MODULE_MODE: Final = 0o555
DATA_MODE: Final = 0o444
_MODULE_ROOT: Final = "/lib/modules"
_FIRMWARE_ROOT: Final = "/lib/firmware"
_MAX_LIST: Final = 256 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    for name, metavar, required in (
        ("modinfo", "FILE", True),
        ("modules", "DIR", True),
        ("firmware-file-list", "FILE", True),
        ("firmware-whence", "FILE", False),
        ("out-meta", "FILE", True),
        ("out-fsspec", "FILE", True),
    ):
        # One dash is how build rules for the tool of this name, which is written in Go, call it.
        parser.add_argument(f"--{name}", f"-{name}", metavar=metavar, required=required)
    parser.add_argument(
        "--strict", action="store_true", help="fail where firmware is missing or a module unreadable"
    )
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write both outputs; status 1 where a module could not be read or something is missing in strict mode."""
    from kmodkit.errors import MissingFirmwareError
    from kmodkit.firmware import resolve_firmware
    from kmodkit.fsspec import codec as fsspec
    from kmodkit.kernel.files import replace_file
    from kmodkit.meta import codec as meta

    builtin = _builtin(args)
    result = _scan(args, builtin)
    if args.strict and result.problems:
        return _fail(str(problem) for problem in result.problems)
    try:
        # Not the catalog alone: what is built in and has the name of a file is not in it, and may want firmware.
        selection = resolve_firmware([*result.catalog, *builtin], _firmware(args), strict=args.strict)
    except MissingFirmwareError as error:
        return _fail(_missing(module, pattern) for module, pattern in error.missing)
    data = meta.encode(result.catalog)
    text = fsspec.encode(make_spec(result.catalog, selection, modules=args.modules, meta=args.out_meta))
    _warn(result, selection)
    replace_file(args.out_meta, data)
    replace_file(args.out_fsspec, text.encode())
    _report(args, result.catalog, selection)
    return 1 if result.skipped else 0


def make_spec(catalog: Catalog, selection: FirmwareSelection, *, modules: str, meta: str) -> FSSpec:
    """Return the FSSpec of a catalog's modules, whose files are below ``modules``, and of their firmware.

    ``meta`` is where the catalog's meta.pb is.
    """
    from kmodkit.fsspec.codec import File, FSSpec, SymbolicLink

    paths = [module.path for module in catalog if module.path is not None]
    files = [File(f"{_MODULE_ROOT}/{path}", os.path.join(modules, path), MODULE_MODE) for path in paths]  # noqa: PTH118
    files.append(File(f"{_MODULE_ROOT}/meta.pb", meta, DATA_MODE))
    files += [File(f"{_FIRMWARE_ROOT}/{file.path}", file.source, DATA_MODE) for file in selection.files]
    links = [SymbolicLink(f"{_FIRMWARE_ROOT}/{link.path}", link.target) for link in selection.links]
    return FSSpec(files=tuple(sorted(files, key=lambda file: file.path)), symbolic_links=tuple(links))


def _builtin(args: argparse.Namespace) -> list[Module]:
    from kmodkit.core.catalog import Module
    from kmodkit.core.modinfo import parse_builtin_modinfo
    from kmodkit.kernel.opening import read_file

    data = read_file(args.modinfo, max_size=_MAX_LIST)
    return [Module.from_info(info) for info in parse_builtin_modinfo(data, merge=True)]


def _scan(args: argparse.Namespace, builtin: Sequence[Module]) -> ScanResult:
    """Return the modules of the directory, which may be none, with what is built in behind them."""
    from kmodkit.core.catalog import Catalog
    from kmodkit.kernel.files import ModuleTree
    from kmodkit.scanner import ScanResult, scan

    tree = ModuleTree(args.modules)
    result = ScanResult(tree, Catalog(()))
    if tree.module_paths():
        from kmodkit.cli.progress import progress_bar

        with progress_bar("reading modules") as update:
            result = scan(tree, progress=update)
    loadable = {module.name: module for module in result.catalog if not module.builtin}
    # A file wins here: what has its name in the list is then a part of the kernel that never is a module.
    rest = [module for module in builtin if module.name not in loadable]
    return ScanResult(tree, Catalog((*loadable.values(), *rest)), result.skipped)


def _firmware(args: argparse.Namespace) -> TableFirmware:
    from kmodkit.core.names import to_text
    from kmodkit.firmware import listed_firmware, read_whence
    from kmodkit.kernel.opening import read_file

    lines = to_text(read_file(args.firmware_file_list, max_size=_MAX_LIST)).split("\n")
    paths = [path for line in lines if (path := line.rstrip("\r"))]
    return listed_firmware(paths, read_whence(args.firmware_whence) if args.firmware_whence else None)


def _missing(module: str, pattern: str) -> str:
    return f"no firmware {pattern!r}, which module {module} asks for"


def _fail(reasons: Iterable[str]) -> int:
    for reason in reasons:
        print(f"kmodkit fwprune: {reason}", file=sys.stderr)
    return 1


def _warn(result: ScanResult, selection: FirmwareSelection) -> None:
    common.warn_skipped(result.skipped)
    for problem in result.problems[len(result.skipped) :]:
        common.warn(str(problem))
    for module, pattern in selection.builtin:
        common.warn(f"{module} is built in and asks for firmware {pattern!r}, maybe before file systems are there")
    for module, pattern in selection.missing:
        common.warn(_missing(module, pattern))


def _report(args: argparse.Namespace, catalog: Catalog, selection: FirmwareSelection) -> None:
    loadable = sum(not module.builtin for module in catalog)
    counts = {
        "modules": loadable,
        "builtin": len(catalog) - loadable,
        "firmware": len(selection.files),
        "links": len(selection.links),
    }
    if args.json:
        missing = [{"module": module, "firmware": pattern} for module, pattern in selection.missing]
        common.print_json({"meta": args.out_meta, "fsspec": args.out_fsspec, **counts, "missing": missing})
    else:
        print(
            f"{args.out_fsspec}: {loadable} modules, {counts['builtin']} built in, {counts['firmware']} firmware "
            f"files, {counts['links']} links; {len(selection.missing)} missing"
        )
