"""meta.pb: what is written, what is read back, and what is refused."""

import itertools
import random
import tracemalloc

import pytest

from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.modinfo import MAX_ALIAS, SoftDeps, parse_modinfo
from kmodkit.errors import MetadataError
from kmodkit.meta import meta_pb2
from kmodkit.meta.codec import MAX_BRANCHES, MAX_DEPTH, decode, encode
from tests.meta import reference

Node = meta_pb2.RadixNode

FULL = Catalog(
    (
        Module(
            "ice",
            "kernel/ice.ko.xz",
            ("gnss", "i40e"),
            SoftDeps(("pre-x",), ("post",)),
            ("weak",),
            ("pci:v00008086d00001591sv*", "a-b[1-9A-F]*", "b\\*", "usb:?"),
            ("intel/ice.pkg", "odd\udcff.bin"),
        ),
        Module("gnss", "kernel/gnss.ko"),
        Module("i40e", "kernel/i40e.ko", ("gnss", "gone")),
        Module("crc32", aliases=("cpu:*", "crc32[a-b]")),
    )
)


def message(data: bytes) -> meta_pb2.Meta:
    """Return the message in the bytes of a meta.pb."""
    return meta_pb2.Meta.FromString(data)


def with_aliases(*aliases: str) -> Catalog:
    """Return a catalog of one module with these aliases."""
    return Catalog((Module("a", "a.ko", aliases=aliases),))


def refused(meta: meta_pb2.Meta, reason: str) -> None:
    """Check that a message is refused for ``reason``, and that the error names the file."""
    with pytest.raises(MetadataError, match=reason) as caught:
        decode(meta.SerializeToString(), source="x/meta.pb")
    assert str(caught.value).startswith("x/meta.pb: ")


# --- round trips --------------------------------------------------------------------------------------------


def test_everything_a_catalog_holds_comes_back() -> None:
    """Names, paths, dependencies of every kind, aliases in order, firmware: nothing is lost."""
    assert decode(encode(FULL)) == FULL


@pytest.mark.parametrize(
    "aliases",
    [
        (),
        ("",),
        ("*", ""),
        ("b", "a", "c"),
        ("[abc]", "[a-c]"),
        ("x[ab]", "xa", "xb"),
        ("xa", "x[ab]", "x[a-a]"),
        ("a**b", "a*b"),
        ("a\\bc", "abc"),
        ("[!0]",),
        ("[b-a]",),
        ("trailing\\",),
        ("[unclosed",),
        ("é*", "\udcff", "[\udc80-\udc82]", "\\é"),
        ("x\udcff", "x[\udcff]"),
        ("[[:alpha:]]", "[[:digit:]][[:digit:]]"),
        ("a b", 'q"u', "s/l", "c,d"),
    ],
)
def test_aliases_come_back_letter_by_letter_and_in_order(aliases: tuple[str, ...]) -> None:
    """Patterns that the tree cannot say, or says otherwise, are read back as they were written."""
    assert decode(encode(with_aliases(*aliases))) == with_aliases(*aliases)


def test_the_same_catalog_gives_the_same_bytes() -> None:
    """The bytes depend on the catalog alone, not on the order in which its patterns were added."""
    modules = FULL.modules
    assert encode(FULL) == encode(Catalog(modules))
    aliases = [f"pci:v{number:04X}*" for number in range(50)] + ["[a-c]x", "é", "*"]
    trees = set()
    for seed in range(3):
        random.Random(seed).shuffle(aliases)
        data = encode(Catalog((Module("a", "a.ko", aliases=tuple(aliases)),)))
        trees.add(message(data).module_device_matches.SerializeToString(deterministic=True))
    assert len(trees) == 1


# --- the contract -------------------------------------------------------------------------------------------


def test_field_numbers_are_the_contract() -> None:
    """The names and numbers of the format's first fields stay as they are; ours begin at 1000."""
    fields = {
        kind.DESCRIPTOR.name: {field.name: field.number for field in kind.DESCRIPTOR.fields if field.number < 1000}
        for kind in (meta_pb2.Module, Node, meta_pb2.Meta)
    }
    assert fields == {
        "Module": {"name": 1, "path": 2, "depends": 3},
        "RadixNode": {
            "type": 1,
            "literal": 2,
            "start_byte": 3,
            "end_byte": 4,
            "children": 5,
            "module_index": 6,
        },
        "Meta": {"modules": 1, "module_device_matches": 2},
    }
    assert dict(Node.Type.items()) == {
        "LITERAL": 0,
        "WILDCARD": 1,
        "SINGLE_WILDCARD": 2,
        "BYTE_RANGE": 3,
        "ROOT": 4,
    }
    assert meta_pb2.Meta.DESCRIPTOR.full_name == "metropolis.pkg.kmod.Meta"


