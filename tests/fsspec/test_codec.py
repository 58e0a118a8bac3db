"""FSSpec text: what is written, what is read back, and what is refused."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from hypothesis import given
from hypothesis import strategies as st

from kmodkit.errors import FsspecError
from kmodkit.fsspec.codec import Directory, File, FSSpec, SpecialFile, SpecialType, SymbolicLink, decode, encode

if TYPE_CHECKING:
    from google.protobuf.message import Message

FULL = FSSpec(
    (File("/lib/modules/a.ko", "out/a.ko", 0o555), File('/a "b"\né\\', "out/é", 0o444, 1, 2)),
    (Directory("/lib", 0o755, 3, 4),),
    (SymbolicLink("/lib/firmware/a.bin", "../b.bin"),),
    (
        SpecialFile("/dev/null", SpecialType.CHARACTER, 1, 3, 0o666),
        SpecialFile("/dev/vda", SpecialType.BLOCK, 254, 0, 0o660, 0, 6),
        SpecialFile("/run/pipe", SpecialType.FIFO, mode=0o600),
    ),
)

UINT32 = st.integers(0, (1 << 32) - 1)
TEXT = st.text(st.characters(codec="utf-8"))
SPECS = st.builds(
    FSSpec,
    st.lists(st.builds(File, TEXT, TEXT, UINT32, UINT32, UINT32)).map(tuple),
    st.lists(st.builds(Directory, TEXT, UINT32, UINT32, UINT32)).map(tuple),
    st.lists(st.builds(SymbolicLink, TEXT, TEXT)).map(tuple),
    st.lists(
        st.builds(SpecialFile, TEXT, st.sampled_from(SpecialType), UINT32, UINT32, UINT32, UINT32, UINT32)
    ).map(tuple),
)

# The published schema, written down apart from fsspec.proto: names, numbers and types (s string, u uint32).
PUBLISHED = {
    "File": "path:s source_path:s mode:u uid:u gid:u",
    "Directory": "path:s mode:u uid:u gid:u",
    "SymbolicLink": "path:s target_path:s",
    "SpecialFile": "path:s type:e major:u minor:u mode:u uid:u gid:u",
}
LISTS = {"file": "File", "directory": "Directory", "symbolic_link": "SymbolicLink", "special_file": "SpecialFile"}
TYPES = {"CHARACTER_DEV": 0, "BLOCK_DEV": 1, "FIFO": 2}


def published_schema() -> type[Message]:
    """Return the message class of an FSSpec, made without the generated code."""
    proto = descriptor_pb2.FileDescriptorProto(name="published.proto", package="published", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {"s": field.TYPE_STRING, "u": field.TYPE_UINT32, "e": field.TYPE_ENUM}
    for name, fields in PUBLISHED.items():
        message = proto.message_type.add(name=name)
        for number, word in enumerate(fields.split(), 1):
            label, _, kind = word.partition(":")
            added = message.field.add(name=label, number=number, type=kinds[kind], label=field.LABEL_OPTIONAL)
            if kind == "e":
                added.type_name = ".published.SpecialFile.Type"
                values = message.enum_type.add(name="Type").value
                for value, code in TYPES.items():
                    values.add(name=value, number=code)
    top = proto.message_type.add(name="FSSpec")
    for number, (label, kind) in enumerate(LISTS.items(), 1):
        top.field.add(
            name=label,
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=f".published.{kind}",
            label=field.LABEL_REPEATED,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("published.FSSpec"))


def test_what_is_written_comes_back() -> None:
    """Every field of every kind, and names with quotes, newlines and letters beyond ASCII."""
    assert decode(encode(FULL)) == FULL
    assert decode(encode(FSSpec())) == FSSpec()


def test_the_text_parses_with_the_published_schema() -> None:
    """Protobuf's own reader, with the schema as published, finds exactly what was listed."""
    message = text_format.Parse(encode(FULL), published_schema()())
    found = {
        label: [
            tuple(getattr(entry, word.partition(":")[0]) for word in PUBLISHED[kind].split())
            for entry in getattr(message, label)
        ]
        for label, kind in LISTS.items()
    }
    assert found == {
        "file": [("/lib/modules/a.ko", "out/a.ko", 0o555, 0, 0), ('/a "b"\né\\', "out/é", 0o444, 1, 2)],
        "directory": [("/lib", 0o755, 3, 4)],
        "symbolic_link": [("/lib/firmware/a.bin", "../b.bin")],
        "special_file": [
            ("/dev/null", 0, 1, 3, 0o666, 0, 0),
            ("/dev/vda", 1, 254, 0, 0o660, 0, 6),
            ("/run/pipe", 2, 0, 0, 0o600, 0, 0),
        ],
    }


def test_the_text_is_one_field_a_line() -> None:
    """For people to read and compare; letters stay letters whatever the version of protobuf."""
    assert encode(FSSpec((File("/é", "b", 0o444),), symbolic_links=(SymbolicLink("/c", "é"),))) == (
        'file {\n  path: "/é"\n  source_path: "b"\n  mode: 292\n}\n'
        'symbolic_link {\n  path: "/c"\n  target_path: "é"\n}\n'
    )


def test_the_style_of_go_is_read() -> None:
    """Its writer puts a colon before braces and one or two blanks behind colons, at random."""
    text = 'file:  {\n  path:  "/a"\n  source_path:  "b"\n  mode:  292\n}\n'
    text += 'symbolic_link: {path: "/c" target_path: "d"}'
    assert decode(text) == FSSpec((File("/a", "b", 0o444),), symbolic_links=(SymbolicLink("/c", "d"),))


@pytest.mark.parametrize(
    ("text", "reason", "offset"),
    [
        ("x", 'no field named "x"', 0),
        ("file {\n  path: 3\n}", "Expected string", 15),
        ("file {\n  path: 'é' mode: -1\n}", "out of range", 25),
        ("file {", "Expected", 5),
        ('file { path: "\\377" }', "decode", 20),
        ("special_file { type: SOCKET }", "SOCKET", 21),
        ("special_file { type: 9 }", "9", None),
        ("\ud800", "identifier", 0),
    ],
)
def test_what_is_no_fsspec_is_refused(text: str, reason: str, offset: int | None) -> None:
    """The error says where the reader stopped, and in which file."""
    with pytest.raises(FsspecError, match=reason) as caught:
        decode(text, source="a.prototxt")
    assert caught.value.offset == offset
    assert str(caught.value).startswith("a.prototxt: ")
    str(caught.value).encode()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


@pytest.mark.parametrize(
    "spec",
    [
        FSSpec((File("/\udcff", "a"),)),
        FSSpec((File("/a", "\udcff"),)),
        FSSpec((File("/a", "b", -1),)),
        FSSpec((File("/a", "b", 1 << 32),)),
        FSSpec(symbolic_links=(SymbolicLink("/a", "\udcff"),)),
    ],
)
def test_what_no_text_can_hold_is_refused(spec: FSSpec) -> None:
    """The error names the path."""
    with pytest.raises(FsspecError, match="cannot be written") as caught:
        encode(spec)
    assert caught.value.source in ("'/a'", "'/\\udcff'")


@given(SPECS)
def test_any_spec_survives(spec: FSSpec) -> None:
    """Whatever the names and numbers."""
    assert decode(encode(spec)) == spec


@given(st.one_of(st.text(), st.lists(st.sampled_from(encode(FULL).split())).map(" ".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    """A value that can be written again, or an FsspecError within the text."""
    try:
        spec = decode(text)
    except FsspecError as error:
        assert error.offset is None or 0 <= error.offset <= len(text)
    else:
        assert decode(encode(spec)) == spec
