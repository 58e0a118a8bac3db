"""Load the modules of every device that is there, then of each one that comes, until SIGTERM or SIGINT.

For each round that did something, a line is printed: key=value pairs, or with --json an object. Under systemd
(Type=notify) it reports that it is ready once the devices that were there are done.

Exit status: 0 it was told to stop, 1 there was an error at the start, 2 the call's words are wrong.
"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from kmodkit.cli import common, modules

if TYPE_CHECKING:
    import argparse

    from kmodkit.devices import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--no-coldplug", dest="coldplug", action="store_false", help="only follow what comes")
    common.add_json(parser)
    common.add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Follow the devices until a signal."""
    from kmodkit.devices import Watcher
    from kmodkit.kernel.notify import notify

    manager = modules.open_manager(args)
    with Watcher(manager, coldplug=args.coldplug) as watcher:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: watcher.stop())
        if not args.coldplug:
            notify("READY=1")
        for report in watcher:
            if report.result.outcomes or report.reason or report.cause != "event":
                print(_line(report, as_json=args.json), flush=True)
            if report.cause == "coldplug":
                notify("READY=1")
        notify("STOPPING=1")
    return 0


def _line(report: Report, *, as_json: bool) -> str:
    failed = [str(error) for error in report.result.failures]
    fields: dict[str, object] = {
        "cause": report.cause,
        "modaliases": len(report.modaliases),
        "loaded": list(report.result.changed),
        "failed": failed,
        "seconds": round(report.result.seconds, 6),
    }
    if report.reason:
        fields["reason"] = report.reason
    if as_json:
        return json.dumps(fields)
    return " ".join(f"{key}={_value(value)}" for key, value in fields.items() if value != [])


def _value(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    # Names come out of files: none may end the line or begin another field.
    return text if text.isprintable() and not set(text) & set(' "=') else json.dumps(text)
