"""The public names, and what importing them costs."""

import importlib
import json
import pickle
import subprocess
import sys

import pytest

import kmodkit
from kmodkit import errors

LIST_MODULES = "import json, sys; {}; print(json.dumps(sorted(sys.modules)))"


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after ``statement``."""
    script = LIST_MODULES.format(statement)
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
    return set(json.loads(result.stdout))


@pytest.mark.parametrize("name", kmodkit.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    """Each name of __all__ is there and says what it is."""
    value = getattr(kmodkit, name)
    assert value.__doc__
    assert name in dir(kmodkit)


def test_public_names_are_sorted_and_complete() -> None:
    """__all__ and the table of where names live agree, so neither forgets one."""
    assert sorted(kmodkit.__all__) == list(kmodkit.__all__)
    assert set(kmodkit.__all__) == set(kmodkit._HOME_OF)
    for name, home in kmodkit._HOME_OF.items():
        assert getattr(importlib.import_module(home), name) is getattr(kmodkit, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As for any module, so that hasattr() works."""
    assert not hasattr(kmodkit, "nothing")


def test_importing_the_package_loads_nothing_of_it() -> None:
    """Its modules, and with them their dependencies, are loaded by the first use of a name."""
    extra = loaded_by("import kmodkit") - loaded_by("import __future__, importlib, typing")
    assert extra == {"kmodkit"}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("from kmodkit import Catalog, RadixTree, Pattern", {"google.protobuf", "asn1crypto", "rich", "lzma"}),
        ("from kmodkit import read_module, find_tree", {"google.protobuf", "asn1crypto", "rich", "lzma"}),
        ("from kmodkit import scan, ScanResult", {"google.protobuf", "asn1crypto", "rich", "lzma"}),
        ("import kmodkit.meta.codec", {"asn1crypto", "rich", "lzma"}),
    ],
)
def test_names_load_only_what_they_need(statement: str, absent: set[str]) -> None:
    """protobuf, asn1crypto, rich and the decompressors are loaded by what uses them, when it does."""
    assert not absent & loaded_by(statement)


def test_every_error_is_a_kmod_error_and_is_drawn_in_the_tree() -> None:
    """The picture in the module's docstring is the class tree."""
    found = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    for name, kind in found.items():
        if issubclass(kind, BaseException):
            assert issubclass(kind, errors.KmodError)
            assert f" {name} " in f"{errors.__doc__} ".replace("\n", " \n")


@pytest.mark.parametrize(
    "error",
    [
        errors.ElfError("reason", offset=5, source="x.ko"),
        errors.FileError(2, "No such file", "x.ko"),
        errors.TreeError("x", "reason"),
        errors.ScanError([errors.KmodError("a"), errors.KmodError("b")]),
        errors.ModuleNotFoundError("x"),
        errors.CycleError(["a", "b", "a"]),
        errors.UnknownDependencyError("a", "b"),
        errors.SyscallError("finit_module", 2, "No such file"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_cross_process_borders(error: errors.KmodError) -> None:
    """An error comes out of pickling with the same text and the same fields."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {k: str(v) for k, v in vars(copy).items()} == {k: str(v) for k, v in vars(error).items()}


def test_a_format_error_says_source_reason_and_offset() -> None:
    """In this order, with the offset in hexadecimal, and without what is not known."""
    assert str(errors.ElfError("bad header", offset=255, source="x.ko")) == "x.ko: bad header (at offset 0xff)"
    assert str(errors.ElfError("bad header")) == "bad header"
