"""Fixtures for tests that start virtual machines."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import kmodkit
from kmodkit.ktest.image import ImageSpec
from kmodkit.ktest.qemu import PROGRAM
from kmodkit.ktest.runner import Setup
from tests.require import need
from tools import material

# Plain modules under /lib, compressed ones under /usr/lib.
KEYS = ("bookworm-amd64", "trixie-amd64")
PACKAGE = Path(kmodkit.__file__).parent


@pytest.fixture(scope="session", params=KEYS)
def kernel_root(request: pytest.FixtureRequest) -> Path:
    """The root of each kernel in turn, on a machine that has QEMU."""
    need(shutil.which(PROGRAM), f"{PROGRAM} is not installed", "qemu")
    found = material.cached_kernel(request.param)
    return need(found, f"{request.param} is not in the cache: make test fetches it", "kernels").root


@pytest.fixture(scope="session")
def setup_(kernel_root: Path) -> Setup:
    """A guest with two network drivers in its image."""
    # Not the whole package: every edit of it would make another image and another snapshot.
    files = tuple((PACKAGE / name, f"/site/kmodkit/{name}") for name in ("__init__.py", "ktest"))
    image = ImageSpec(files=files, env=(("PYTHONPATH", "/site"),))
    return Setup(kernel=kernel_root, modules=("dummy", "r8169"), image=image)
