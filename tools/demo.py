"""The demo: index a real kernel and show what this machine's devices, and three well-known ones, need.

The kernel is the running one where its modules are installed, else Debian bookworm's, fetched into the cache.
Every step is a command of kmodkit, printed before it runs.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from pathlib import Path

from kmodkit.cli import main as kmodkit
from kmodkit.errors import TreeError
from kmodkit.kernel.files import find_tree
from tools import material

DEVICES = {
    "pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00": "an Intel E810 network card",
    "usb:v0BDAp8153d3000dc00dsc00dp00icFFiscFFip00in00": "a Realtek USB network adapter",
    "acpi:PNP0C0A:": "a laptop's battery",
}


def main() -> int:
    """Run the demo; 1 where a kernel could not be had or a command failed."""
    try:
        tree = _tree()
    except material.MaterialError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        meta = str(Path(scratch, "meta.pb"))
        steps = [
            ("the index of the whole kernel", ["index", tree, "-o", meta]),
            ("the modules that this machine's own devices need", ["lookup", "--meta", meta, "--sysfs"]),
            *((f"what drives {what}", ["lookup", "--meta", meta, modalias]) for modalias, what in DEVICES.items()),
            ("what r8169 needs, in load order", ["deps", "--meta", meta, "r8169"]),
            ("what a module says of itself", ["info", "--tree", tree, "-F", "description", "r8169"]),
        ]
        failed = [step for what, step in steps if _show(what, step)]
    for step in failed:
        print(f"demo: failed: kmodkit {shlex.join(step)}", file=sys.stderr)
    return 1 if failed else 0


def _tree() -> str:
    try:
        tree = find_tree()
    except TreeError:
        print("The running kernel's modules are not installed here; taking Debian bookworm's kernel (cached).")
        return str(material.kernel("bookworm-amd64").modules)
    print(f"Using the running kernel's modules in {tree.root}.")
    return tree.root


def _show(what: str, step: list[str]) -> int:
    print(f"\n# {what}\n$ kmodkit {shlex.join(step)}", flush=True)
    start = time.perf_counter()
    status = kmodkit(step)
    print(f"({time.perf_counter() - start:.1f} s)")
    return status


if __name__ == "__main__":
    sys.exit(main())
