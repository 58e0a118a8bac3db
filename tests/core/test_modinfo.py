"""Module information: .modinfo sections and modules.builtin.modinfo."""

import pickle
from dataclasses import replace

import pytest

from kmodkit.core.elf import Elf
from kmodkit.core.modinfo import (
    ModuleInfo,
    Parameter,
    SoftDeps,
    modinfo_from_elf,
    parse_builtin_modinfo,
    parse_modinfo,
)
from kmodkit.errors import ElfError, ModinfoError
from kmodkit.testing import ModuleBuilder

SECTION = (
    b"license=GPL\0license=Dual MIT/GPL\0author=A <a@example.org>\0author=B\0description=A driver\0"
    b"firmware=a/b.bin\0firmware=a/c*.bin\0softdep=pre: x-1 y post: z\0softdep=pre: y w\0"
    b"weakdep=one two\0weakdep=two three\0alias=pci:v*\0alias=b-a\0depends=c-d,e,e\0intree=Y\0"
    b"version=1.2\0srcversion=ABCDEF\0vermagic=6.1.0 SMP mod_unload \0import_ns=DMA_BUF\0"
    b"import_ns=CRYPTO\0parm=debug:Level (int)\0parmtype=debug:int\0parmtype=bare:bool\0"
    b"parm=text:a:b\0retpoline=Y\0name=my-module\0"
)
INFO = parse_modinfo(SECTION, "kernel/my-module.ko.xz")


@pytest.mark.parametrize(
    ("accessor", "value"),
    [
        ("name", "my_module"),
        ("authors", ("A <a@example.org>", "B")),
        ("description", "A driver"),
        ("depends", ("c_d", "e")),
        ("softdeps", SoftDeps(("x-1", "y", "w"), ("z",))),
        ("weakdeps", ("one", "two", "three")),
        ("aliases", ("pci:v*", "b-a")),
        ("firmware", ("a/b.bin", "a/c*.bin")),
        ("licenses", ("GPL", "Dual MIT/GPL")),
        ("intree", True),
        ("version", "1.2"),
        ("srcversion", "ABCDEF"),
        ("vermagic", "6.1.0 SMP mod_unload "),
        ("import_ns", ("DMA_BUF", "CRYPTO")),
        (
            "parameters",
            (
                Parameter("debug", "Level (int)", "int"),
                Parameter("bare", None, "bool"),
                Parameter("text", "a:b", None),
            ),
        ),
        ("builtin", False),
        ("path", "kernel/my-module.ko.xz"),
    ],
)
def test_accessors_give_what_the_module_says(accessor: str, value: object) -> None:
    """Each known key has an accessor, with the values in file order."""
    assert getattr(INFO, accessor) == value


@pytest.mark.parametrize(
    ("accessor", "value"),
    [
        ("name", ""),
        ("authors", ()),
        ("description", None),
        ("depends", ()),
        ("softdeps", SoftDeps()),
        ("weakdeps", ()),
        ("aliases", ()),
        ("firmware", ()),
        ("licenses", ()),
        ("intree", False),
        ("version", None),
        ("srcversion", None),
        ("vermagic", None),
        ("import_ns", ()),
        ("parameters", ()),
        ("builtin", True),
    ],
)
def test_accessors_of_a_module_that_says_nothing(accessor: str, value: object) -> None:
    """What is not there is None, empty or False, never an error."""
    assert getattr(parse_modinfo(b""), accessor) == value


def test_other_keys_are_reached_in_file_order() -> None:
    """Keys without an accessor are not lost."""
    assert INFO.get("retpoline") == "Y"
    assert INFO.get("nothing") is None
    assert INFO.get_all("license") == ("GPL", "Dual MIT/GPL")
    assert INFO.get_all("nothing") == ()
    assert INFO.keys()[:4] == ("license", "author", "description", "firmware")
    assert len(INFO.keys()) == len(set(INFO.keys()))


def test_depends_is_split_on_commas() -> None:
    """Of "depends=a,b" come two modules, not one."""
    assert parse_modinfo(b"depends=a,b\0").depends == ("a", "b")
    assert parse_modinfo(b"depends=\0").depends == ()
    assert parse_modinfo(b"depends=a,,b,\0depends=c\0").depends == ("a", "b", "c")


def test_values_may_hold_equals_signs_and_newlines() -> None:
    """Only the first "=" ends the key, and only a NUL ends the value."""
    info = parse_modinfo(b"description=a=b\nc==d\0parm=x:first\n\tsecond\0")
    assert info.description == "a=b\nc==d"
    assert info.parameters == (Parameter("x", "first\n\tsecond", None),)


def test_padding_and_entries_without_equals_are_skipped() -> None:
    """Linkers pad entries with NULs, and what is no key and value says nothing."""
    info = parse_modinfo(b"\0\0license=GPL\0\0\0\0junk\0\0name=a\0\0")
    assert info.entries == (("license", "GPL"), ("name", "a"))


