"""What the verbs that work on the running kernel share: the manager, and how outcomes are shown."""

from __future__ import annotations

import sys

from kmodkit.cli import common

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    import argparse

    from kmodkit.core.plan import Plan, Step
    from kmodkit.errors import KmodError
    from kmodkit.manager import Manager, Outcome, Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the source of modules, ``--dry-run`` and ``--json``."""
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done, and do nothing")
    common.add_json(parser)
    common.add_source(parser)


def open_manager(args: common.Source) -> Manager:
    """Return the manager for ``--meta`` or ``--tree``; a tree's own meta.pb is used where it has one."""
    from kmodkit.manager import Manager

    if args.meta is not None:
        return Manager.from_metadata(args.meta)
    return Manager.from_tree(args.tree)


class Shown:
    """Shows what becomes of one name after the other: as it happens, but with ``--json`` in one document.

    ``status`` is the exit status so far.
    """

    def __init__(self, verb: str, args: argparse.Namespace) -> None:
        self.status = 0
        self._verb = verb
        self._args = args
        self._steps: dict[str, Step] = {}
        self._results: list[Result] = []

    def plan(self, plan: Plan) -> None:
        """Keep the steps of a dry run; what an earlier name brings is not done twice."""
        for step in plan:
            self._steps.setdefault(step.name, step)

    def result(self, result: Result) -> None:
        """Show a result."""
        if self._args.json:
            self._results.append(result)
        else:
            self.status |= show_result(self._verb, result, as_json=False)

    def error(self, error: KmodError, *, quiet: bool = False) -> None:
        """Name an error that kept a name from being planned for or carried out."""
        self.status = 1
        if not quiet:
            print(f"kmodkit {self._verb}: {error}", file=sys.stderr)

    def end(self) -> int:
        """Show what has been kept, and return the exit status."""
        from kmodkit.core.plan import Plan
        from kmodkit.manager import Result

        if self._args.dry_run:
            show_plan(Plan(tuple(self._steps.values())), as_json=self._args.json)
        elif self._args.json:
            outcomes = tuple(outcome for result in self._results for outcome in result.outcomes)
            whole = Result(outcomes, sum(result.seconds for result in self._results))
            self.status |= show_result(self._verb, whole, as_json=True, ok=not self.status)
        return self.status


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """Print a plan, a step a line."""
    if as_json:
        common.print_json([{"action": s.action, "name": s.name, "path": s.path, "params": s.params} for s in plan])
    elif plan:
        print(plan)


def show_result(verb: str, result: Result, *, as_json: bool, ok: bool = True) -> int:
    """Print what was changed and, on standard error, what failed; return the exit status.

    ``ok`` is False where something failed that the result does not have.
    """
    if as_json:
        common.print_json({**result_json(result), "ok": result.ok and ok})
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
