"""Decide what becomes of a test whose material or tool is absent."""

from __future__ import annotations

import os
from typing import TypeVar

import pytest

T = TypeVar("T")


def need(value: T | None, what: str, token: str) -> T:
    """Return ``value`` if it is there; else skip the test, or fail it where ``token`` is required.

    ``what`` names the missing thing and how to get it. KMODKIT_REQUIRE holds the required tokens, separated
    by commas: a run that sets it cannot pass by skipping.
    """
    if value:
        return value
    required = {word.strip() for word in os.environ.get("KMODKIT_REQUIRE", "").split(",")}
    if token in required:
        pytest.fail(f"{what}; KMODKIT_REQUIRE has {token!r}", pytrace=False)
    pytest.skip(what)
