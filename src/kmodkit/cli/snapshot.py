"""Write down the devices of this machine, their drivers and what is loaded, as JSON; or compare with that.

  kmodkit snapshot > machine.json          then, elsewhere: kmodkit image --snapshot machine.json -o modules.cpio
  kmodkit snapshot --check machine.json    names each device that had a driver then and has not the same now

With --check the exit status is 1 where any device has lost its driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmodkit.cli import common

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-o", "--output", metavar="FILE", help="where to write it; default: standard output")
    group.add_argument("--check", metavar="FILE", help="compare with a snapshot taken before")
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Take the snapshot; status 1 where a check finds a loss."""
    from kmodkit.kernel.files import replace_file
    from kmodkit.kernel.snapshot import load_snapshot, take_snapshot

    now = take_snapshot()
    if args.check is None:
        text = now.to_json()
        if args.output is None:
            print(text, end="")
        else:
            replace_file(args.output, text.encode("utf-8", "surrogateescape"))
        return 0
    before = load_snapshot(args.check)
    losses = before.losses(now)
    served = sum(device.driver is not None for device in before.devices)
    if args.json:
        common.print_json(
            {
                "devices": served,
                "losses": [
                    {
                        "path": loss.before.path,
                        "driver": loss.before.driver,
                        "module": loss.before.module,
                        "present": loss.now is not None,
                        "driver_now": None if loss.now is None else loss.now.driver,
                    }
                    for loss in losses
                ],
            }
        )
    else:
        for loss in losses:
            print(loss)
        if not losses:
            print(f"all {served} devices have their drivers")
    return 1 if losses else 0
