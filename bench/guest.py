"""Coldplug in a real kernel: kmodkit beside modprobe, and beside udev where its package can be had.

    python -m bench.guest [KERNEL]

The same emulated machine for each, restored from one snapshot, so that every run starts with no module loaded.
Times are the guest's own, in a machine that emulates its processor: only their ratios mean something.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import kmodkit
from bench.measure import Row
from kmodkit import ktest
from kmodkit.core.names import to_text
from tools import material

if TYPE_CHECKING:
    from tools.material import Kernel

ROUNDS: Final = 3
NAMES: Final = {"command": "kmodkit coldplug", "library": "coldplug(Manager)", "udev": "udevadm"}
DEVICES: Final = (
    "e1000e",
    "virtio-net-pci,disable-legacy=on",
    "rtl8139",
    "qemu-xhci,id=xhci",
    "usb-tablet,bus=xhci.0",
)
WANTED: Final = ("e1000e", "virtio_net", "virtio_pci", "8139too", "8139cp", "xhci_pci", "usbhid", "hid_generic")
ALSO: Final = (
    "i2c_i801",
    "lpc_ich",
    "ahci",
    "pcspkr",
    "psmouse",
    "serio_raw",
    "evdev",
    "crc32c_intel",
    "crc32_pclmul",
)
INDEXES: Final = (
    "dep.bin",
    "alias.bin",
    "softdep",
    "symbols.bin",
    "builtin.bin",
    "builtin.alias.bin",
    "builtin.modinfo",
)

# What each contender does, timed from when it could start to when the last module is loaded.
SCRIPT: Final = """
import json, os, subprocess, sys, time
def aliases():
    from kmodkit.kernel.uevents import read_modaliases
    return list(dict.fromkeys(alias for _, alias in read_modaliases()))
def loaded():
    return sorted(line.split()[0] for line in open("/proc/modules"))
def modprobe():
    seen, seconds = set(), 0.0
    while new := [a for a in aliases() if a not in seen]:
        seen.update(new)
        before = loaded()
        start = time.monotonic()
        subprocess.run(["modprobe", "-a", "-q", "-b", "--", *new], stderr=subprocess.DEVNULL)
        seconds += time.monotonic() - start
        if loaded() == before:
            break
    return seconds
def command():
    start = time.monotonic()
    # What the script does that an installer makes; -m would import runpy as well.
    script = "import sys; from kmodkit.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", script, "coldplug"], capture_output=True)
    return time.monotonic() - start
def library():
    from kmodkit.devices import coldplug
    from kmodkit.manager import Manager
    start = time.monotonic()
    coldplug(Manager.from_tree())
    return time.monotonic() - start
def udev():
    os.makedirs("/run/udev", exist_ok=True)
    daemon = subprocess.Popen(["/usr/lib/systemd/systemd-udevd"], stderr=subprocess.DEVNULL)
    for _ in range(200):
        if os.path.exists("/run/udev/control"):
            break
        time.sleep(0.05)
    start = time.monotonic()
    subprocess.run(["udevadm", "trigger", "--type=devices", "--action=add"], check=True)
    subprocess.run(["udevadm", "settle"], check=True)
    seconds = time.monotonic() - start
    daemon.kill()
    return seconds
seconds = {"modprobe": modprobe, "command": command, "library": library, "udev": udev}[sys.argv[1]]()
print(json.dumps({"seconds": seconds, "loaded": loaded()}))
"""


def main(argv: list[str]) -> int:
    """Print a line for each contender: the median and its ratio to modprobe's."""
    print(f"{'contender':<24}{'ratio to modprobe':>20}{'guest seconds':>16}")
    for row in rows(material.kernel(argv[0] if argv else "bookworm-amd64")):
        print(f"{row.name:<24}{row.ratio or 0.0:>20.2f}{row.ours:>16.2f}")
    return 0


def rows(kernel: Kernel) -> list[Row]:
    """Return a row for each contender beside modprobe, in the guest's own seconds."""
    indexed = material.depmodded(kernel) / kernel.modules.relative_to(kernel.root)
    there = f"/lib/modules/{kernel.release}"
    with tempfile.TemporaryDirectory() as scratch:
        catalog = kmodkit.scan(kernel.modules).catalog
        kmodkit.save_metadata(catalog, Path(scratch, "meta.pb"))
        files = [(indexed / f"modules.{name}", f"{there}/modules.{name}") for name in INDEXES]
        files.append((Path(scratch, "meta.pb"), f"{there}/meta.pb"))
        programs, rules = _udev()
        files += rules
        image = ktest.ImageSpec(
            python_path=(Path(kmodkit.__file__).parent,),
            programs=(Path(shutil.which("modprobe") or "/sbin/modprobe"), *programs),
            files=tuple((path, target) for path, target in files if path.exists()),
        )
        modules = tuple(name for name in (*WANTED, *ALSO) if name in catalog)
        setup = ktest.Setup(kernel=kernel.root, modules=modules, devices=DEVICES, image=image, memory=768)
        contenders = ["modprobe", "command", "library", *(["udev"] if programs else [])]
        # In turns, so that other work on the machine falls on all.
        runs = [[_run(setup, name) for name in contenders] for _ in range(ROUNDS)]
    seconds = [statistics.median(float(str(run["seconds"])) for run in each) for each in zip(*runs, strict=True)]
    loaded = [len(list(run["loaded"])) for run in runs[0]]  # type: ignore[call-overload]
    return [
        Row(
            f"guest: {NAMES[name]}",
            "s",
            taken,
            seconds[0],
            "modprobe -a",
            f"{count} modules; modprobe {loaded[0]}",
        )
        for name, taken, count in zip(contenders[1:], seconds[1:], loaded[1:], strict=True)
    ]


def _udev() -> tuple[tuple[Path, ...], list[tuple[Path, str]]]:
    """Return udev's programs and rules out of its package, nothing where it cannot be had."""
    try:
        root = material.package("bookworm", "amd64", "udev")
    except material.MaterialError as error:
        print(f"bench: without udev: {error}", file=sys.stderr)
        return (), []
    return (root / "bin/udevadm",), [
        (root / "lib/udev/rules.d", "/usr/lib/udev/rules.d"),
        (root / "bin/udevadm", "/usr/lib/systemd/systemd-udevd"),
    ]


def _run(setup: ktest.Setup, contender: str) -> dict[str, object]:
    with ktest.start(setup) as guest:
        done = guest.run(["python3", "/bench.py", contender], files={"/bench.py": SCRIPT.encode()}, timeout=300)
    if done.status:
        raise SystemExit(f"bench: {contender} ended with status {done.status}:\n{to_text(done.output)}")
    found: dict[str, object] = json.loads(to_text(done.output).splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
