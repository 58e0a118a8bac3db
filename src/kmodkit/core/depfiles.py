"""depmod's work: modules with their symbols in, the contents of all ``modules.*`` files out.

A module depends on those that export the symbols it leaves undefined. Where more than one exports a symbol, the
last one in order counts. Modules come in the order of ``modules.order``, then as they lie in depmod's hash table
(`kmodkit.core.buckets`); a module's place is its priority in the indexes, so of all that match an alias the first
in that order comes first.

In modules.dep the dependencies of a module are sorted so that each comes before what it needs itself: by their
place in one topological order of all modules. depmod's is made with a stack, from the modules that nothing
needs; which of the valid orders comes out decides the bytes of the file, so ours is made the same way.
"""

from __future__ import annotations

from kmodkit.core.buckets import SYMBOL_BUCKETS, bucket_order
from kmodkit.core.deplines import TEXTS, Messages, alias_keys, module_lines, module_name, to_text
from kmodkit.core.kmodwrite import Layout, build_index
from kmodkit.errors import CyclesError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
    from dataclasses import dataclass
    from typing import Final, NamedTuple
else:
    from kmodkit.core.values import NamedTuple, dataclass

FILES: Final = (
    "modules.dep",
    "modules.dep.bin",
    "modules.alias",
    "modules.alias.bin",
    "modules.softdep",
    "modules.weakdep",
    "modules.symbols",
    "modules.symbols.bin",
    "modules.builtin.bin",
    "modules.builtin.alias.bin",
    "modules.devname",
)
"""What depmod writes, in its order."""

INFO_FILES: Final = ("modules.alias", "modules.alias.bin", "modules.softdep", "modules.weakdep", "modules.devname")
"""What comes of what modules say, in the order of `info_files`."""

# What a kernel or the module loader provides though no list has it (the last one on PowerPC).
_LOADER_SYMBOLS: Final = (b"__this_module", b"_GLOBAL_OFFSET_TABLE_", b"TOC.")


class DepModule(NamedTuple):
    """A module as depmod sees it.

    ``path`` is relative to the module directory, or absolute for one outside of it. ``modinfo`` is the contents of
    its ``.modinfo``; ``exports`` and ``needs`` are symbols, with a NUL between them.
    """

    name: bytes
    path: bytes
    modinfo: bytes
    exports: bytes
    needs: bytes


@dataclass(frozen=True, slots=True)
class Resolved:
    """Modules with what they need: ``needs[i]`` are the positions of all that ``modules[i]`` needs, in file order.

    ``direct[i]`` are those whose symbols it uses itself; ``owners`` has the position of the module that exports a
    symbol.
    """

    modules: Sequence[DepModule]
    owners: Mapping[bytes, int]
    direct: Sequence[Sequence[int]]
    needs: Sequence[Sequence[int]]


# --- dependencies -------------------------------------------------------------------------------------------


def symbol_owners(
    modules: Sequence[DepModule], kernel: Mapping[bytes, int] | None = None, prefix: bytes = b""
) -> dict[bytes, int]:
    """Return the position of the module that exports each symbol, -1 for those that the kernel has itself.

    ``kernel`` maps the kernel's symbols to their checksums, where they are known; ``prefix`` is a byte that is to
    be ignored at their start.
    """
    owners = dict.fromkeys((_strip(name, prefix) for name in kernel or ()), -1)
    if kernel is not None:
        owners.update(dict.fromkeys(_LOADER_SYMBOLS, -1))
    for at, module in enumerate(modules):
        if module.exports:
            names = module.exports.split(b"\0")
            owners.update(dict.fromkeys([_strip(name, prefix) for name in names] if prefix else names, at))
    return owners


def resolve(
    modules: Sequence[DepModule],
    owners: Mapping[bytes, int],
    *,
    prefix: bytes = b"",
    show: Callable[[DepModule, bytes, DepModule], object] | None = None,
) -> Resolved:
    """Find what each module needs.

    ``show`` is called with a module, the first symbol for which it needs another one, and that one. Raises
    CyclesError where modules need each other.
    """
    direct: list[list[int]] = []
    get = owners.get
    for module in modules:
        names = module.needs.split(b"\0") if module.needs else []
        if prefix or b"." in module.needs:
            names = [found_name(name, prefix) for name in names]
        found = dict.fromkeys(map(get, names))
        direct.append([at for at in found if at is not None and at >= 0])
        if show is not None:
            seen: set[int] = set()
            for name in names:
                at = get(name, -1)
                if at >= 0 and at not in seen:
                    seen.add(at)
                    show(module, name, modules[at])
    places = _places(direct)
    if len(places) < len(modules):
        raise CyclesError([[to_text(modules[at].name) for at in cycle] for cycle in _cycles(direct, places)])
    return Resolved(modules, owners, direct, _all_needs(direct, places))


def found_name(name: bytes, prefix: bytes) -> bytes:
    """Return what a needed symbol is looked up as: on PowerPC ``.foo`` is the code of ``foo``."""
    return _strip(name.removeprefix(b"."), prefix)


def _strip(name: bytes, prefix: bytes) -> bytes:
    return name.removeprefix(prefix)


