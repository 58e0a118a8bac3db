"""Module names and aliases: the one place that knows how ``-`` and ``_`` compare.

The kernel names modules with ``_`` whatever their file is called, and modprobe takes either. In aliases
kmod turns ``-`` into ``_`` too, but leaves ``[...]`` alone, where it makes a range (modprobe.d(5),
``alias_normalize`` in libkmod). Aliases are byte strings; text is carried as UTF-8 with surrogateescape.
"""

from __future__ import annotations

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


def module_file_suffix(filename: str) -> str | None:
    """Return which of `MODULE_SUFFIXES` a file name ends in, None where it is no module file."""
    for suffix in MODULE_SUFFIXES:
        if filename.endswith(suffix):
            return suffix
    return None


def name_from_path(path: str) -> str:
    """Return the module name a file path gives: its base name up to ``.ko``, with ``_``.

    >>> name_from_path("kernel/sound/pci/snd-hda-intel.ko.xz")
    'snd_hda_intel'
    """
    base = path.rpartition("/")[2]
    suffix = module_file_suffix(base)
    return normalize_name(base[: -len(suffix)] if suffix else base)


def normalize_alias(alias: bytes) -> bytes:
    """Return an alias pattern or a device's modalias with ``-`` as ``_`` outside of ``[...]``.

    Both sides of a match go through this, so that ``brcm,bcm2835-mmc`` and ``brcm,bcm2835_mmc`` are one.

    >>> normalize_alias(b"of:N*T*Cbrcm,bcm2835-[a-c]-mmc")
    b'of:N*T*Cbrcm,bcm2835_[a-c]_mmc'
    """
    if b"-" not in alias:
        return alias
    if b"[" not in alias:
        return alias.replace(b"-", b"_")
    parts: list[bytes] = []
    pos = 0
    while (start := alias.find(b"[", pos)) >= 0:
        end = _bracket_end(alias, start)
        if end < 0:
            break
        parts += (alias[pos:start].replace(b"-", b"_"), alias[start:end])
        pos = end
    parts.append(alias[pos:].replace(b"-", b"_"))
    return b"".join(parts)


def _bracket_end(alias: bytes, start: int) -> int:
    """Return the offset behind the ``]`` of the bracket at ``start``, -1 where it is never closed."""
    first = start + 1
    if alias[first : first + 1] in (b"!", b"^"):
        first += 1
    # A "]" that comes first is a member of the set, not its end.
    return alias.find(b"]", first + 1) + 1 or -1
