"""meta.pb: a `Catalog` to bytes and back. The schema, and what its fields mean, is in ``meta.proto``.

The tree in the file holds the patterns as the modules write them, so that the format's first reader, which
compares byte by byte, finds what it always found. Its nodes are fewer than the language of patterns: a set
becomes a branch for each of its ranges, a byte above ASCII a range of that one byte. Patterns that would need
too many branches, or nest deeper than protobuf readers follow, are kept outside of the tree.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from kmodkit.core.alias import ANY, STAR, ByteSet, Pattern, Token, join_tokens
from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.graph import find_cycles
from kmodkit.core.modinfo import MAX_ALIAS, SoftDeps
from kmodkit.core.names import normalize_name, to_bytes, to_text
from kmodkit.errors import MetadataError
from kmodkit.meta import meta_pb2
from kmodkit.meta.nodes import encode_tree, key_of, simple_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# Protobuf readers follow 100 levels; Meta and the root are two of them.
MAX_DEPTH: Final = 96
MAX_BRANCHES: Final = 64
# The patterns of a tree can be far longer in all than the file. Those of real kernels are shorter.
_TEXT_PER_BYTE: Final = 64
_TEXT_FREE: Final = 1 << 20

_Node = meta_pb2.RadixNode


def encode(catalog: Catalog) -> bytes:
    """Return ``catalog`` as the bytes of meta.pb; the same catalog always gives the same bytes.

    Raises MetadataError for a module whose name or path is not UTF-8, which the format cannot hold.
    """
    forms: dict[str, tuple[str, ...]] = {}
    while True:
        # Only a pattern that nobody writes is too deep, so what was built is thrown away rather than pruned.
        patterns = _values(catalog, forms)
        tree, deep = encode_tree(patterns, MAX_DEPTH)
        if not deep:
            break
        aliases = {alias for module in catalog if not module.builtin for alias in module.aliases}
        forms.update((alias, ()) for alias in aliases if not deep.isdisjoint(forms.get(alias) or _keys(alias)))
    modules, rest = meta_pb2.Meta(), meta_pb2.Meta()
    _encode_modules(catalog, forms, modules)
    without_form = {alias for alias, keys in forms.items() if not keys}
    rest.outside.extend(
        position
        for position, module in enumerate(catalog)
        if not module.builtin and not without_form.isdisjoint(module.aliases)
    )
    # The order of the fields is that of their numbers, as protobuf's own deterministic writer has it.
    parts = (modules.SerializeToString(deterministic=True), tree, rest.SerializeToString(deterministic=True))
    data = b"".join(parts)
    if sum((len(key) + 1) * len(values) for key, values in patterns.items()) > _text_limit(len(data)):
        raise MetadataError("alias patterns that share too much to be read back safely")
    return data


def decode(data: bytes, *, source: str | None = None) -> Catalog:
    """Return the catalog that the bytes of a meta.pb hold.

    ``source`` names the file in errors. Raises MetadataError where the bytes are no such message, refer to
    modules that are not there, need each other in a circle, or hold tree nodes that mean nothing.
    """
    meta = meta_pb2.Meta()
    try:
        meta.ParseFromString(data)
        return _catalog(meta, _text_limit(len(data)))
    except MetadataError as error:
        error.source = source
        raise
    except DecodeError as error:
        raise MetadataError("truncated, corrupt or too deeply nested", source=source) from error


def _encode_modules(catalog: Catalog, forms: Mapping[str, tuple[str, ...]], meta: meta_pb2.Meta) -> None:
    positions = {module.name: position for position, module in enumerate(catalog)}
    circular = {name for cycle in find_cycles({m.name: m.depends for m in catalog}) for name in cycle}
    for module in catalog:
        out = meta.modules.add()
        try:
            out.name = module.name
            out.path = module.path or ""
        except (UnicodeError, ValueError) as error:
            raise MetadataError("name or path is not UTF-8", source=ascii(module.path or module.name)) from error
        # find_cycles shows each edge that closes a circle, so what stays when those are left out has none.
        plain = [
            positions[need]
            for need in module.depends
            if need in positions and not (module.name in circular and need in circular)
        ]
        out.depends.extend(plain)
        if len(plain) < len(module.depends):
            out.depends_names.extend(map(to_bytes, module.depends))
        for field, texts in (
            (out.softdep_pre, module.softdeps.pre),
            (out.softdep_post, module.softdeps.post),
            (out.weakdep, module.weakdeps),
            (out.firmware, module.firmware),
        ):
            if texts:
                field.extend(map(to_bytes, texts))
        _encode_aliases(module, forms, out)


# --- patterns to the tree and back --------------------------------------------------------------------------


def _values(catalog: Catalog, forms: dict[str, tuple[str, ...]]) -> dict[str, list[int]]:
    """Return for each pattern of the tree the positions of the modules that have it, ascending.

    ``forms`` has the keys of aliases that do not stand in the tree as they are written; what is found is added.
    """
    patterns: dict[str, list[int]] = {}
    for position, module in enumerate(catalog):
        if module.aliases and not module.builtin:
            for key in _module_keys(module.aliases, forms):
                values = patterns.get(key)
                if values is None:
                    patterns[key] = [position]
                elif values[-1] != position:
                    values.append(position)
    return patterns


def _module_keys(aliases: tuple[str, ...], forms: dict[str, tuple[str, ...]]) -> Iterable[str]:
    # All aliases of a module at once, where all stand in the tree as they are written, as nearly always: one by
    # one took four times as long.
    text = "\0".join(aliases)
    if _is_simple(text) and text.count("\0") == len(aliases) - 1 and forms.keys().isdisjoint(aliases):
        return simple_key(text).split("\0")
    found: list[str] = []
    for alias in aliases:
        if alias not in forms:
            if _is_simple(alias) and "\0" not in alias:
                found.append(simple_key(alias))
                continue
            forms[alias] = _keys(alias)
        found += forms[alias]
    return found


def _keys(alias: str) -> tuple[str, ...]:
    """Return `_forms` of an alias as keys for the tree."""
    return tuple(key_of(form) for form in _forms(alias))


def _is_simple(text: str) -> bool:
    """Return whether aliases, if none has a NUL, stand in the tree as written: no token has to be read."""
    return (
        text.isascii()
        and "[" not in text
        and "\\" not in text
        and "**" not in text
        and (len(text) <= MAX_ALIAS or max(map(len, text.split("\0"))) <= MAX_ALIAS)
    )


def _text_limit(file_size: int) -> int:
    return _TEXT_FREE + _TEXT_PER_BYTE * file_size


def _forms(alias: str) -> tuple[Pattern, ...]:
    """Return the patterns, of the tree's kinds of node only, that together mean ``alias``; none if too many."""
    if len(alias) > MAX_ALIAS:
        return ()
    pattern = Pattern.parse(alias)
    if alias.isascii() and "[" not in alias and "\\" not in alias:
        return (pattern,)
    choices = [list(_branches(token)) for token in pattern.tokens]
    if math.prod(map(len, choices)) > MAX_BRANCHES:
        return ()
    return tuple(Pattern(join_tokens(itertools.chain.from_iterable(path))) for path in itertools.product(*choices))


