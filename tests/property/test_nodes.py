"""The tree that is written straight to bytes is what protobuf writes for the nodes of the simple tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.alias import STAR, ByteSet, Pattern
from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.names import to_text
from kmodkit.core.radix import RadixTree
from kmodkit.meta import meta_pb2
from kmodkit.meta.codec import MAX_DEPTH, _forms, encode
from kmodkit.meta.nodes import encode_tree, key_of, simple_key
from tests.property.strategies import catalogs, patterns, usual_patterns

if TYPE_CHECKING:
    from kmodkit.core.radix import RadixNode


def by_protobuf(tree: RadixTree) -> bytes:
    """Return the bytes of a Meta with a tree, node by node, as protobuf serialises it."""
    meta = meta_pb2.Meta()
    top = meta.module_device_matches
    top.type = meta_pb2.RadixNode.ROOT
    stack: list[tuple[RadixNode, meta_pb2.RadixNode]] = [(tree.root, top)]
    while stack:
        node, out = stack.pop()
        token = node.token
        if isinstance(token, bytes):
            out.literal = token.decode("ascii")
        elif isinstance(token, ByteSet):
            out.type = meta_pb2.RadixNode.BYTE_RANGE
            ((out.start_byte, out.end_byte),) = token.ranges
        elif token is not None:
            out.type = meta_pb2.RadixNode.WILDCARD if token is STAR else meta_pb2.RadixNode.SINGLE_WILDCARD
        out.module_index.extend(node.values)
        stack += [(child, out.children.add()) for child in node.children]
    return meta.SerializeToString(deterministic=True)


def depths(tree: RadixTree) -> dict[str, int]:
    """Return how many nodes lead to the end of each pattern."""
    found: dict[str, int] = {}
    stack: list[tuple[RadixNode, str, int]] = [(tree.root, "", 0)]
    while stack:
        node, key, depth = stack.pop()
        key += key_of(Pattern((node.token,))) if node.token is not None else ""
        if node.indices:
            found[key] = depth
        stack += [(child, key, depth + 1) for child in node.children]
    return found


def built(forms: dict[Pattern, list[int]]) -> RadixTree:
    """Return the simple tree of patterns."""
    tree = RadixTree()
    for pattern, values in forms.items():
        for value in values:
            tree.add(pattern, value)
    return tree


POSITIONS = st.lists(st.sampled_from([0, 1, 127, 128, 16383, 16384, 300000]), min_size=1, unique=True).map(sorted)
PIECES = st.sampled_from([b"a", b"ab", b"abc", b"b", b"*", b"?", b"[a-c]", b"[b-d]", b"[\1-\xff]", b"\xe9"])
LISTS = st.lists(PIECES, max_size=12).map(b"".join)


@given(st.lists(st.tuples(LISTS | patterns | usual_patterns, POSITIONS), max_size=25))
def test_the_bytes_of_a_tree_are_those_of_protobuf(raw: list[tuple[bytes, list[int]]]) -> None:
    """Literals that part at any byte, ranges, wildcards, and values of every length."""
    forms = {form: values for text, values in raw for form in _forms(to_text(text))}
    data, deep = encode_tree({key_of(form): values for form, values in forms.items()}, MAX_DEPTH)
    assert deep == set()
    assert data == by_protobuf(built(forms))


@given(st.lists(LISTS, min_size=1, max_size=25), st.integers(1, 8))
def test_what_lies_too_deep_is_said(raw: list[bytes], most: int) -> None:
    """The same patterns as counted in the simple tree."""
    forms = {form: [0] for text in raw for form in _forms(to_text(text))}
    _, deep = encode_tree({key_of(form): values for form, values in forms.items()}, most)
    assert deep == {key for key, depth in depths(built(forms)).items() if depth > most}


@given(catalogs)
def test_a_whole_file_is_what_protobuf_writes(catalog: Catalog) -> None:
    """Read by protobuf and written again, not a byte is different."""
    data = encode(catalog)
    assert meta_pb2.Meta.FromString(data).SerializeToString(deterministic=True) == data


def test_a_pattern_of_many_levels_is_kept_beside_the_tree() -> None:
    """Also where it is not alone at its end."""
    deep = "a*" * 200
    catalog = Catalog((Module("m", "m.ko", aliases=(deep, deep + "b", "a*c")),))
    meta = meta_pb2.Meta.FromString(encode(catalog))
    assert list(meta.outside) == [0]
    assert sorted(meta.modules[0].alias_verbatim) == [deep.encode(), deep.encode() + b"b"]


def test_the_key_of_a_simple_alias_is_that_of_its_pattern() -> None:
    """It is only found sooner."""
    for alias in ("pci:v00008086d*sv*", "mdio:??01", "*", "", "a b/c,d"):
        assert simple_key(alias) == key_of(Pattern.parse(alias))
