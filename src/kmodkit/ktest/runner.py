"""From a kernel and a command to a result: what the command line and the pytest plugin are made from."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kmodkit.errors import KmodError, KtestError
from kmodkit.ktest import kvm
from kmodkit.ktest.cache import cached
from kmodkit.ktest.image import Image, ImageSpec, build
from kmodkit.ktest.kernels import KernelFiles, find_kernel
from kmodkit.ktest.machine import BOOT_TIMEOUT, Machine
from kmodkit.ktest.process import RUN_TIMEOUT, Completed
from kmodkit.ktest.qemu import MachineSpec
from kmodkit.ktest.snapshots import snapshot
from kmodkit.ktest.vmlinux import bootable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ALL_MODULES: Final = "*"
_SUFFIXES: Final = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A guest to be: a kernel, what is in its image, and the machine around it.

    ``kernel`` is an image, or a root that holds one kernel with its modules (an unpacked package); ``modules``
    are names, which bring their closure, or files, or ``"*"`` for the whole tree. ``modules_root`` is for
    modules that lie elsewhere. ``image`` says what else is in the image. The rest is as in `MachineSpec`, but
    for ``accel``, which may also be ``auto``.
    """

    kernel: Path
    modules_root: Path | None = None
    modules: tuple[str, ...] = ()
    image: ImageSpec = field(default_factory=ImageSpec)
    devices: tuple[str, ...] = ()
    memory: int = 0
    cpus: int = 2
    append: str = ""
    accel: str = "tcg"


def prepare(setup: Setup, *, root: Path | None = None) -> MachineSpec:
    """Build, or take from the cache, what the guest boots from; ``root`` is the cache directory.

    Raises KtestError for what is missing, and for modules what `kmodkit.scan` raises.
    """
    kernel = find_kernel(setup.kernel, setup.modules_root)
    spec = MachineSpec(
        kernel=bootable(kernel.image, root=root),
        initrd=_image(setup, kernel, root).path,
        memory=setup.memory,
        cpus=setup.cpus,
        devices=setup.devices,
        append=setup.append,
    )
    return kvm.choose(spec, setup.accel, root=root)


def start(
    setup: Setup,
    *,
    cold: bool = False,
    on_data: Callable[[str, bytes], None] | None = None,
    boot_timeout: float = BOOT_TIMEOUT,
    root: Path | None = None,
) -> Machine:
    """Return a guest to use in a ``with`` statement: restored from a snapshot, or with ``cold`` booted."""
    spec = prepare(setup, root=root)
    source = spec if cold else snapshot(spec, boot_timeout=boot_timeout, on_data=on_data, root=root)
    return Machine(source, on_data=on_data, boot_timeout=boot_timeout)


def run(
    argv: Sequence[str], setup: Setup, *, cold: bool = False, timeout: float = RUN_TIMEOUT, **options: Any
) -> Completed:
    """Run one command in a guest of its own; ``options`` are those of `Machine.start`.

    Raises KtestTimeoutError after ``timeout`` seconds of the command, KtestLostError where its result is not
    known, KtestError where the guest cannot be made.
    """
    with start(setup, cold=cold) as machine:
        return machine.run(argv, timeout=timeout, **options)


def module_files(kernel: KernelFiles, names: Sequence[str], *, root: Path | None = None) -> tuple[Path, ...]:
    """Return the files, relative to the module directory, of modules and of all they need, sorted.

    A name is a module's, a path of a module file, or ``*``. Raises KtestError where the kernel has no module
    directory, and what `kmodkit.scan` and a closure raise.
    """
    if not names:
        return ()
    if kernel.modules is None:
        raise KtestError(f"{kernel.image}: no modules lie with this kernel, name their directory")
    tree = kernel.modules
    files = {_below(tree, name) for name in names if name.endswith(_SUFFIXES)}
    plain = sorted(name for name in names if not name.endswith(_SUFFIXES) and name != ALL_MODULES)
    if ALL_MODULES in names or plain:
        everything = [
            Path(directory, name)
            for directory, _, names in os.walk(tree)
            for name in names
            if name.endswith(_SUFFIXES)
        ]
        if ALL_MODULES in names:
            files.update(path.relative_to(tree) for path in everything)
        if plain:
            files.update(_closure(tree, everything, plain, root))
    return tuple(sorted(files))


def _image(setup: Setup, kernel: KernelFiles, root: Path | None) -> Image:
    modules = module_files(kernel, setup.modules, root=root)
    return build(
        replace(setup.image, modules_root=kernel.modules, release=kernel.release, modules=modules), root=root
    )


def _below(tree: Path, name: str) -> Path:
    path = Path(name)
    found = [place for place in (tree / path, path.absolute()) if place.is_file() and place.is_relative_to(tree)]
    if not found:
        raise KtestError(f"{name}: no module file below {tree}")
    return found[0].relative_to(tree)


def _closure(tree: Path, files: Sequence[Path], names: Sequence[str], root: Path | None) -> list[Path]:
    """Return the files of the closure, kept in the cache: reading a tree of .ko.xz takes three seconds."""

    def make(path: Path) -> None:
        from kmodkit.scanner import scan

        found = scan(tree).catalog.closure(names, weak=True)
        path.write_text(json.dumps([module.path for module in found if module.path]), encoding="utf-8")

    facts = sorted([str(path), (status := path.stat()).st_size, status.st_mtime_ns] for path in files)
    key = hashlib.sha256(json.dumps([facts, list(names)]).encode()).hexdigest()[:32]
    try:
        kept = cached(f"closure-{key}", make, root=root)
    except KmodError as error:
        raise KtestError(f"modules for the guest: {error}") from error
    return [Path(path) for path in json.loads(kept.read_text(encoding="utf-8"))]
