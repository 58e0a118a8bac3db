"""/proc/modules: its text to values."""

import pickle

import pytest

from kmodkit.core.procmodules import LoadedModule, parse_proc_modules
from kmodkit.errors import FormatError, ProcModulesError

SAMPLE = (
    "r8169 118784 0 - Live 0xffffffffc0a71000\n"
    "nvidia 56877056 12 nvidia_modeset,nvidia_uvm, Live 0xffffffffc1200000 (POE)\n"
    "libphy 233472 2 r8169,mdio_devres, Loading 0x0000000000000000 (E+)\n"
    "ipv6 557056 26 [permanent], Live 0xffffffffc06b2000\n"
    "dm_mod 184320 1 dm_log,[permanent], Unloading 0xffffffffc0402000 (-)\n"
)


def test_every_column_of_every_line_is_read() -> None:
    """A listing becomes one value a line, in the listing's order."""
    assert parse_proc_modules(SAMPLE) == (
        LoadedModule("r8169", 118784, 0, (), "Live", 0xFFFFFFFFC0A71000),
        LoadedModule("nvidia", 56877056, 12, ("nvidia_modeset", "nvidia_uvm"), "Live", 0xFFFFFFFFC1200000, "POE"),
        LoadedModule("libphy", 233472, 2, ("r8169", "mdio_devres"), "Loading", 0, "E"),
        LoadedModule("ipv6", 557056, 26, (), "Live", 0xFFFFFFFFC06B2000, permanent=True),
        LoadedModule("dm_mod", 184320, 1, ("dm_log",), "Unloading", 0xFFFFFFFFC0402000, permanent=True),
    )


def test_text_and_bytes_give_the_same() -> None:
    """What was read as bytes needs no decoding first."""
    assert parse_proc_modules(SAMPLE.encode()) == parse_proc_modules(SAMPLE)


def test_no_modules_is_an_empty_listing() -> None:
    """A kernel that has loaded nothing prints nothing."""
    assert parse_proc_modules("") == ()


def test_a_last_line_without_a_newline_counts() -> None:
    """A listing whose last newline was cut off still names its last module."""
    assert parse_proc_modules("a 1 0 - Live 0x0")[0].name == "a"


def test_a_kernel_that_cannot_unload_has_no_reference_counts() -> None:
    """Without CONFIG_MODULE_UNLOAD the kernel prints "-" for the count and for the users."""
    (module,) = parse_proc_modules("a 16384 - - Live 0x0\n")
    assert module.refcnt is None
    assert module.holders == ()


def test_the_reference_count_of_a_module_being_unloaded_is_minus_one() -> None:
    """The kernel subtracts its own reference, and prints -1 once that one is dropped."""
    (module,) = parse_proc_modules("a 16384 -1 - Unloading 0x0\n")
    assert module.refcnt == -1


def test_sizes_beyond_32_bits_are_kept() -> None:
    """A size is as large as the kernel says."""
    (module,) = parse_proc_modules("a 18446744073709551615 0 - Live 0x0\n")
    assert module.size == 2**64 - 1


def test_columns_of_a_later_kernel_are_ignored() -> None:
    """What comes behind the taints is for readers who know it."""
    (module,) = parse_proc_modules("a 1 0 - Live 0x0 (OE) new columns\n")
    assert module.taints == "OE"


def test_a_name_that_is_not_utf8_survives() -> None:
    """Odd bytes in a name come as surrogate escapes, so that they can be written back."""
    (module,) = parse_proc_modules(b"a\xff 1 0 - Live 0x0\n")
    assert module.name.encode("utf-8", "surrogateescape") == b"a\xff"


@pytest.mark.parametrize(
    ("line", "blamed"),
    [
        ("a 1 0 - Live", "columns"),
        ("", "columns"),
        (" 1 0 - Live 0x0", "name"),
        ("a  0 - Live 0x0", "size"),
        ("a -1 0 - Live 0x0", "size"),
        ("a 1_0 0 - Live 0x0", "size"),
        ("a \u0661 0 - Live 0x0", "size"),
        ("a " + "9" * 5000 + " 0 - Live 0x0", "size"),
        ("a 1 x - Live 0x0", "reference count"),
        ("a 1 --1 - Live 0x0", "reference count"),
        ("a 1 1 b Live 0x0", "users"),
        ("a 1 1 b,c Live 0x0", "users"),
        ("a 1 1 , Live 0x0", "users"),
        ("a 1 1  Live 0x0", "users"),
        ("a 1 0 - Dead 0x0", "state"),
        ("a 1 0 - Live 0", "address"),
        ("a 1 0 - Live 0x", "address"),
        ("a 1 0 - Live 0x-1", "address"),
        ("a 1 0 - Live 0x00000000000000000", "address"),
        ("a 1 0 - Live 0x0 OE", "taints"),
        ("a\r", "columns"),
    ],
)
def test_a_malformed_line_is_an_error_with_its_offset(line: str, blamed: str) -> None:
    """The error says what is wrong and at which byte of the text the line begins."""
    good = "g 1 0 - Live 0x0\n"
    with pytest.raises(ProcModulesError, match=blamed) as caught:
        parse_proc_modules(f"{good}{line}\n{good}")
    assert caught.value.offset == len(good)
    assert isinstance(caught.value, FormatError)


def test_values_are_frozen_hashable_and_picklable() -> None:
    """Listings can be compared, kept in sets and sent between processes."""
    modules = parse_proc_modules(SAMPLE)
    assert len(set(modules)) == 5
    assert pickle.loads(pickle.dumps(modules)) == modules  # noqa: S301 - our own bytes
    with pytest.raises(AttributeError):
        modules[0].name = "x"  # type: ignore[misc]
