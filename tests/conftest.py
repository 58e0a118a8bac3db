"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Derandomised, so that a run can be repeated and a red one is never luck; KMODKIT_EXPLORE=1 looks for new cases.
settings.register_profile(
    "check",
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", settings.get_profile("check"), max_examples=5000, derandomize=False)
settings.load_profile("explore" if os.environ.get("KMODKIT_EXPLORE") else "check")
