"""Every example in the documentation runs and prints what it says."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import kmodkit

ROOT = Path(__file__).parent.parent
# These two run something when they are imported.
NOT_IMPORTED = {"kmodkit.__main__", "kmodkit.ktest.guest_init"}
MODULES = sorted({found.name for found in pkgutil.walk_packages(kmodkit.__path__, "kmodkit.")} - NOT_IMPORTED)
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if ">>> " in path.read_text())


@pytest.mark.parametrize("name", ["kmodkit", *MODULES])
def test_examples_in_docstrings_run(name: str) -> None:
    """What a docstring shows is true."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_examples_in_pages_run() -> None:
    """What a page of the documentation shows is true."""
    for page in PAGES:
        assert doctest.testfile(str(page), module_relative=False).failed == 0
