"""Settings of all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    pass  # in a guest of ktest, which has pytest alone
else:
    # Derandomised, so that a run can be repeated and a red one is never luck; KMODKIT_EXPLORE=1 looks for more.
    settings.register_profile(
        "check",
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.register_profile("explore", settings.get_profile("check"), max_examples=5000, derandomize=False)
    settings.load_profile("explore" if os.environ.get("KMODKIT_EXPLORE") else "check")


def pytest_ktest_kernel(config: pytest.Config, key: str) -> Path | None:
    """Find kernels by their name in the cache of real material."""
    del config
    from tools import material

    if key not in material.KERNELS:
        return None
    found = material.cached_kernel(key)
    return found.root if found is not None else None
