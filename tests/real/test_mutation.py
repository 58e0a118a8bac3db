"""Real modules and a real meta.pb, damaged in over 10,000 ways: only a KmodError, in bounded time and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from kmodkit import Catalog
from kmodkit.meta.codec import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kmodkit import ScanResult
    from tools.material import Kernel

MODULE_CASES = 2000  # for each of four kernels
META_CASES = 2500
WHOLE_META_CASES = 8
SMALL = 200_000  # bytes of a module file; the sizes of real ones change nothing but the time


def mutate(kind: str, seed: str, cases: int, files: Sequence[Path]) -> tuple[int, int]:
    """Run ``cases`` in a process of their own; return how many were read and how many refused."""
    argv = [sys.executable, "-m", "tests.real.mutation", kind, seed, "0", str(cases), *map(str, files)]
    root = Path(__file__).parents[2]
    done = subprocess.run(argv, cwd=root, check=False, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    read, refused = map(int, done.stdout.split())
    assert read + refused == cases
    return read, refused


def test_damaged_modules(kernel: Kernel) -> None:
    """Whatever is wrong with a module, reading it ends well or in a KmodError that names the file."""
    small = sorted(path for path in kernel.module_files() if path.stat().st_size < SMALL)
    files = Random(3).sample(small, 40)
    read, refused = mutate("modules", kernel.arch, MODULE_CASES, files)
    assert read > MODULE_CASES / 20, "some damage is harmless"
    assert refused > MODULE_CASES / 4, "and much is not"


def part_of(catalog: Catalog) -> Catalog:
    """Return some modules of a real catalog with all that they need: small, so that many cases are quick."""
    wanted = ("r8169", "btrfs", "hid_logitech_dj", "tpm_tis")
    return Catalog(catalog.closure(wanted, weak=True, builtin=True))


def test_a_damaged_meta_pb(bookworm: Kernel, scan_of: Callable[[Kernel], ScanResult], tmp_path: Path) -> None:
    """A meta.pb is read, and then works, or is refused with a KmodError."""
    part = part_of(scan_of(bookworm).catalog)
    assert len(part) > 20
    file = tmp_path / "meta.pb"
    file.write_bytes(encode(part))
    read, refused = mutate("meta", "part", META_CASES, [file])
    assert read > META_CASES / 50
    assert refused > META_CASES / 4


def test_a_damaged_meta_pb_of_a_whole_kernel(
    s390x: Kernel, scan_of: Callable[[Kernel], ScanResult], tmp_path: Path
) -> None:
    """The same at full size, where time and memory would show what grows faster than the file."""
    file = tmp_path / "meta.pb"
    file.write_bytes(encode(scan_of(s390x).catalog))
    mutate("meta", "whole", WHOLE_META_CASES, [file])
