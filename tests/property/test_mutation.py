"""Damaged modules and meta.pb files: only errors of ours, in bounded time and memory.

KMODKIT_MUTATIONS says how many cases; the mutations of real modules are in tests/real.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.elf import Elf
from kmodkit.core.modinfo import parse_builtin_modinfo, parse_modinfo
from kmodkit.core.signature import MAGIC, read_signature
from kmodkit.errors import KmodError
from kmodkit.kernel.files import decompress
from tests import mutate
from tests.core.test_signature import pkcs7

CASES = int(os.environ.get("KMODKIT_MUTATIONS", "3000"))
PARTS = 2  # processes, so that two cores have work


@pytest.mark.parametrize("part", range(PARTS))
def test_damaged_files_end_in_errors_of_ours(part: int) -> None:
    """Each case of bit flips, cuts, extreme fields, splices and copies is read, or refused with a KmodError."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.mutate", str(part), str(CASES // PARTS)],
        cwd=Path(__file__).parents[2],
        input=pkcs7(),
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr.decode()
    # Enough is refused for the damage to be real, and enough is read for it not to be too much.
    assert CASES // PARTS // 5 < int(result.stdout) < CASES // PARTS


def test_a_case_can_be_run_again() -> None:
    """A failure names its seed and number, which give the same bytes again."""
    seen: list[bytes] = []

    def reading(data: bytes) -> None:
        seen.append(data)
        if len(seen) == 3:
            raise ValueError("a bug")

    samples = mutate.sample_metadata()
    with pytest.raises(AssertionError, match="seed 7 case 2: ValueError"):
        mutate.run(reading, samples, seed=7, cases=range(10))
    mutate.run(seen.append, samples, seed=7, cases=[2])
    assert seen[-1] == seen[2]


def test_a_case_that_hangs_is_a_failure() -> None:
    """The guard on time works, or a hang would only be noticed by whoever waits."""

    def hanging(_data: bytes) -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:  # noqa: S112 - what a careless reader would do
                continue

    with pytest.raises(AssertionError, match="case 0: TooSlowError"):
        mutate.run(hanging, [b"x"], seed=0, cases=[0], seconds=1)


@given(st.one_of(st.binary(), st.binary(max_size=100).map(lambda data: b"\x7fELF\x02\x01" + data)))
def test_any_bytes_are_an_elf_file_or_a_kmod_error(data: bytes) -> None:
    """Bytes without any order are refused too, with an offset that is a number."""
    try:
        list(Elf.from_bytes(data).sections())
    except KmodError as error:
        assert str(error)


@given(st.binary(), st.binary(max_size=12))
def test_any_trailer_is_a_signature_or_a_kmod_error(data: bytes, trailer: bytes) -> None:
    """Behind the magic text anything may stand."""
    whole = data + trailer + MAGIC
    try:
        signature = read_signature(lambda offset, size: whole[offset : offset + size], len(whole))
        if signature is not None:
            signature.details()
    except KmodError as error:
        assert str(error)


@given(st.binary())
def test_any_section_is_information(data: bytes) -> None:
    """.modinfo cannot be malformed; what is in it comes back byte by byte."""
    info = parse_modinfo(data)
    kept = [entry for entry in data.split(b"\0") if b"=" in entry]
    assert [f"{key}={value}".encode("utf-8", "surrogateescape") for key, value in info.entries] == kept


@given(st.lists(st.sampled_from([b"a", b"b", b".", b"=", b"\0", b"a.x=1\0", b"\xff"])).map(b"".join))
def test_any_list_of_built_ins_is_read_when_merged(data: bytes) -> None:
    """Without merging, a module that comes back is the only error; with it there is none."""
    merged = parse_builtin_modinfo(data, merge=True)
    assert len({info.name for info in merged}) <= len(merged)
    try:
        assert parse_builtin_modinfo(data) == merged
    except KmodError as error:
        assert "comes back" in str(error)


@given(st.sampled_from([b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b""]), st.binary())
def test_any_bytes_are_unpacked_or_refused(magic: bytes, data: bytes) -> None:
    """Junk with the first bytes of a compression is an error of ours."""
    try:
        decompress(magic + data, max_size=1 << 20)
    except KmodError as error:
        assert str(error)
