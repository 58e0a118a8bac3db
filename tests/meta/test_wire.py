"""meta.pb read lazily: the answers of a full decode, and errors with their offset."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.modinfo import SoftDeps
from kmodkit.errors import MetadataError, ModuleNotFoundError
from kmodkit.meta import meta_pb2
from kmodkit.meta.codec import decode, encode
from kmodkit.meta.wire import WireCatalog

CATALOG = Catalog(
    (
        Module("ice", "ice.ko", ("gnss",), aliases=("pci:v00008086d00001591sv*", "pci:v00008086d0000159[23]sv*")),
        Module("gnss", "gnss.ko", softdeps=SoftDeps(("crc",), ("late",)), weakdeps=("w",), firmware=("f.bin",)),
        Module("dash", "dash.ko", aliases=("of:a-b", "of:a_c", "of:a-*-d", "of:é")),
        Module("broken", "broken.ko", ("gone",), aliases=("*",)),
        Module("crc", aliases=("crypto-crc32c",)),
    )
)


@pytest.fixture
def wire() -> WireCatalog:
    """The catalog above, from its bytes."""
    return WireCatalog(encode(CATALOG), source="meta.pb")


def names(modules: tuple[Module, ...]) -> list[str]:
    """Return the names of modules."""
    return [module.name for module in modules]


@pytest.mark.parametrize(
    "modalias",
    [
        *("pci:v00008086d00001591sv1", "pci:v00008086d00001593sv", "pci:v00008086d00001594sv", "of:a-b", "of:a_b"),
        *("of:a-c", "of:a_x-d", "of:a-x_d", "of:é", "crypto-crc32c", "crypto_crc32c", "", "x"),
    ],
)
def test_lookups_are_those_of_a_full_decode(wire: WireCatalog, modalias: str) -> None:
    """Dashes and underscores included, and built-ins when asked for."""
    for builtin in (False, True):
        assert names(wire.lookup(modalias, builtin=builtin)) == names(CATALOG.lookup(modalias, builtin=builtin))


def test_modules_are_those_of_a_full_decode(wire: WireCatalog) -> None:
    """Each field, and the aliases, which are put together only when they are asked for."""
    for module in CATALOG:
        lazy = wire[module.name]
        assert (lazy.path, lazy.depends, lazy.softdeps) == (module.path, module.depends, module.softdeps)
        assert (lazy.weakdeps, lazy.firmware, lazy.aliases) == (module.weakdeps, module.firmware, module.aliases)
        assert lazy == module
        assert module == lazy
        assert hash(lazy) == hash(module)
    assert wire.modules == CATALOG.modules
    assert wire == CATALOG
    assert wire == CATALOG
    assert "nosuch" not in wire
    with pytest.raises(ModuleNotFoundError):
        wire["nosuch"]


def test_closures_are_those_of_a_full_decode(wire: WireCatalog) -> None:
    """A soft dependency by an alias of what is built in is found too."""
    assert names(wire.closure(["ice"], builtin=True)) == names(CATALOG.closure(["ice"], builtin=True))
    assert dict(wire.unknown_dependencies) == {"broken": ("gone",)}


def test_a_pattern_that_the_tree_cannot_hold_is_found_beside_it() -> None:
    """Four sets of eight bytes apart are 4,096 branches."""
    alias = "x:" + "[acegikmo]" * 4
    catalog = Catalog(
        (Module("sets", "sets.ko", aliases=(alias,)), Module("other", "other.ko", aliases=("x:aaaa",)))
    )
    wire = WireCatalog(encode(catalog))
    assert names(wire.lookup("x:aaaa")) == ["sets", "other"]
    assert names(wire.lookup("x:aaab")) == []


def test_of_two_modules_with_one_name_the_later_counts() -> None:
    """As for the format's first reader, and as in a full decode."""
    meta = meta_pb2.Meta()
    for path in ("old.ko", "new.ko"):
        meta.modules.add(name="twice", path=path)
    for index in (0, 1):
        meta.module_device_matches.children.add(literal=f"a{index}", module_index=[index])
    data = meta.SerializeToString()
    for catalog in (WireCatalog(data), decode(data)):
        assert catalog["twice"].path == "new.ko"
        assert names(catalog.lookup("a1")) == ["twice"]
        assert catalog.lookup("a0") == ()


def test_it_can_be_pickled(wire: WireCatalog) -> None:
    """To go to another process."""
    assert pickle.loads(pickle.dumps(wire)) == wire  # noqa: S301 - our own bytes


def test_lookups_import_no_protobuf() -> None:
    """That alone takes longer than the answer."""
    code = (
        "import sys; from kmodkit.meta.wire import WireCatalog\n"
        "c = WireCatalog(sys.stdin.buffer.read())\n"
        "print(*(m.path for m in c.lookup('pci:v00008086d00001591sv')))\n"
        "c.closure(['ice']); print('google.protobuf' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], input=encode(CATALOG), capture_output=True, check=True
    ).stdout
    assert out.split() == [b"ice.ko", b"broken.ko", b"False"]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x0a\xff", "cut short"),
        (b"\x0a\x05ab", r"reaches beyond its message \(at offset 0x0\)"),
        (b"\x0a\x02\x0a\x05", r"reaches beyond its message \(at offset 0x2\)"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x08\x01", "a number stands where a message belongs"),
        (b"\x12\x06\x2a\x04\x12\x02\xff\xfe", "not UTF-8"),
        (b"\x12\x04\x2a\x02\x08\x09", "unknown type 9 of a tree node"),
        (b"\x12\x04\x2a\x02\x08\x00", "empty"),
        (b"\x12\x08\x2a\x06\x08\x03\x18\x7a\x20\x61", "byte range 122 to 97"),
        (b"\x12\x02\x30\x07", "module index 7 is out of range, there are 0 modules"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut short"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(data: bytes, match: str) -> None:
    """At the latest when the question that needs it is asked."""
    with pytest.raises(MetadataError, match=match) as caught:
        catalog = WireCatalog(data, source="meta.pb")
        list(map(catalog.lookup, ("", "a", "\udcff")))
        [catalog.get(name) for name in ("x", "a")]
    assert caught.value.source == "meta.pb"
