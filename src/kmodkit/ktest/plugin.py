"""The pytest plugin: tests marked ``ktest`` run in a guest, each from the same freshly booted kernel.

Load it with ``-p kmodkit.ktest.plugin`` and name the kernels with ``--ktest=KERNEL`` or KMODKIT_KTEST; without
one, marked tests are skipped. `docs/ktest.md` is the manual.

The host's pytest collects as always. The marked tests are put at the end, in groups that can share a snapshot.
For a group, a guest is booted and in it a second pytest, with this plugin too, which collects the same files and
then waits: there the snapshot is taken. Each test continues a copy of it, and the guest's reports become the
host's own.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MARKER: Final = "ktest"
KERNELS_VARIABLE: Final = "KMODKIT_KTEST"
GUEST_VARIABLE: Final = "KMODKIT_KTEST_GUEST"
"""Set in the guest, to the name of its kernel."""

_MARKER_HELP: Final = (
    "ktest(devices=[], modules=[], memory=0, append='', timeout=SECONDS): run in a guest with these devices "
    "(as for QEMU's -device), with these kernel modules and what they need in its image"
)
_INI: Final = (
    ("ktest_python_path", "paths", "directories or packages to have on sys.path in the guest"),
    ("ktest_distributions", "args", "installed distributions to have in the guest, besides pytest"),
    ("ktest_programs", "args", "programs to have in the guest"),
    ("ktest_files", "paths", "files and directories to have in the guest, besides the tests and conftests"),
    ("ktest_pytest_args", "args", "further arguments for pytest in the guest"),
)


class Hooks:
    """What a project's conftest.py can add."""

    @pytest.hookspec(firstresult=True)
    def pytest_ktest_kernel(self, config: pytest.Config, key: str) -> Path | None:
        """Return where the kernel called ``key`` is (see `kmodkit.ktest.Setup`), None for an unknown one."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add our hook."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    group = parser.getgroup("ktest", "tests in a virtual machine")
    group.addoption(
        "--ktest",
        action="append",
        default=[],
        metavar="KERNEL",
        help="run tests marked ktest with this kernel: an image, a directory that holds one with its modules, "
        f"or a name the project knows; may be given again (else: the words of {KERNELS_VARIABLE})",
    )
    group.addoption(
        "--ktest-accel", default="tcg", choices=("tcg", "kvm", "auto"), help="QEMU's accelerator (default: tcg)"
    )
    group.addoption(
        "--ktest-timeout", type=float, default=60.0, metavar="SECONDS", help="limit for one test (default: 60)"
    )
    for name, kind, text in _INI:
        parser.addini(name, text, type=kind, default=[])  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and the half of the plugin that is for this side."""
    config.addinivalue_line("markers", _MARKER_HELP)
    if GUEST_VARIABLE in os.environ:
        from kmodkit.ktest.guest_pytest import GuestHalf

        config.pluginmanager.register(GuestHalf(config), "ktest-guest")
    else:
        from kmodkit.ktest.host_pytest import HostHalf

        config.pluginmanager.register(HostHalf(config, kernels(config)), "ktest-host")


def kernels(config: pytest.Config) -> list[str]:
    """Return the names of the kernels asked for."""
    if GUEST_VARIABLE in os.environ:
        return [os.environ[GUEST_VARIABLE]]
    asked = config.getoption("--ktest") or shlex.split(os.environ.get(KERNELS_VARIABLE, ""))
    return list(dict.fromkeys(asked))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make of a marked test one for each kernel, the same on both sides."""
    names = kernels(metafunc.config)
    if names and metafunc.definition.get_closest_marker(MARKER):
        if "ktest_kernel" not in metafunc.fixturenames:
            metafunc.fixturenames.append("ktest_kernel")
        ids = [name.rstrip("/").rpartition("/")[2] or name for name in names]
        metafunc.parametrize("ktest_kernel", names, ids=ids, indirect=True)


@pytest.fixture
def ktest_kernel(request: pytest.FixtureRequest) -> str:
    """The kernel of this test, as it was asked for."""
    name: str = request.param
    return name


@pytest.fixture
def ktest_qmp() -> Callable[..., Any]:
    """A function that runs a QMP command on the machine the test runs in: ``ktest_qmp("device_add", ...)``."""
    from kmodkit.ktest.guest import qmp

    return qmp
