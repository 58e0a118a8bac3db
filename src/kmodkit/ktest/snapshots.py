"""Snapshots in the cache: a guest that has booted, to be started again and again in its first moment."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

from kmodkit.ktest.cache import cached
from kmodkit.ktest.machine import BOOT_TIMEOUT, MEMORY_FILE, Machine, Snapshot
from kmodkit.ktest.qemu import MachineSpec, arguments, find_qemu, qemu_version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def snapshot(
    spec: MachineSpec,
    *,
    prepare: Callable[[Machine], object] | None = None,
    prepared: str = "",
    boot_timeout: float = BOOT_TIMEOUT,
    on_data: Callable[[str, bytes], None] | None = None,
    root: Path | None = None,
) -> Snapshot:
    """Return the snapshot of a machine, booting it only where the cache has none.

    ``prepare`` is called with the booted guest before its state is saved, and may leave a command waiting for
    the answer to a call; ``prepared`` names what it does, as part of the key. The rest of the key is the kernel,
    the image, the machine, and the version of QEMU, whose states no other version need understand.

    Raises what booting raises; nothing is kept then.
    """

    def make(directory: Path) -> None:
        directory.mkdir(mode=0o700)
        with Machine(
            spec, memory_file=directory / MEMORY_FILE, boot_timeout=boot_timeout, on_data=on_data
        ) as machine:
            if prepare is not None:
                prepare(machine)
            machine.save(directory)

    return Snapshot.load(spec, cached(f"snapshot-{snapshot_key(spec, prepared)}", make, root=root))


def forget(state: Snapshot) -> None:
    """Remove a snapshot from the cache."""
    shutil.rmtree(state.directory, ignore_errors=True)


def snapshot_key(spec: MachineSpec, prepared: str) -> str:
    """Return the key of a snapshot."""
    program = find_qemu()
    facts = [
        qemu_version(program),
        program,
        arguments(spec),
        _identity(spec.kernel),
        _identity(spec.initrd),
        prepared,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _identity(path: Path) -> list[int]:
    """Return what changes with the file; the name of one in the cache is of its contents already."""
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_ctime_ns]