def test_a_catalog_becomes_these_very_bytes() -> None:
    """Written down by hand from the wire format, so that a change of the encoding cannot pass unseen."""
    catalog = Catalog((Module("a", "k/a.ko", ("b",), aliases=("x*",)), Module("b")))
    root = b"\x08\x04" + b"\x2a\x0c" + (b"\x12\x01x" + b"\x2a\x05" + b"\x08\x01" + b"\x32\x01\x00")
    root = root.replace(b"\x2a\x0c", b"\x2a" + bytes([len(root) - 4]))
    modules = b"\x0a\x0e" + b"\x0a\x01a" + b"\x12\x06k/a.ko" + b"\x1a\x01\x01" + b"\x0a\x03" + b"\x0a\x01b"
    assert encode(catalog) == modules + b"\x12" + bytes([len(root)]) + root


def test_depends_is_split_on_commas() -> None:
    """Of "depends=a,b" come two indices."""
    infos = [
        parse_modinfo(text, path) for text, path in ((b"depends=b,c\0", "a.ko"), (b"", "b.ko"), (b"", "c.ko"))
    ]
    meta = message(encode(Catalog.from_modinfo(infos)))
    assert list(meta.modules[0].depends) == [1, 2]
    assert not meta.modules[0].depends_names


def test_an_unknown_dependency_is_not_the_first_module() -> None:
    """It has no index, and is kept by name."""
    catalog = Catalog((Module("first", "f.ko"), Module("a", "a.ko", ("gone",))))
    meta = message(encode(catalog))
    assert list(meta.modules[1].depends) == []
    assert list(meta.modules[1].depends_names) == [b"gone"]
    assert decode(encode(catalog)).unknown_dependencies == {"a": ("gone",)}


def test_a_cycle_of_dependencies_is_kept_by_name() -> None:
    """Other readers would follow indices in a circle for ever, so those of a circle are not written."""
    catalog = Catalog((Module("a", "a.ko", ("b", "c")), Module("b", "b.ko", ("a",)), Module("c", "c.ko")))
    meta = message(encode(catalog))
    assert [list(module.depends) for module in meta.modules] == [[2], [], []]
    assert decode(encode(catalog)) == catalog
    assert decode(encode(catalog)).cycles() == [("a", "b", "a")]


@pytest.mark.parametrize(
    ("alias", "yes", "no"),
    [
        ("v[1-9A-F]x", [b"v1x", b"vAx"], [b"v0x", b"vGx"]),
        ("[abc]", [b"a", b"b", b"c"], [b"d"]),
        ("[!0]", [b"1", b"/", b"\xff"], [b"0"]),
        ("[0-9A-B][bs]", [b"0b", b"Bs"], [b"Cb", b"0c"]),
        ("a[*]b", [b"a*b"], [b"axb"]),
        ("\\[x\\]", [b"[x]"], [b"x"]),
    ],
)
def test_sets_become_branches_that_the_first_reader_follows(alias: str, yes: list[bytes], no: list[bytes]) -> None:
    """The format has ranges only; a reader of them finds what the set means."""
    data = encode(with_aliases(alias))
    for text in yes:
        assert reference.lookup(data, text) == ["a"]
    for text in no:
        assert reference.lookup(data, text) == []


def test_a_byte_above_ascii_is_a_range_of_one_byte() -> None:
    """proto3 strings are UTF-8, which a part of a name in Latin-1, or half a letter, is not."""
    data = encode(with_aliases("xé\udcff*"))
    node = message(data).module_device_matches
    seen: list[tuple[int, str, int, int]] = []
    while node.children:
        (node,) = node.children
        seen.append((node.type, node.literal, node.start_byte, node.end_byte))
    assert seen == [
        (Node.LITERAL, "x", 0, 0),
        (Node.BYTE_RANGE, "", 0xC3, 0xC3),
        (Node.BYTE_RANGE, "", 0xA9, 0xA9),
        (Node.BYTE_RANGE, "", 0xFF, 0xFF),
        (Node.WILDCARD, "", 0, 0),
    ]
    assert reference.lookup(data, b"x\xc3\xa9\xffyz") == ["a"]


