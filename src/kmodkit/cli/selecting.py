"""What `image`, `size` and `explain` share: the words that choose modules, and where their firmware is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kmodkit.cli import common

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from kmodkit.core.selection import Selection
    from kmodkit.core.snapshot import Snapshot
    from kmodkit.firmware import FirmwareSelection, FirmwareSource
    from kmodkit.scanner import ScanResult

_MAX_TEXT: Final = 64 << 20
_TREE_DIRECTORIES: Final = ("usr/lib/modules", "lib/modules")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a command line chooses."""

    scan: ScanResult
    selection: Selection
    firmware: FirmwareSelection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words that choose modules and find firmware."""
    parser.add_argument("--tree", metavar="DIR", help=common.TREE_HELP)
    wishes = parser.add_argument_group("which modules (all, if none of these is given)")
    wishes.add_argument(
        "-m", "--module", metavar="NAME", action="append", default=[], help="by name or alias, as for modprobe"
    )
    wishes.add_argument(
        "--path", metavar="GLOB", action="append", default=[], help="by path: drivers/net/*, or /drivers/net/*"
    )
    wishes.add_argument(
        "--modalias",
        metavar="PATTERN",
        action="append",
        default=[],
        help="for devices: a modalias, or a pattern such as pci:v00008086d*",
    )
    wishes.add_argument("--host", action="store_true", help="for the devices of this machine, and what is loaded")
    wishes.add_argument("--snapshot", metavar="FILE", help="the same of another one: `kmodkit snapshot` writes it")
    wishes.add_argument(
        "--rule",
        metavar="RULE",
        action="append",
        default=[],
        help="add, or with a leading ! or - take away, by path; the last match wins: '--rule=!drivers/gpu/'",
    )
    wishes.add_argument("--rules", metavar="FILE", action="append", default=[], help="rules, one a line")
    wishes.add_argument("--no-soft", action="store_true", help="leave soft dependencies out")
    wishes.add_argument("--no-weak", action="store_true", help="leave weak dependencies out")
    firmware = parser.add_argument_group("where firmware is")
    where = firmware.add_mutually_exclusive_group()
    where.add_argument(
        "--firmware",
        metavar="DIR",
        help="a firmware directory, or a checkout of linux-firmware (has a WHENCE); default: that of the root "
        "the module tree is in",
    )
    where.add_argument("--firmware-list", metavar="FILE", help="paths, one a line; a name means the path it ends")
    where.add_argument("--no-firmware", action="store_true", help="leave firmware out")
    firmware.add_argument("--whence", metavar="FILE", help="the WHENCE that goes with --firmware-list")
    parser.add_argument("--strict", action="store_true", help="fail where anything is missing or unreadable")
    parser.add_argument("--jobs", type=int, metavar="N", help="threads; by default as many as processors")


def choose(args: argparse.Namespace, names: tuple[str, ...] = ()) -> Choice:
    """Read the tree and choose; warn of what is skipped, unmatched and missing.

    ``names`` are names from elsewhere on the command line. Raises what reading and choosing raise; in strict
    mode, SelectionError for what else is only a warning.
    """
    from kmodkit.core.names import to_text
    from kmodkit.core.rules import Rule, parse_rules
    from kmodkit.errors import SelectionError
    from kmodkit.firmware import FirmwareSelection, resolve_firmware
    from kmodkit.kernel.opening import read_file

    result = common.scan_tree(args.tree, strict=args.strict, jobs=args.jobs)
    common.warn_skipped(result.skipped)
    rules: list[Rule] = []
    for path in args.rules:
        rules += parse_rules(to_text(read_file(path, max_size=_MAX_TEXT)).splitlines())
    rules += map(Rule, args.rule)
    selection = result.catalog.select(
        names=[*names, *args.module],
        paths=args.path,
        modaliases=args.modalias,
        snapshot=_snapshot(args),
        rules=rules,
        soft=not args.no_soft,
        weak=not args.no_weak,
    )
    source = _source(args, result)
    wanted = [*selection.modules, *(module for module in result.catalog if module.builtin), *result.hidden]
    firmware = FirmwareSelection() if source is None else resolve_firmware(wanted, source, strict=args.strict)
    choice = Choice(result, selection, firmware)
    shortcomings = list(_shortcomings(choice))
    if args.strict and shortcomings:
        raise SelectionError(shortcomings)
    for text in shortcomings:
        common.warn(text)
    return choice


def _shortcomings(choice: Choice) -> Iterator[str]:
    for wish in choice.selection.unmatched:
        yield f"{wish} means no module of this kernel"
    for name, error in choice.selection.broken.items():
        yield f"{name} is left out: {error}"
    for need in choice.firmware.missing:
        yield f"no firmware {need.pattern!r}, which module {need.module} asks for"


def _snapshot(args: argparse.Namespace) -> Snapshot | None:
    from kmodkit.core.snapshot import Snapshot
    from kmodkit.kernel.snapshot import load_snapshot, take_snapshot

    taken = []
    if args.snapshot is not None:
        taken.append(load_snapshot(args.snapshot))
    if args.host:
        taken.append(take_snapshot())
    if not taken:
        return None
    devices = tuple(device for snapshot in taken for device in snapshot.devices)
    return Snapshot(taken[0].release, devices, tuple(name for snapshot in taken for name in snapshot.loaded))


def _source(args: argparse.Namespace, result: ScanResult) -> FirmwareSource | None:
    """Return where firmware comes from; None where it is to be left out, or there is none."""
    from kmodkit.core.names import to_text
    from kmodkit.errors import FileError
    from kmodkit.firmware import InstalledFirmware, checkout_firmware, listed_firmware, read_whence
    from kmodkit.kernel.opening import read_file

    if args.no_firmware:
        return None
    if args.firmware_list is not None:
        lines = to_text(read_file(args.firmware_list, max_size=_MAX_TEXT)).splitlines()
        whence = None if args.whence is None else read_whence(args.whence)
        return listed_firmware(filter(None, lines), whence)
    release = os.path.basename(os.path.realpath(result.tree.root))  # noqa: PTH119
    if args.firmware is not None:
        if not os.path.isdir(args.firmware):  # noqa: PTH112
            raise FileError(None, "no such directory", args.firmware)
        if os.path.exists(os.path.join(args.firmware, "WHENCE")):  # noqa: PTH110, PTH118
            return checkout_firmware(args.firmware)
        return InstalledFirmware(args.firmware, release, directories=("",))
    root = root_of(result.tree.root)
    source = None if root is None else InstalledFirmware(root, release)
    if source is None or not source.exists:
        common.warn("no firmware directory beside these modules, so there is no firmware; see --firmware")
        return None
    return source


def root_of(tree: str) -> str | None:
    """Return the root file system that a module tree is in, None where it lies in none."""
    above = os.path.dirname(os.path.realpath(tree))  # noqa: PTH120
    for directory in _TREE_DIRECTORIES:
        if above.endswith(f"/{directory}"):
            return above.removesuffix(directory)
    return None


def release_of(args: argparse.Namespace, choice: Choice) -> str:
    """Return the kernel release that the modules are for: as told, as the directory says, or as a module does."""
    from kmodkit.errors import ArgumentError
    from kmodkit.kernel.files import read_module

    tree = choice.scan.tree.root
    if args.release is not None:
        return str(args.release)
    if root_of(tree) is not None:
        return os.path.basename(os.path.realpath(tree))  # noqa: PTH119
    for module in choice.selection.modules:
        words = (read_module(f"{tree}/{module.path}").vermagic or "").split()
        if words:
            return words[0]
    raise ArgumentError("the release of the kernel is not known: name it with --release")