def _branches(token: Token) -> Iterator[tuple[Token, ...]]:
    if isinstance(token, ByteSet):
        for span in token.ranges:
            yield (ByteSet((span,)),)
    elif isinstance(token, bytes) and not token.isascii():
        # proto3 strings are UTF-8 and the tree may split a literal anywhere, so bytes above ASCII stand alone.
        runs = itertools.groupby(token, lambda byte: byte < 0x80)
        yield tuple(
            part
            for ascii_run, run in runs
            for part in ([bytes(run)] if ascii_run else [ByteSet(((byte, byte),)) for byte in run])
        )
    else:
        yield (token,)


def _reading(form: Pattern) -> bytes:
    """Return the text that a reader makes of a pattern in the tree."""
    return bytes(Pattern(join_tokens(_read_token(token) for token in form.tokens)))


def _read_token(token: Token) -> Token:
    if isinstance(token, ByteSet) and len(token.ranges) == 1:
        low, high = token.ranges[0]
        if low == high >= 0x80:
            return bytes([low])
    return token


def _encode_aliases(module: Module, forms: Mapping[str, tuple[str, ...]], out: meta_pb2.Module) -> None:
    """Write down what the tree does not say about the aliases of ``module``."""
    if not module.aliases:
        return
    aliases = list(map(to_bytes, module.aliases))
    if module.builtin:
        out.alias_verbatim.extend(aliases)
        return
    if not forms.keys().isdisjoint(module.aliases):
        odd = [alias for alias in module.aliases if alias in forms]
        # Those whose forms were dropped as too deep have none, whatever `_forms` would say.
        readings = {to_bytes(alias): set(map(_reading, _forms(alias) if forms[alias] else ())) for alias in odd}
        verbatim = {raw for raw, texts in readings.items() if texts != {raw}}
        covered = {text for raw in verbatim for text in readings[raw]}
        out.alias_verbatim.extend(sorted(verbatim | covered.intersection(aliases)))
    order = sorted(aliases)
    if order != aliases:
        rank = {raw: position for position, raw in enumerate(order)}
        out.alias_rank.extend(map(rank.__getitem__, aliases))