def test_aliases_of_what_is_built_in_stay_out_of_the_tree() -> None:
    """The first reader would try to load it; ours reports it when asked to."""
    catalog = Catalog((Module("a", "a.ko"), Module("in", aliases=("cpu:[a-b]*", "x"))))
    data = encode(catalog)
    assert not message(data).module_device_matches.children
    assert message(data).modules[1].path == ""
    assert decode(data) == catalog
    assert reference.lookup(data, b"x") == []


def test_a_pattern_with_too_many_branches_is_kept_outside_of_the_tree() -> None:
    """Branches multiply; beyond a bound the pattern is carried as text, and ours still matches it."""
    most, too_many = "[ac][eg][ik][mo][qs][uw]", "[ac][eg][ik][mo][qs][uw][y0]"
    assert MAX_BRANCHES == 2**6
    data = encode(with_aliases(most, too_many))
    assert len(reference.lookup(data, b"aeimqu")) == 1
    assert reference.lookup(data, b"aeimquy") == []
    assert decode(data) == with_aliases(most, too_many)
    assert decode(data).lookup("aeimquy")


def test_a_pattern_nested_too_deeply_is_kept_outside_of_the_tree() -> None:
    """Protobuf readers follow 100 levels, so a deeper pattern would make the file unreadable to all."""
    fits, too_deep = "?" * MAX_DEPTH, "?" * (MAX_DEPTH + 1)
    catalog = Catalog((Module("a", "a.ko", aliases=(fits,)), Module("b", "b.ko", aliases=(too_deep, "x"))))
    data = encode(catalog)
    assert reference.lookup(data, b"x" * MAX_DEPTH) == ["a"]
    assert reference.lookup(data, b"x" * (MAX_DEPTH + 1)) == []
    assert reference.lookup(data, b"x") == ["b"]
    assert decode(data) == catalog


def test_splitting_literals_can_make_a_pattern_too_deep() -> None:
    """Depth is that of the whole tree: patterns that share beginnings push each other down."""
    catalog = Catalog(tuple(Module(f"m{n:03}", f"{n}.ko", aliases=("a" * n,)) for n in range(1, 120)))
    data = encode(catalog)
    assert decode(data) == catalog
    assert reference.lookup(data, b"a" * 50) == ["m050"]


def test_a_very_long_pattern_is_kept_outside_of_the_tree() -> None:
    """No device is called like that, and cutting it up would take long."""
    catalog = with_aliases("a" * (MAX_ALIAS + 1), "b")
    assert [node.literal for node in message(encode(catalog)).module_device_matches.children] == ["b"]
    assert decode(encode(catalog)) == catalog


@pytest.mark.parametrize("module", [Module("a\udcff", "a.ko"), Module("a", "a\udcff.ko")])
def test_a_name_that_is_not_utf8_is_an_error_to_write(module: Module) -> None:
    """The format has text there, so the error comes before a file that nobody can read."""
    with pytest.raises(MetadataError, match="not UTF-8"):
        encode(Catalog((module,)))


# --- reading what others write ------------------------------------------------------------------------------


def other_writers() -> meta_pb2.Meta:
    """Return a message as the format's first writer makes it: only its fields, in the order of adding."""
    meta = meta_pb2.Meta()
    meta.modules.add(name="r8169", path="kernel/r8169.ko", depends=[1])
    meta.modules.add(name="libphy", path="kernel/libphy.ko")
    meta.modules.add(name="core")
    root = meta.module_device_matches
    root.type = Node.ROOT
    pci = root.children.add(literal="pci:v000010ECd")
    low = pci.children.add(type=Node.BYTE_RANGE, start_byte=0x38, end_byte=0x39)
    low.children.add(type=Node.WILDCARD, module_index=[0, 0])
    pci.children.add(type=Node.SINGLE_WILDCARD).children.add(literal="é-x", module_index=[1])
    return meta


