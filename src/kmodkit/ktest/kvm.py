"""Whether KVM works here: a device node, even an open one, does not say so."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kmodkit.errors import KtestError
from kmodkit.ktest.cache import cached
from kmodkit.ktest.machine import Machine
from kmodkit.ktest.qemu import find_qemu, qemu_version

if TYPE_CHECKING:
    from kmodkit.ktest.qemu import MachineSpec

PROBE_TIMEOUT: Final = 10.0
"""Seconds for the trial boot: with KVM a guest needs one or two."""

_DEVICE: Final = Path("/dev/kvm")
_MODULES: Final = tuple(Path("/sys/module", name) for name in ("kvm_intel", "kvm_amd"))


def choose(spec: MachineSpec, accel: str, *, root: Path | None = None) -> MachineSpec:
    """Return ``spec`` with the accelerator ``accel``: ``tcg``, ``kvm``, or ``auto`` for KVM where it works."""
    if accel not in ("tcg", "kvm", "auto"):
        raise KtestError(f"no accelerator {accel!r}: tcg, kvm and auto are known")
    if accel == "auto":
        accel = "kvm" if usable(spec, root=root) else "tcg"
    return replace(spec, accel=accel)


def usable(spec: MachineSpec, *, root: Path | None = None) -> bool:
    """Tell whether the machine boots under KVM; the answer of a trial boot is kept until this host restarts."""
    if not present():
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    facts = [boot, qemu_version(find_qemu()), str(spec.kernel), spec.cpus]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    answer = cached(f"kvm-{key}", lambda path: _probe(spec, path), root=root)
    return answer.read_text(encoding="ascii") == "works"


def present() -> bool:
    """Tell whether a trial is worth while: a processor's module is loaded, and the device is ours to open.

    Elsewhere the device belongs to another hypervisor's emulation, under which guests have been seen to hang.
    """
    return any(module.is_dir() for module in _MODULES) and os.access(_DEVICE, os.R_OK | os.W_OK)


def _probe(spec: MachineSpec, path: Path) -> None:
    try:
        with Machine(replace(spec, accel="kvm"), boot_timeout=PROBE_TIMEOUT):
            answer = "works"
    except KtestError as error:
        answer = f"fails: {error}"
    path.write_text(answer, encoding="ascii", errors="replace")
