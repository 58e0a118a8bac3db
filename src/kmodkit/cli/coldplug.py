"""Load the modules of every device that is there.

Exit status: 0 all are loaded, 1 one could not be, 2 the call's words are wrong.
"""

from __future__ import annotations

from kmodkit.cli import common, modules
from kmodkit.cli.plain import read_plain

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Final

_FLAGS: Final = {"-n": "dry_run", "--dry-run": "dry_run", "--json": "json"}
_WITH_VALUE: Final = {"--sys": "sys", "--meta": "meta", "--tree": "tree"}


class Words:
    """The words of a plain call, with the names that argparse gives them."""

    def __init__(self) -> None:
        self.dry_run = self.json = False
        self.sys: str | None = None
        self.meta: str | None = None
        self.tree: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--sys", metavar="DIR", help="where sysfs is (default: /sys)")
    modules.add_arguments(parser)


def plain_words(words: Sequence[str]) -> Words | None:
    """Return what argparse makes of ``words``, None where that is better asked itself."""
    found = Words()
    operands = read_plain(found, words, _FLAGS, _WITH_VALUE)
    if operands is None or operands or (found.meta is not None and found.tree is not None):
        return None
    return found


def run(args: argparse.Namespace | Words) -> int:
    """Load what the devices need, or with ``--dry-run`` print the plan."""
    manager = modules.open_manager(args)
    sys = "/sys" if args.sys is None else args.sys
    if args.dry_run:
        from kmodkit.kernel.uevents import read_modaliases

        plan, errors = manager.plan_for_devices(alias for _, alias in read_modaliases(sys))
        modules.show_plan(plan, as_json=args.json)
        for error in errors:
            common.warn(str(error))
        return 1 if errors else 0
    from kmodkit.devices import coldplug

    return modules.show_result("coldplug", coldplug(manager, sys=sys), as_json=args.json)