def test_a_file_with_only_the_first_fields_is_read() -> None:
    """A file of the format's first writer gives the same modules and answers."""
    catalog = decode(other_writers().SerializeToString())
    assert [module.name for module in catalog] == ["r8169", "libphy", "core"]
    assert catalog["r8169"].depends == ("libphy",)
    assert catalog["r8169"].aliases == ("pci:v000010ECd[89]*",)
    assert catalog["libphy"].aliases == ("pci:v000010ECd?é-x",)
    assert [module.name for module in catalog.lookup("pci:v000010ECd8168")] == ["r8169"]
    assert catalog["core"].builtin


def test_a_root_of_type_literal_is_a_root() -> None:
    """The first writer's own tests build trees without saying ROOT."""
    meta = other_writers()
    meta.module_device_matches.type = Node.LITERAL
    assert decode(meta.SerializeToString()) == decode(other_writers().SerializeToString())


def test_names_get_their_underscores_when_read() -> None:
    """A writer that kept a file's dashes is understood."""
    meta = meta_pb2.Meta()
    meta.modules.add(name="a-b", path="a-b.ko")
    assert "a_b" in decode(meta.SerializeToString())


def test_of_a_name_listed_twice_the_later_one_counts() -> None:
    """As in the first reader, whose map of names the later one overwrites."""
    meta = meta_pb2.Meta()
    meta.modules.add(name="a", path="kernel/a.ko")
    meta.modules.add(name="a", path="updates/a.ko")
    assert decode(meta.SerializeToString())["a"].path == "updates/a.ko"


def test_unknown_fields_are_skipped() -> None:
    """A later version may add fields at every level without breaking this one."""
    data = encode(FULL)
    unknown = b"\xfa\x7f\x03new"  # field 2047, a string
    assert decode(data + unknown) == FULL
    meta = other_writers()
    expected = decode(meta.SerializeToString())
    for part in (meta.modules[0], meta.module_device_matches, meta.module_device_matches.children[0]):
        part.MergeFromString(unknown)
    assert decode(meta.SerializeToString()) == expected


def test_nothing_is_an_empty_catalog() -> None:
    """A message of no bytes is a valid one in proto3."""
    assert len(decode(b"")) == 0
    assert decode(encode(Catalog(()))) == Catalog(())


# --- hostile files ------------------------------------------------------------------------------------------


def test_every_truncation_is_an_error_or_a_shorter_catalog() -> None:
    """Cut within a message it is refused; cut between messages, protobuf cannot tell."""
    data = encode(FULL)
    refusals = 0
    for size in range(len(data)):
        try:
            catalog = decode(data[:size], source="x")
        except MetadataError:
            refusals += 1
        else:
            assert len(catalog) <= len(FULL)
    assert refusals > len(data) * 0.9


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05abc", b"junk" * 10, b"\x0a\x03\x0a\x01\xff", b"\x07"])
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    """Junk, half a field and text that is not UTF-8 are refused."""
    with pytest.raises(MetadataError, match="truncated, corrupt"):
        decode(data)


def test_a_module_index_out_of_range_is_an_error() -> None:
    """Neither a tree node nor a dependency may point past the modules."""
    meta = other_writers()
    meta.modules[0].depends.append(3)
    refused(meta, "'r8169' depends on module index 3, there are 3")
    meta = other_writers()
    meta.module_device_matches.children[0].module_index.append(2**32 - 1)
    refused(meta, "module index 4294967295 is out of range, there are 3")


def test_a_circle_of_dependencies_is_an_error_that_shows_it() -> None:
    """Indices that lead back would make other readers run for ever."""
    meta = other_writers()
    meta.modules[1].depends.append(0)
    refused(meta, "circle: r8169 -> libphy -> r8169")
    meta = other_writers()
    meta.modules[0].depends.append(0)
    refused(meta, "circle: r8169 -> r8169")


