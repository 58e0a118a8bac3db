"""meta.pb of whole kernels."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING

import pytest

from bench import queries
from kmodkit.core.alias import Pattern
from kmodkit.meta import meta_pb2
from kmodkit.meta.codec import decode, encode
from tests.meta import reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kmodkit import Catalog, ScanResult
    from tests.real.conftest import Once
    from tools.material import Kernel

COUNT = 500


@pytest.fixture(scope="session")
def encoded_of(scan_of: Callable[[Kernel], ScanResult], once: Once) -> Callable[[Kernel], bytes]:
    """A function that encodes a kernel's catalog."""
    return lambda kernel: once(f"meta-{kernel.key}", lambda: encode(scan_of(kernel).catalog))


def texts_for(catalog: Catalog) -> list[bytes]:
    """Return modaliases of which half match something, on the kernel's own buses."""
    rng = Random(11)
    aliases = dict.fromkeys(alias for module in catalog if not module.builtin for alias in module.aliases)
    patterns = [Pattern.parse(alias) for alias in aliases]
    matching = queries.derived(rng.sample(patterns, COUNT // 2), COUNT // 2, rng)
    return matching + queries.near(matching, rng)


def test_a_catalog_comes_back_whole_and_gives_the_same_bytes(
    kernel: Kernel, scanned: ScanResult, encoded_of: Callable[[Kernel], bytes]
) -> None:
    """Decoding gives the catalog that was encoded, every alias and its place included, and so the same bytes."""
    data = encoded_of(kernel)
    decoded = decode(data)
    assert decoded == scanned.catalog
    assert encode(decoded) == data


def test_the_formats_first_reader_gives_our_answers(
    kernel: Kernel, scanned: ScanResult, encoded_of: Callable[[Kernel], bytes]
) -> None:
    """A walk by that reader's rules finds what we find, less what only the equality of - and _ lets us find."""
    catalog = scanned.catalog
    tree = catalog.pattern_tree()
    meta = meta_pb2.Meta.FromString(encoded_of(kernel))
    matched = 0
    for text in texts_for(catalog):
        walked: set[int] = set()
        reference._visit(meta.module_device_matches, text, walked)
        assert walked == tree.lookup(text), text
        if b"-" not in text and b"_" not in text:
            names = {meta.modules[index].name for index in walked}
            assert {module.name for module in catalog.lookup(text)} == names, text
        matched += bool(walked)
    assert matched >= COUNT // 2


def test_modules_are_listed_as_the_first_reader_wants_them(
    kernel: Kernel, scanned: ScanResult, encoded_of: Callable[[Kernel], bytes]
) -> None:
    """Names, paths below the root, and dependencies as positions; what is built in has no path."""
    meta = meta_pb2.Meta.FromString(encoded_of(kernel))
    listed = [
        (raw.name, raw.path or None, tuple(meta.modules[index].name for index in raw.depends))
        for raw in meta.modules
    ]
    assert listed == [(module.name, module.path, module.depends) for module in scanned.catalog]


def test_the_order_of_hashes_does_not_show(
    s390x: Kernel, encoded_of: Callable[[Kernel], bytes], tmp_path: Path
) -> None:
    """Processes that hash differently write the same bytes."""
    data = encoded_of(s390x)
    file = tmp_path / "meta.pb"
    file.write_bytes(data)
    script = (
        "import hashlib, sys; from kmodkit.meta.codec import decode, encode; "
        "data = open(sys.argv[1], 'rb').read(); print(hashlib.sha256(encode(decode(data))).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, file],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout.strip() == hashlib.sha256(data).hexdigest()