def _places(direct: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return the place of each module in a topological order, what needs others first.

    Modules of a cycle, and what they need, have none.
    """
    users = [0] * len(direct)
    for needs in direct:
        for need in needs:
            users[need] += 1
    ready = [at for at, count in enumerate(users) if not count]
    places: dict[int, int] = {}
    while ready:
        at = ready.pop()
        places[at] = len(places)
        for need in direct[at]:
            users[need] -= 1
            if not users[need]:
                ready.append(need)
    return places


def _all_needs(direct: Sequence[Sequence[int]], places: Mapping[int, int]) -> list[list[int]]:
    """Return for each module all that it needs, by place."""
    order = list(places)
    reached: list[frozenset[int]] = [frozenset()] * len(direct)
    for at in reversed(order):
        needs = direct[at]
        if needs:
            reached[at] = frozenset(needs).union(*[reached[need] for need in needs])
    return [sorted(found, key=places.__getitem__) for found in reached]


def _cycles(direct: Sequence[Sequence[int]], places: Mapping[int, int]) -> Iterator[list[int]]:
    """Yield a cycle through each module that is in one, once for all its members."""
    told: set[int] = set()
    for root in range(len(direct)):
        if root in places or root in told:
            continue
        path = {root: iter(direct[root])}
        seen = {root}
        while path:
            at = next(reversed(path))
            for need in path[at]:
                if need == root:
                    told |= set(path)
                    yield [*path, root]
                    path = {}
                    break
                if need not in seen and need not in places:
                    seen.add(need)
                    path[need] = iter(direct[need])
                    break
            else:
                path.popitem()


# --- files --------------------------------------------------------------------------------------------------


def dep_files(
    found: Resolved, layout: Layout, places: MutableMapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """Return ``modules.dep`` and its index; ``places`` is as for `build_index`."""
    lines = _dep_lines([module.path for module in found.modules], found.needs)
    items = [(module.name, line, at) for at, (module, line) in enumerate(zip(found.modules, lines, strict=True))]
    return {
        "modules.dep": b"".join([line + b"\n" for line in lines]),
        "modules.dep.bin": build_index(items, layout=layout, source="modules.dep.bin", places=places),
    }


def dep_lines(paths: Sequence[bytes], direct: Sequence[Sequence[int]]) -> list[bytes]:
    """Return the lines of ``modules.dep`` for modules that need each other directly as ``direct`` says.

    Nothing is in a circle there.
    """
    return _dep_lines(paths, _all_needs(direct, _places(direct)))


def _dep_lines(paths: Sequence[bytes], needs: Sequence[Sequence[int]]) -> list[bytes]:
    return [
        b" ".join([path + b":", *[paths[need] for need in own]]) for path, own in zip(paths, needs, strict=True)
    ]


def info_files(
    modules: Sequence[DepModule],
    layout: Layout,
    log: Messages,
    *,
    warn: bool = False,
    places: MutableMapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """Return the files of aliases, soft and weak dependencies and device nodes.

    ``places`` is as for `build_index`.
    """
    texts: dict[str, list[bytes]] = {name: [first] for name, first in TEXTS.items()}
    items: list[tuple[bytes, bytes, int]] = []
    for at, module in enumerate(modules):
        name = module.name
        lines, keys = module_lines(name, module.modinfo, log, warn=warn)
        for file, text in lines.items():
            texts[file].append(text)
        items += [(key, name, at) for key in keys]
    if len(texts["modules.devname"]) == 1:
        texts["modules.devname"] = []
    index = build_index(items, layout=layout, source="modules.alias.bin", places=places)
    files = {name: b"".join(parts) for name, parts in texts.items()}
    return {name: index if name == "modules.alias.bin" else files[name] for name in INFO_FILES}


def symbol_files(found: Resolved, layout: Layout) -> dict[str, bytes]:
    """Return ``modules.symbols`` and its index."""
    names = [module.name for module in found.modules]
    owned = {symbol: at for symbol, at in found.owners.items() if at >= 0}
    order = [(symbol, owned[symbol]) for symbol in bucket_order(owned, SYMBOL_BUCKETS)]
    lines = [b"alias symbol:%s %s\n" % (symbol, names[at]) for symbol, at in order]
    items = [(b"symbol:" + symbol, names[at], at) for symbol, at in order]
    return {
        "modules.symbols": b"# Aliases for symbols, used by symbol_request().\n" + b"".join(lines),
        "modules.symbols.bin": build_index(items, layout=layout, source="modules.symbols.bin"),
    }


def builtin_files(builtin: bytes | None, modinfo: bytes | None, layout: Layout, log: Messages) -> dict[str, bytes]:
    """Return the indexes of ``modules.builtin`` and ``modules.builtin.modinfo``; b"" for one that is not."""
    names, aliases = b"", b""
    if builtin is not None:
        items = []
        for line in builtin.splitlines():
            if line[:1].isalpha():
                items.append((module_name(line), b"", 0))
            else:
                log.error(f"Invalid modules.builtin line: {to_text(line)}\n")
        names = build_index(items, layout=layout, source="modules.builtin.bin")
    if modinfo is not None:
        pairs: list[tuple[bytes, bytes, int]] = []
        for entry in modinfo.split(b"\0"):
            module, dot, rest = entry.partition(b".")
            if dot and module and rest.startswith(b"alias=") and len(rest) > 6:
                pairs += [(key, module, 0) for key in alias_keys([rest[6:]], module, log)]
        aliases = build_index(pairs, layout=layout, source="modules.builtin.alias.bin")
    return {"modules.builtin.bin": names, "modules.builtin.alias.bin": aliases}
