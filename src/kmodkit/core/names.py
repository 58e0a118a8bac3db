"""Names of modules and aliases in their one form, and the two forms of text.

The kernel names modules with ``_`` whatever their file is called, and modprobe takes either. Text
that need not be UTF-8 is carried with surrogateescape.
"""

from __future__ import annotations

WAY = slice(4)
"""The place of a modalias by which most buses are told apart: the key of `kmodkit.core.matcher.Matcher.ways`."""

MODULE_SUFFIXES = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")


def to_bytes(text: str | bytes) -> bytes:
    """Return the bytes of ``text``: as they are, or UTF-8 with surrogateescape."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """Return ``data`` as text; bytes that are not UTF-8 come back from `to_bytes` as they were."""
    return data.decode("utf-8", "surrogateescape")


def normalize_name(name: str) -> str:
    """Return the kernel's form of a module name.

    >>> normalize_name("snd-hda-intel")
    'snd_hda_intel'
    """
    return name.replace("-", "_")


def normalize_alias(alias: bytes) -> bytes:
    """Return an alias pattern or a device's modalias with ``-`` as ``_`` outside of ``[...]``.

    Both sides of a match go through this, so that ``brcm,bcm2835-mmc`` and ``brcm,bcm2835_mmc`` are one. kmod does
    the same (modprobe.d(5)), but refuses a bracket that is not closed or closes twice.

    >>> normalize_alias(b"of:N*T*Cbrcm,bcm2835-[a-c]-mmc")
    b'of:N*T*Cbrcm,bcm2835_[a-c]_mmc'
    """
    if 45 not in alias:  # "-" as a number: CPython tries bytes as one first, which takes 0.2 us longer
        return alias
    if 91 not in alias:  # "["
        return alias.replace(b"-", b"_")
    from kmodkit.core.alias import normalize_around_brackets  # the parser of patterns, which few texts need

    return normalize_around_brackets(alias)


def module_file_suffix(filename: str) -> str | None:
    """Return which of `MODULE_SUFFIXES` a file name ends in, None where it is no module file."""
    for suffix in MODULE_SUFFIXES:
        if filename.endswith(suffix):
            return suffix
    return None


def without_module_suffix(path: str) -> str:
    """Return the path of a module file up to its ``.ko``; one that is none stays as it is."""
    return path.removesuffix(module_file_suffix(path) or "")


def name_from_path(path: str) -> str:
    """Return the module name a file path gives: its base name up to ``.ko``, with ``_``.

    >>> name_from_path("kernel/sound/pci/snd-hda-intel.ko.xz")
    'snd_hda_intel'
    """
    return normalize_name(without_module_suffix(path.rpartition("/")[2]))