def _decode_aliases(raw: meta_pb2.Module, read: Iterable[bytes]) -> tuple[str, ...]:
    if not raw.path:
        return tuple(dict.fromkeys(map(to_text, raw.alias_verbatim)))
    texts = set(read)
    verbatim = set(raw.alias_verbatim)
    if any(0 in alias for alias in verbatim):
        raise MetadataError(f"module {raw.name!r} has an alias with a NUL byte")
    for alias in verbatim:
        texts.difference_update(map(_reading, _forms(to_text(alias))))
    order = sorted(texts | verbatim)
    if raw.alias_rank:
        if sorted(raw.alias_rank) != list(range(len(order))):
            raise MetadataError(f"module {raw.name!r} has alias ranks that are no order of its aliases")
        order = [order[rank] for rank in raw.alias_rank]
    return tuple(map(to_text, order))


# --- the tree to messages and back --------------------------------------------------------------------------


def _decode_tree(top: _Node, count: int, limit: int) -> list[set[bytes]]:
    """Return for each of ``count`` modules the texts of its patterns."""
    found: list[set[bytes]] = [set() for _ in range(count)]
    if top.type not in (_Node.ROOT, _Node.LITERAL) or top.literal:
        raise MetadataError("the tree's top node is not a root")
    stack: list[tuple[_Node, tuple[Token, ...]]] = [(top, ())]
    while stack:
        node, tokens = stack.pop()
        if node is not top:
            tokens = (*tokens, _node_token(node))
        if node.module_index:
            text = bytes(Pattern(join_tokens(tokens)))
            limit -= len(text) * len(node.module_index)
            if limit < 0:
                raise MetadataError("the tree's patterns are too long in all for the size of the file")
            for index in node.module_index:
                if index >= count:
                    raise MetadataError(f"module index {index} is out of range, there are {count} modules")
                found[index].add(text)
        stack += [(child, tokens) for child in node.children]
    return found


def _node_token(node: _Node) -> Token:
    kind = node.type
    if kind == _Node.LITERAL:
        literal = to_bytes(node.literal)
        if 0 in literal:
            raise MetadataError("a literal node of the tree holds a NUL byte")
        return literal
    if kind == _Node.WILDCARD:
        return STAR
    if kind == _Node.SINGLE_WILDCARD:
        return ANY
    if kind == _Node.BYTE_RANGE:
        low, high = node.start_byte, node.end_byte
        if not low <= high <= 0xFF:
            raise MetadataError(f"byte range {low} to {high} of a tree node is none")
        return _read_token(ByteSet(((low, high),)))
    raise MetadataError(f"unknown type {kind} of a tree node")


# --- modules ------------------------------------------------------------------------------------------------


def _catalog(meta: meta_pb2.Meta, limit: int) -> Catalog:
    names = [normalize_name(raw.name) for raw in meta.modules]
    texts = _decode_tree(meta.module_device_matches, len(names), limit)
    modules: dict[str, Module] = {}
    for raw, name, read in zip(meta.modules, names, texts, strict=True):
        # The format's first writer lists two files of one name twice, and its reader takes the later one.
        modules.pop(name, None)
        modules[name] = Module(
            name,
            raw.path or None,
            _depends(raw, names),
            SoftDeps(_texts(raw.softdep_pre), _texts(raw.softdep_post)),
            _texts(raw.weakdep),
            _decode_aliases(raw, read),
            _texts(raw.firmware),
        )
    catalog = Catalog(tuple(modules.values()))
    written = {
        name: [names[index] for index in raw.depends] for raw, name in zip(meta.modules, names, strict=True)
    }
    for cycle in find_cycles(written):
        raise MetadataError(f"modules need each other in a circle: {' -> '.join(cycle)}")
    return catalog


def _depends(raw: meta_pb2.Module, names: Sequence[str]) -> tuple[str, ...]:
    for index in raw.depends:
        if index >= len(names):
            raise MetadataError(
                f"module {raw.name!r} depends on module index {index}, there are {len(names)} modules"
            )
    if raw.depends_names:
        return _texts(raw.depends_names)
    return tuple(dict.fromkeys(names[index] for index in raw.depends))


def _texts(values: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(to_text, values)))
