"""Taking out of a module what ties it to one kernel; beside kmod in tests/real."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.elf import Elf
from kmodkit.core.modinfo import modinfo_from_elf
from kmodkit.core.strip import strip_checks
from kmodkit.errors import ElfError, KmodError
from kmodkit.testing import ModuleBuilder

SHF_ALLOC = 2
KINDS = list(itertools.product((32, 64), ("little", "big")))


def built(bits: Literal[32, 64] = 64, byteorder: Literal["little", "big"] = "little") -> bytes:
    """Return a module with both of what can be taken out."""
    builder = ModuleBuilder("a", license="GPL", vermagic="6.1.0 SMP", versions={"printk": 7, "kfree": 8})
    builder.bits, builder.byteorder = bits, byteorder
    return builder.build()


def flags(module: bytes, name: bytes) -> int:
    """Return the flags of a section."""
    section = Elf.from_bytes(module).find(name)
    assert section is not None
    return section.flags


@pytest.mark.parametrize(("bits", "byteorder"), KINDS)
def test_versions_are_no_longer_loaded(bits: Literal[32, 64], byteorder: Literal["little", "big"]) -> None:
    """One bit of one header changes."""
    module = built(bits, byteorder)
    changed = strip_checks(module, modversions=True)
    assert flags(module, b"__versions") & SHF_ALLOC
    assert flags(changed, b"__versions") == flags(module, b"__versions") & ~SHF_ALLOC
    different = [a ^ b for a, b in zip(module, changed, strict=True) if a != b]
    assert different == [SHF_ALLOC]


@pytest.mark.parametrize(("bits", "byteorder"), KINDS)
def test_the_vermagic_becomes_nothing(bits: Literal[32, 64], byteorder: Literal["little", "big"]) -> None:
    """The other entries stay where they were."""
    module = built(bits, byteorder)
    changed = strip_checks(module, vermagic=True)
    before, after = (modinfo_from_elf(Elf.from_bytes(data), "a.ko") for data in (module, changed))
    assert [entry for entry in before.entries if entry[0] != "vermagic"] == list(after.entries)
    assert sum(a != b for a, b in zip(module, changed, strict=True)) == len("vermagic=6.1.0 SMP")


def test_nothing_is_taken_out_unasked() -> None:
    """Nor where there is nothing."""
    assert strip_checks(built()) == built()
    bare = ModuleBuilder("a", license="GPL").build()
    assert strip_checks(bare, modversions=True, vermagic=True) == bare


def test_what_is_no_module_is_an_error() -> None:
    """With the offset."""
    with pytest.raises(ElfError, match="not an ELF file"):
        strip_checks(b"junk", vermagic=True)


@given(st.data())
def test_broken_modules_are_errors_of_ours(data: st.DataObject) -> None:
    """Whatever bytes are changed."""
    module = bytearray(built(*data.draw(st.sampled_from(KINDS))))  # type: ignore[arg-type]
    for place in data.draw(st.lists(st.integers(0, len(module) - 1), max_size=8)):
        module[place] = data.draw(st.integers(0, 255))
    try:
        changed = strip_checks(bytes(module), modversions=True, vermagic=True)
    except KmodError:
        return
    assert len(changed) == len(module)
