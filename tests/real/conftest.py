"""Fixtures over real Debian kernels; they read the cache and never the network."""

from __future__ import annotations

import fcntl
import functools
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import pytest

import kmodkit
from bench import peers
from tests.require import need
from tools import material

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kmodkit import ScanResult
    from tools.material import Kernel

T = TypeVar("T")

# Plain and compressed modules, both byte orders, both word sizes.
KEYS = ("bookworm-amd64", "trixie-amd64", "trixie-s390x", "trixie-armhf")


class Once(Protocol):
    """The type of the ``once`` fixture."""

    def __call__(self, name: str, make: Callable[[], T]) -> T: ...  # noqa: D102


class Depmodded(Protocol):
    """The type of the ``depmodded`` fixture; the arguments of ``tools.material.depmodded``."""

    def __call__(self, kernel: Kernel, tool: Path | Sequence[str] | None = None) -> Path: ...  # noqa: D102


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test below this directory as one that needs real kernels."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.real)


def _cached(key: str) -> Kernel:
    return need(material.cached_kernel(key), f"{key} is not in the cache: make test fetches it", "kernels")


@pytest.fixture(scope="session", params=KEYS)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Each of the kernels in turn."""
    return _cached(request.param)


@pytest.fixture(scope="session")
def bookworm() -> Kernel:
    """The kernel with plain modules."""
    return _cached("bookworm-amd64")


@pytest.fixture(scope="session")
def trixie() -> Kernel:
    """The amd64 kernel with compressed modules."""
    return _cached("trixie-amd64")


@pytest.fixture(scope="session")
def s390x() -> Kernel:
    """The big-endian kernel, which is also the smallest."""
    return _cached("trixie-s390x")


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A function that makes a value for a name, once in all processes of this run."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def get(name: str, make: Callable[[], T]) -> T:
        with open(base / f"{name}.lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = base / f"{name}.pickle"
            if not kept.exists():
                kept.write_bytes(pickle.dumps(make()))
            return cast("T", pickle.loads(kept.read_bytes()))  # noqa: S301 - our own of a minute ago

    return get


@pytest.fixture(scope="session")
def scan_of(once: Once) -> Callable[[Kernel], ScanResult]:
    """A function that scans a kernel."""
    return functools.cache(lambda kernel: once(f"scan-{kernel.key}", lambda: kmodkit.scan(kernel.root)))


@pytest.fixture(scope="session")
def scanned(kernel: Kernel, scan_of: Callable[[Kernel], ScanResult]) -> ScanResult:
    """The scan of each kernel in turn."""
    return scan_of(kernel)


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for the programs that the tests compile."""
    need(peers.compiler(), "there is no C compiler: install gcc", "cc")
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="session")
def depmodded() -> Depmodded:
    """A function that returns a copy of a kernel's root with the files that the real depmod writes."""

    def make(kernel: Kernel, tool: Path | Sequence[str] | None = None) -> Path:
        return material.depmodded(kernel, tool or need(material.machine_depmod(), "depmod is not there", "kmod"))

    return make


@pytest.fixture(scope="session")
def trixie_tool() -> Callable[[str], list[str]]:
    """A function that returns the first arguments of a command running a tool of trixie's kmod."""

    def find(name: str) -> list[str]:
        found = material.cached_trixie_tool(name)
        return need(found, "trixie's kmod is not in the cache: make test fetches it", "kmod")

    return find