def test_the_last_entry_needs_no_nul() -> None:
    """A section whose last byte was cut off still gives its last entry."""
    assert parse_modinfo(b"license=GPL\0name=a").name == "a"


def test_empty_keys_and_values_are_kept() -> None:
    """An entry is kept as it stands, even where it says nothing."""
    assert parse_modinfo(b"=\0a=\0=b\0").entries == (("", ""), ("a", ""), ("", "b"))


def test_an_old_module_is_named_by_its_file() -> None:
    """Before Linux 4.15 modules had no name=, so the file name gives it."""
    assert parse_modinfo(b"license=GPL\0", "kernel/snd-hda-intel.ko.xz").name == "snd_hda_intel"
    assert parse_modinfo(b"name=\0", "a-b.ko").name == "a_b"


def test_bytes_that_are_not_utf8_come_back() -> None:
    """An author's Latin-1 name survives as surrogate escapes."""
    info = parse_modinfo(b"author=J\xf6rg\0")
    assert info.authors[0].encode("utf-8", "surrogateescape") == b"J\xf6rg"


def test_soft_dependencies_before_any_label_say_nothing() -> None:
    """Words that are neither before nor after anything are passed over."""
    assert parse_modinfo(b"softdep=a pre: b\0softdep=c\0").softdeps == SoftDeps(("b",), ())


def test_parameters_without_a_colon_are_no_parameters() -> None:
    """A parm entry that names nothing is not shown."""
    assert parse_modinfo(b"parm=nothing\0parmtype=x:int\0").parameters == (Parameter("x", None, "int"),)


def test_information_is_read_from_a_module() -> None:
    """The .modinfo section of a module file is found and parsed."""
    module = ModuleBuilder("a-b", depends=["c", "d"], license="GPL", aliases=[b"x\xff*"])
    info = modinfo_from_elf(Elf.from_bytes(module.build()), "a-b.ko")
    assert info.entries == tuple(
        (key.decode(), value.decode("utf-8", "surrogateescape")) for key, value in module.entries
    )
    assert (info.name, info.depends, info.path) == ("a_b", ("c", "d"), "a-b.ko")


def test_text_outside_of_the_section_is_not_information() -> None:
    """The section is read, not the file: key=value text in code or data says nothing."""
    module = ModuleBuilder("a", sections={".rodata": b"\0alias=fake*\0", ".modinfo.x": b"alias=fake*\0"})
    assert modinfo_from_elf(Elf.from_bytes(module.build())).aliases == ()


def test_a_file_without_the_section_is_an_error() -> None:
    """An object file that is no module says so."""
    with pytest.raises(ModinfoError, match=r"no \.modinfo section"):
        modinfo_from_elf(Elf.from_bytes(ModuleBuilder(None).build()))


def test_a_section_of_16_mib_is_too_much() -> None:
    """A hostile module cannot make a scan read whatever it likes."""
    module = ModuleBuilder("a", sections={".modinfo": bytes((16 << 20) + 1)})
    with pytest.raises(ElfError, match="over the limit"):
        modinfo_from_elf(Elf.from_bytes(module.build()))


def test_built_in_modules_come_one_each_in_file_order() -> None:
    """Entries of one module stand together, and its name is the first of them."""
    data = (
        b"ext4.license=GPL\0ext4.softdep=pre: crc32c\0crc-32c.alias=a.b=c\0\0junk\0nodot=x\0a.nothing\0.noname=x\0"
    )
    infos = parse_builtin_modinfo(data)
    assert [info.name for info in infos] == ["ext4", "crc_32c"]
    assert infos[0].entries == (("name", "ext4"), ("license", "GPL"), ("softdep", "pre: crc32c"))
    assert infos[1].aliases == ("a.b=c",)
    assert all(info.builtin for info in infos)
    assert parse_builtin_modinfo(b"") == ()


def test_a_built_in_module_that_comes_back_is_an_error() -> None:
    """The error names the module, the one before it, and the offset of the entry."""
    data = b"a.x=1\0b.y=2\0a.z=3\0"
    with pytest.raises(ModinfoError, match="'a' comes back after 'b'") as caught:
        parse_builtin_modinfo(data)
    assert caught.value.offset == 12
    assert data[12:].startswith(b"a.z")


def test_modules_that_come_back_can_be_merged() -> None:
    """Real kernels have parts that share a name; their entries are put together where they first stood."""
    infos = parse_builtin_modinfo(b"a.x=1\0b.y=2\0a.z=3\0", merge=True)
    assert [(info.name, info.get("x"), info.get("z")) for info in infos] == [("a", "1", "3"), ("b", None, None)]


def test_information_is_a_value() -> None:
    """It hashes, compares and pickles by what it holds."""
    assert pickle.loads(pickle.dumps(INFO)) == INFO  # noqa: S301 - our own bytes
    assert len({INFO, parse_modinfo(SECTION, INFO.path)}) == 1
    assert replace(INFO, path=None).builtin
    assert ModuleInfo(()).name == ""
