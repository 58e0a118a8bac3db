"""Load the modules of every device that is there.

Exit status: 0 all are loaded, 1 one could not be, 2 the call's words are wrong.
"""

from __future__ import annotations

from kmodkit.cli import common, modules

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--sys", metavar="DIR", default="/sys", help="where sysfs is (default: /sys)")
    modules.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Load what the devices need, or with ``--dry-run`` print the plan."""
    from kmodkit.devices import coldplug
    from kmodkit.kernel.uevents import read_modaliases

    manager = modules.open_manager(args)
    if args.dry_run:
        plan, errors = manager.plan_for_devices(alias for _, alias in read_modaliases(args.sys))
        modules.show_plan(plan, as_json=args.json)
        for error in errors:
            common.warn(str(error))
        return 1 if errors else 0
    return modules.show_result("coldplug", coldplug(manager, sys=args.sys), as_json=args.json)
