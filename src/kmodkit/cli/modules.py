"""What the verbs that work on the running kernel share: the manager, and how outcomes are shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kmodkit.cli import common

if TYPE_CHECKING:
    import argparse

    from kmodkit.core.plan import Plan
    from kmodkit.manager import Manager, Outcome, Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the source of modules, ``--dry-run`` and ``--json``."""
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done, and do nothing")
    common.add_json(parser)
    common.add_source(parser)


def open_manager(args: argparse.Namespace) -> Manager:
    """Return the manager for ``--meta`` or ``--tree``; a tree's own meta.pb is used where it has one."""
    from kmodkit.manager import Manager

    if args.meta is not None:
        return Manager.from_metadata(args.meta)
    return Manager.from_tree(args.tree)


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """Print a plan, a step a line."""
    if as_json:
        common.print_json([{"action": s.action, "name": s.name, "path": s.path, "params": s.params} for s in plan])
    elif plan:
        print(plan)


def show_result(verb: str, result: Result, *, as_json: bool) -> int:
    """Print what was changed and, on standard error, what failed; return the exit status."""
    if as_json:
        common.print_json(result_json(result))
    else:
        for outcome in result.outcomes:
            if outcome.status == "done":
                print(f"{outcome.step.action}ed {outcome.step.name}")
    for outcome in result.outcomes:
        if outcome.error is not None:
            note = "" if outcome.step.required else "warning: "
            print(f"kmodkit {verb}: {note}{outcome.error}", file=sys.stderr)
    return 0 if result.ok else 1


def result_json(result: Result) -> dict[str, object]:
    """Return a result as it is shown in JSON; times are seconds."""
    return {
        "ok": result.ok,
        "seconds": round(result.seconds, 6),
        "modules": [_outcome(o) for o in result.outcomes],
    }


def _outcome(outcome: Outcome) -> dict[str, object]:
    return {
        "name": outcome.step.name,
        "action": outcome.step.action,
        "status": outcome.status,
        "required": outcome.step.required,
        "start": round(outcome.start, 6),
        "seconds": round(outcome.seconds, 6),
        "error": None if outcome.error is None else str(outcome.error),
    }
