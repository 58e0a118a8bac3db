"""Looking modules up in meta.pb the way the format's first reader does.

Written from that reader's rules, apart from ours on purpose: it works on the decoded message, tries every
child of a node in turn and every rest of the text behind a wildcard, and knows nothing of normalisation.
"""

from __future__ import annotations

from kmodkit.meta import meta_pb2

Node = meta_pb2.RadixNode


def lookup(data: bytes, modalias: bytes) -> list[str]:
    """Return the names of the modules that the bytes of a meta.pb give for ``modalias``, sorted."""
    meta = meta_pb2.Meta.FromString(data)
    found: set[int] = set()
    _visit(meta.module_device_matches, modalias, found)
    return sorted(meta.modules[index].name for index in found)


def _visit(node: Node, rest: bytes, found: set[int]) -> None:
    for child in node.children:
        if child.type == Node.LITERAL:
            literal = child.literal.encode()
            if rest.startswith(literal):
                _visit(child, rest[len(literal) :], found)
        elif child.type == Node.WILDCARD:
            for start in range(len(rest) + 1):
                _visit(child, rest[start:], found)
        elif child.type == Node.SINGLE_WILDCARD:
            if rest:
                _visit(child, rest[1:], found)
        elif child.type == Node.BYTE_RANGE and rest and child.start_byte <= rest[0] <= child.end_byte:
            _visit(child, rest[1:], found)
    if not rest:
        found.update(node.module_index)
