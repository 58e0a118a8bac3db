"""Run commands and tests inside a real kernel, under QEMU.

::

    from pathlib import Path
    from kmodkit import ktest

    setup = ktest.Setup(kernel=Path("/"), modules=("e1000e",))
    with ktest.start(setup) as vm:
        vm.run(["python3", "-c", "print('hello')"]).output
        vm.qmp("device_add", driver="e1000e", id="nic", bus="rp0")

`docs/ktest.md` in the repository is the manual; `kmodkit.ktest.plugin` is the pytest plugin, and
`kmodkit.ktest.guest` is for programs that run in a guest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmodkit.ktest.image import Image, ImageSpec, build
    from kmodkit.ktest.kernels import KernelFiles, find_kernel
    from kmodkit.ktest.machine import Machine, Snapshot
    from kmodkit.ktest.process import Completed, Process
    from kmodkit.ktest.qemu import MachineSpec
    from kmodkit.ktest.runner import Setup, prepare, run, start
    from kmodkit.ktest.snapshots import snapshot

__all__ = [
    "Completed",
    "Image",
    "ImageSpec",
    "KernelFiles",
    "Machine",
    "MachineSpec",
    "Process",
    "Setup",
    "Snapshot",
    "build",
    "find_kernel",
    "prepare",
    "run",
    "snapshot",
    "start",
]

_HOMES = {
    "image": ("Image", "ImageSpec", "build"),
    "kernels": ("KernelFiles", "find_kernel"),
    "machine": ("Machine", "Snapshot"),
    "process": ("Completed", "Process"),
    "qemu": ("MachineSpec",),
    "runner": ("Setup", "prepare", "run", "start"),
    "snapshots": ("snapshot",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(importlib.import_module(f"kmodkit.ktest.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
