"""Module names and aliases: ``-`` and ``_``, text and bytes, files and their modules."""

import pytest

from kmodkit.core.names import (
    module_file_suffix,
    name_from_path,
    normalize_alias,
    normalize_name,
    to_bytes,
    to_text,
)


def test_a_name_has_underscores_whatever_was_asked_for() -> None:
    """The kernel knows snd_hda_intel only, so every dash becomes an underscore."""
    assert normalize_name("snd-hda-intel") == normalize_name("snd_hda-intel") == "snd_hda_intel"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("kernel/sound/pci/snd-hda-intel.ko", "snd_hda_intel"),
        ("a.ko.gz", "a"),
        ("/lib/modules/6.1/a-b.ko.xz", "a_b"),
        ("a.ko.zst", "a"),
        ("a.ko.ko", "a.ko"),
        ("a.ko.lz4", "a.ko.lz4"),
        ("plain", "plain"),
        ("dir.ko/plain-name", "plain_name"),
    ],
)
def test_a_path_names_the_module_in_it(path: str, name: str) -> None:
    """The base name up to .ko and its compression suffix, with underscores, is the module's name."""
    assert name_from_path(path) == name


@pytest.mark.parametrize(
    ("filename", "suffix"),
    [("a.ko", ".ko"), ("a.ko.gz", ".ko.gz"), ("a.ko.xz", ".ko.xz"), ("a.ko.zst", ".ko.zst")],
)
def test_module_files_are_known_by_their_suffix(filename: str, suffix: str) -> None:
    """Plain modules and the three compressions of the kernel's build count as modules."""
    assert module_file_suffix(filename) == suffix


@pytest.mark.parametrize("filename", ["a.ko.bz2", "a.o", "ko", "a.ko~", "a.KO", "a.ko.xz.tmp", ""])
def test_other_files_are_no_modules(filename: str) -> None:
    """Backups, objects and unknown compressions are left alone."""
    assert module_file_suffix(filename) is None


@pytest.mark.parametrize(
    ("alias", "normal"),
    [
        (b"net-pf-10", b"net_pf_10"),
        (b"of:N*T*Cbrcm,bcm2835-mmc", b"of:N*T*Cbrcm,bcm2835_mmc"),
        (b"a-[a-c]-b", b"a_[a-c]_b"),
        (b"a-[!-]-b", b"a_[!-]_b"),
        (b"a-[]-x]-b", b"a_[]-x]_b"),
        (b"a-[^]-x]-b", b"a_[^]-x]_b"),
        (b"a-[never-closed", b"a_[never_closed"),
        (b"a-[]-x", b"a_[]_x"),
        (b"a-b]-c", b"a_b]_c"),
        (b"[a-b][c-d]-e", b"[a-b][c-d]_e"),
        (b"-\xff-", b"_\xff_"),
        (b"", b""),
    ],
)
def test_dashes_of_an_alias_become_underscores_outside_of_brackets(alias: bytes, normal: bytes) -> None:
    """A dash inside of a closed bracket makes a range, and every other one is an underscore."""
    assert normalize_alias(alias) == normal
    assert normalize_alias(normal) == normal


def test_bytes_that_are_not_utf8_survive_as_text() -> None:
    """Text made of arbitrary bytes turns back into them; UTF-8 is taken for what it says."""
    data = bytes(range(256))
    assert to_bytes(to_text(data)) == data
    assert to_bytes("é") == b"\xc3\xa9"
    assert to_bytes(b"\xff") == b"\xff"
