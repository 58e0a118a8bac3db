"""Say why a module or a piece of firmware is in an image, or why it is not.

It takes the same words as `kmodkit image`. A firmware file is named as modules ask for it, or by its path below
the firmware directory. What is built into the kernel counts as in. The exit status is 0 where it is in, 1 where it
is not, or its name is not known.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from kmodkit.cli import common, selecting

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from kmodkit.cli.selecting import Choice
    from kmodkit.core.catalog import Module
    from kmodkit.firmware import FirmwareFile, FirmwareLink

_MOST = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether something is in, and why: ``because`` has a sentence a line, ``chain`` the reasons as values."""

    name: str
    kind: str
    because: tuple[str, ...]
    chain: tuple[dict[str, str], ...] = ()
    present: bool = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("target", metavar="NAME|FIRMWARE", help="a module, by name or alias, or a firmware file")
    common.add_json(parser)
    selecting.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Explain; status 1 where it is not in."""
    choice = selecting.choose(args)
    modules = choice.scan.catalog.resolve(args.target)
    answers = [_module(choice, module) for module in modules] or list(_firmware(choice, args.target))
    if args.json:
        common.print_json([asdict(answer) for answer in answers])
    else:
        for answer in answers:
            print(f"{answer.name}: {'in' if answer.present else 'not in'}")
            for line in answer.because:
                print(f"  {line}")
    return 0 if any(answer.present for answer in answers) else 1


def _module(choice: Choice, module: Module) -> Answer:
    if module.builtin:
        return Answer(module.name, "module", ("it is built into the kernel",))
    chain = choice.selection.chain(module.name)
    if chain is None:
        return Answer(module.name, "module", tuple(_why_not(choice, module)), present=False)
    reasons = tuple(common.reason_json(reason) for reason in chain)
    return Answer(module.name, "module", tuple(map(str, chain)), reasons)


def _why_not(choice: Choice, module: Module) -> Iterator[str]:
    selection = choice.selection
    if module.name in selection.broken:
        yield f"it was wished for and is left out: {selection.broken[module.name]}"
    elif module.name in selection.excluded:
        yield f"it was wished for, and the rule {selection.excluded[module.name]} takes it away"
    else:
        yield "nothing that was wished for means it, and nothing that is in needs it"
    users = [other.name for other in selection.catalog if module.name in other.depends]
    if users:
        yield f"needed by {_some(users)}, which {'is' if len(users) == 1 else 'are'} not in either"


def _firmware(choice: Choice, target: str) -> Iterator[Answer]:
    """Yield an answer for each file and link that ``target`` means, or one that says why there is none."""
    entries: list[FirmwareFile | FirmwareLink] = [*choice.firmware.files, *choice.firmware.links]
    found = [
        entry
        for entry in entries
        if target in (entry.path, entry.path.removesuffix(".xz"), entry.path.removesuffix(".zst"))
        or any(need.pattern == target for need in entry.needs)
    ]
    for entry in found:
        asking = list(dict.fromkeys(need.module for need in entry.needs))
        lines = [f"{need.module} asks for {need.pattern}" for need in entry.needs[:_MOST]]
        chains = [chain for name in asking if (chain := choice.selection.chain(name))]
        shortest = min(chains, key=len, default=())
        lines += map(str, shortest)
        reasons = tuple(common.reason_json(reason) for reason in shortest)
        yield Answer(entry.path, "firmware", tuple(lines), reasons)
    if not found:
        yield Answer(target, "firmware", tuple(_no_firmware(choice, target)), present=False)


def _no_firmware(choice: Choice, target: str) -> Iterator[str]:
    from kmodkit.core.alias import Pattern

    lost = {need.module for need in choice.firmware.missing}
    asking = [
        module.name
        for module in (*choice.scan.catalog, *choice.scan.hidden)
        if any(pattern == target or Pattern.parse(pattern).matches(target) for pattern in module.firmware)
    ]
    chosen = [name for name in asking if choice.selection.chain(name) is not None or name in lost]
    others = [name for name in asking if name not in chosen]
    if chosen:
        yield f"{_some(chosen)} {'asks' if len(chosen) == 1 else 'ask'} for it, and there is no such file"
    if others:
        verbs = ("asks", "is") if len(others) == 1 else ("ask", "are")
        yield f"{_some(others)} {verbs[0]} for it, and {verbs[1]} not in"
    if not asking:
        yield "no module of this kernel has that name, nor asks for such firmware"


def _some(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    rest = len(names) - _MOST
    return ", ".join(names[:_MOST]) + (f" and {rest} more" if rest > 0 else "")