def test_many_long_circles_are_refused_in_little_memory() -> None:
    """Modules that all lead back to the first make circles by the square of their number; one is enough."""
    meta = meta_pb2.Meta()
    for position in range(3_000):
        meta.modules.add(name=f"m{position}", depends=[(position + 1) % 3_000, 0])
    data = meta.SerializeToString()
    tracemalloc.start()
    try:
        with pytest.raises(MetadataError, match="circle"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_an_unknown_node_type_is_an_error() -> None:
    """proto3 keeps unknown numbers of an enumeration; a root further down is as meaningless."""
    for kind in (5, -1, Node.ROOT):
        meta = other_writers()
        # Enums are open in proto3, which the generated types do not say.
        meta.module_device_matches.children.add().type = kind  # type: ignore[assignment]
        refused(meta, f"unknown type {int(kind)}")


def test_the_top_must_be_a_root() -> None:
    """A wildcard or a literal with text at the top would have to match something."""
    meta = other_writers()
    meta.module_device_matches.type = Node.WILDCARD
    refused(meta, "not a root")
    meta = other_writers()
    meta.module_device_matches.literal = "x"
    refused(meta, "not a root")


@pytest.mark.parametrize(("low", "high"), [(2, 1), (0, 256), (300, 400), (2**32 - 1, 2**32 - 1)])
def test_a_byte_range_that_is_none_is_an_error(low: int, high: int) -> None:
    """A range runs upwards and within a byte."""
    meta = other_writers()
    meta.module_device_matches.children.add(type=Node.BYTE_RANGE, start_byte=low, end_byte=high)
    refused(meta, f"byte range {low} to {high}")


def test_very_deep_nesting_is_an_error() -> None:
    """However deep the nodes stand, the answer is an error and neither a crash nor a RecursionError."""
    for depth in (200, 100_000):
        body = bytearray()  # backwards, as each length is known only when what it counts is there
        for _ in range(depth):
            body += bytes([*reversed(varint(len(body))), 0x2A])
        with pytest.raises(MetadataError, match="too deeply nested"):
            decode(b"\x12" + varint(len(body)) + bytes(reversed(body)))


def varint(number: int) -> bytes:
    """Return a number as the wire format has it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def test_a_nul_in_an_alias_is_an_error() -> None:
    """Neither the tree nor the aliases beside it may hold what no pattern can."""
    meta = other_writers()
    meta.module_device_matches.children.add(literal="a\0b", module_index=[0])
    refused(meta, "NUL")
    meta = other_writers()
    meta.modules[0].alias_verbatim.append(b"a\0b")
    refused(meta, "'r8169' has an alias with a NUL")


def test_a_range_that_takes_in_the_nul_byte_is_read() -> None:
    """A range from NUL up can be in a file although no text can write it; its complement says the same."""
    meta = other_writers()
    meta.module_device_matches.children.add(type=Node.BYTE_RANGE, start_byte=0, end_byte=0x1F, module_index=[0])
    catalog = decode(meta.SerializeToString())
    assert catalog.lookup(b"\x01")
    assert not catalog.lookup(b"\x20")
    assert decode(encode(catalog)) == catalog


@pytest.mark.parametrize("ranks", [[0], [0, 0], [1, 2], [0, 1, 2], [2**32 - 1, 0]])
def test_ranks_that_are_no_order_are_an_error(ranks: list[int]) -> None:
    """There is one rank for each alias, each once."""
    meta = message(encode(with_aliases("b", "a")))
    assert list(meta.modules[0].alias_rank) == [1, 0]
    meta.modules[0].alias_rank[:] = ranks
    refused(meta, "no order of its aliases")


def test_text_that_sharing_blows_up_is_an_error() -> None:
    """A file of some hundred kilobytes could stand for gigabytes of patterns; reading stops before that."""
    meta = meta_pb2.Meta()
    meta.modules.add(name="a", path="a.ko")
    meta.module_device_matches.type = Node.ROOT
    long = meta.module_device_matches.children.add(literal="a" * 100_000)
    for low, high in itertools.islice(itertools.combinations(range(256), 2), 20_000):
        long.children.add(type=Node.BYTE_RANGE, start_byte=low, end_byte=high, module_index=[0])
    assert meta.ByteSize() < 500_000
    refused(meta, "too long in all")


def test_what_could_not_be_read_back_is_not_written() -> None:
    """A catalog that shares that much is refused when it is written, not when it is needed."""
    modules = tuple(
        Module(f"m{n}", f"{n}.ko", aliases=tuple(f"{'a' * 4000}{x}{n}" for x in range(100))) for n in range(30)
    )
    with pytest.raises(MetadataError, match="share too much"):
        encode(Catalog(modules))
