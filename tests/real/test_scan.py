"""The scan of whole kernels: nothing missed, nothing doubted, the same each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kmodkit
from kmodkit.core.names import name_from_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmodkit import ScanResult
    from tools.material import Kernel


def test_every_module_file_is_read(kernel: Kernel, scanned: ScanResult) -> None:
    """The catalog has one loadable module for each file, under the name of the file, and nothing was skipped.

    That includes c2port's core.ko, though modules.builtin.modinfo has entries of other things called core.
    """
    files = {str(path.relative_to(kernel.modules)) for path in kernel.module_files()}
    loadable = {module.path: module.name for module in scanned.catalog if not module.builtin}
    assert scanned.skipped == ()
    assert loadable == {path: name_from_path(path) for path in files}


def test_no_module_needs_what_is_not_there(scanned: ScanResult) -> None:
    """Every dependency of a real kernel is one of its modules, and none leads back to where it began."""
    assert scanned.problems == ()


def test_modules_come_in_the_order_of_modules_order(kernel: Kernel, scanned: ScanResult) -> None:
    """The kernel's own list is the order of the catalog, what is built in behind it."""
    listed = [name_from_path(line) for line in (kernel.modules / "modules.order").read_text().splitlines()]
    names = [module.name for module in scanned.catalog if not module.builtin]
    assert names == [name for name in listed if name in set(names)]
    assert [module.builtin for module in scanned.catalog] == sorted(module.builtin for module in scanned.catalog)


def test_every_line_of_modules_builtin_is_a_module(kernel: Kernel, scanned: ScanResult) -> None:
    """What the kernel lists as built in is in the catalog, without a path."""
    listed = {name_from_path(line) for line in (kernel.modules / "modules.builtin").read_text().splitlines()}
    assert listed
    assert all(scanned.catalog[name].builtin for name in listed)


def test_one_thread_finds_what_many_find(s390x: Kernel, scan_of: Callable[[Kernel], ScanResult]) -> None:
    """The number of threads changes nothing: values, order and what else was seen are the same."""
    assert kmodkit.scan(s390x.root, jobs=1) == kmodkit.scan(s390x.root, jobs=3) == scan_of(s390x)


def test_the_tree_itself_and_the_root_above_it_are_one(
    bookworm: Kernel, scan_of: Callable[[Kernel], ScanResult]
) -> None:
    """Naming /lib/modules/RELEASE or the root it is in gives the same scan."""
    assert kmodkit.scan(bookworm.modules) == scan_of(bookworm)
