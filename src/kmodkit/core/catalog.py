"""The one model of a kernel's modules: `Module`, and the `Catalog` of all of them.

Every reader makes a catalog (a scanned tree, meta.pb, depmod's files) and every output is made from one.
"""

from __future__ import annotations

from kmodkit.core.graph import find_cycles, hard_order, load_order
from kmodkit.core.modinfo import SoftDeps, entries, split_depends, split_softdeps, split_weakdeps
from kmodkit.core.names import WAY, name_from_path, normalize_alias, normalize_name, to_bytes
from kmodkit.errors import ArgumentError, DependencyError, ModuleNotFoundError, UnknownDependencyError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from dataclasses import dataclass, field
    from typing import Any, Protocol

    from kmodkit.core.matcher.globs import Lookup
    from kmodkit.core.modinfo import ModuleInfo
    from kmodkit.core.radix import RadixTree
    from kmodkit.core.rules import Rule
    from kmodkit.core.selection import Selection
    from kmodkit.core.snapshot import Snapshot

    class Index(Protocol):
        """What a catalog looks modaliases up in."""

        def lookup(self, text: bytes, /) -> tuple[int, ...]:
            """Return the positions of the modules with a pattern that matches ``text``, ascending, each once."""
            ...
else:
    from kmodkit.core.values import dataclass, field

DEFAULT_SEARCH = ("updates", "built-in")
"""depmod's order of directories where no depmod.d(5) says otherwise."""


NO_SOFTDEPS = SoftDeps()
_KEPT = ("name", "depends", "softdep", "weakdep", "alias", "firmware")


@dataclass(frozen=True, slots=True)
class Module:
    """One module as the catalog has it.

    ``name`` and ``depends`` have the kernel's ``_``; ``path`` is relative to the module root, None for a module
    built into the kernel. ``aliases``, ``softdeps``, ``weakdeps`` and ``firmware`` are as the module writes them,
    in its order, each once.
    """

    name: str
    path: str | None = None
    depends: tuple[str, ...] = ()
    softdeps: SoftDeps = NO_SOFTDEPS
    weakdeps: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()

    @classmethod
    def from_info(cls, info: ModuleInfo) -> Module:
        """Return what a catalog keeps of a module's information."""
        return cls(
            info.name,
            info.path,
            info.depends,
            info.softdeps,
            info.weakdeps,
            tuple(dict.fromkeys(info.aliases)),
            tuple(dict.fromkeys(info.firmware)),
        )

    @classmethod
    def from_section(cls, section: bytes, path: str) -> Module:
        """Return what a catalog keeps of the ``.modinfo`` section of the module file ``path``.

        It is `from_info` of `parse_modinfo`, in one pass over the entries: a scan does it 4,000 times, and going
        over them once for each field took a third of its time.
        """
        found: dict[str, list[str]] = {key: [] for key in _KEPT}
        for key, equals, value in entries(section):
            if key in found and equals:
                found[key].append(value)
        name, depends, softdeps, weakdeps, aliases, firmware = found.values()
        return cls(
            (normalize_name(name[0]) if name else "") or name_from_path(path),
            path,
            split_depends(depends),
            split_softdeps(softdeps) if softdeps else NO_SOFTDEPS,
            split_weakdeps(weakdeps) if weakdeps else (),
            tuple(dict.fromkeys(aliases)),
            tuple(dict.fromkeys(firmware)),
        )

    @property
    def builtin(self) -> bool:
        """Whether the module is part of the kernel image."""
        return self.path is None


@dataclass(frozen=True, slots=True)
class Catalog:
    """All modules of one kernel, each name once, in their defined order.

    The order is that of the answers: loadable modules first, as ``modules.order`` has them and then by name,
    behind them what is built in. Raises ArgumentError for two modules of one name.

    >>> catalog = Catalog((
    ...     Module("e1000e", "e1000e.ko", ("ptp",), aliases=("pci:v00008086d0000105E*",)),
    ...     Module("ptp", "ptp.ko", ("pps_core",)),
    ...     Module("pps_core"),
    ... ))
    >>> [module.name for module in catalog.lookup("pci:v00008086d0000105Esv0sd0bc02sc00i00")]
    ['e1000e']
    >>> [module.name for module in catalog.closure(["e1000e"])]
    ['ptp', 'e1000e']
    """

    modules: tuple[Module, ...]
    _positions: dict[str, int] = field(init=False, repr=False, compare=False)
    _indexes: dict[bool, Index] = field(init=False, repr=False, compare=False)
    # What `lookup` asks for what is loadable, once its index is there and is a `Matcher`, and single answers.
    _ways: Mapping[bytes, Lookup] | None = field(init=False, repr=False, compare=False)
    _elsewhere: Lookup = field(init=False, repr=False, compare=False)
    _alone: Sequence[tuple[Module]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        positions: dict[str, int] = {}
        for position, module in enumerate(self.modules):
            if positions.setdefault(module.name, position) != position:
                raise ArgumentError(f"two modules are called {module.name!r}")
        object.__setattr__(self, "_positions", positions)
        object.__setattr__(self, "_indexes", {})
        object.__setattr__(self, "_ways", None)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.modules,)  # the indexes are made again when they are needed

    @classmethod
    def from_modinfo(
        cls, infos: Iterable[ModuleInfo], *, order: Sequence[str] = (), search: Sequence[str] = DEFAULT_SEARCH
    ) -> Catalog:
        """Return the catalog of ``infos``; see `from_modules`."""
        return cls.from_modules(map(Module.from_info, infos), order=order, search=search)

    @classmethod
    def from_modules(
        cls, modules: Iterable[Module], *, order: Sequence[str] = (), search: Sequence[str] = DEFAULT_SEARCH
    ) -> Catalog:
        """Return the catalog of ``modules``, of which several may have one name.

        ``order`` lists paths as ``modules.order`` does. Of two files with one module name, the one whose
        directory comes first in ``search`` is taken (depmod.d(5); ``built-in`` is what comes with the kernel),
        then the one whose path sorts first. A module that is built in needs no file, so it wins over all.
        """
        rank = {_stem(path): position for position, path in enumerate(order)}
        chosen: dict[str, Module] = {}
        for module in modules:
            rival = chosen.setdefault(module.name, module)
            if rival is not module and file_rank(module.path, search) < file_rank(rival.path, search):
                chosen[module.name] = module
        loadable = [module for module in chosen.values() if module.path is not None]
        loadable.sort(key=lambda module: (rank.get(_stem(module.path or ""), len(rank)), module.name))
        builtin = [module for module in chosen.values() if module.path is None]
        return cls((*loadable, *builtin))

    def __len__(self) -> int:
        return len(self.modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.modules)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and normalize_name(name) in self._positions

    def __getitem__(self, name: str) -> Module:
        """Return the module called ``name``, with ``-`` or ``_``; raises ModuleNotFoundError."""
        position = self._positions.get(normalize_name(name))
        if position is None:
            raise ModuleNotFoundError(name)
        return self._at(position)

    def get(self, name: str) -> Module | None:
        """Return the module called ``name``, with ``-`` or ``_``, or None."""
        position = self._positions.get(normalize_name(name))
        return None if position is None else self._at(position)

    def lookup(self, modalias: str | bytes, *, builtin: bool = False) -> tuple[Module, ...]:
        """Return the modules that have an alias matching ``modalias``, in the catalog's order.

        ``-`` and ``_`` count as equal. What is built in is left out unless ``builtin``: nothing has to be
        loaded for it. Raises PatternError where a module made by hand has an alias with a NUL.
        """
        if type(modalias) is not bytes:
            modalias = to_bytes(modalias)
        if 45 in modalias:  # "-": most texts have none, and a call more would be a tenth of a lookup
            modalias = normalize_alias(modalias) if 91 in modalias else modalias.replace(b"-", b"_")
        ways = self._ways
        if ways is None or builtin:
            return self._lookup(modalias, builtin=builtin)
        # What `Matcher.lookup` does, and the tuples of single answers made before: a sixth of hdaudio's time.
        look = ways.get(modalias[WAY])
        found = look(modalias) if look is not None else self._elsewhere(modalias)
        if not found:
            return ()
        return self._alone[found[0]] if len(found) == 1 else self._ordered(found)

    def resolve(self, name: str) -> tuple[Module, ...]:
        """Return what modprobe would take ``name`` for: a module of that name, else those with that alias.

        A module that is built in comes after aliases: ``crc32`` means crc32-pclmul, which has that alias.
        """
        module = self.get(name)
        if module is None:
            return self.lookup(name, builtin=True)
        return (self.lookup(name) if module.builtin else ()) or (module,)

    def closure(
        self, names: Iterable[str], *, soft: bool = True, weak: bool = False, builtin: bool = False
    ) -> tuple[Module, ...]:
        """Return the modules called ``names`` and all that they need, in an order to load them in.

        Soft dependencies are followed where they exist, unless ``soft`` is False; weak ones, which are never
        loaded but belong into an image, come last where ``weak``. What is built in is left out unless
        ``builtin``. Raises ModuleNotFoundError, UnknownDependencyError and CycleError.
        """
        wanted = [self[name].name for name in names]
        order = load_order(
            wanted,
            self.needs,
            lambda name: self.soft_targets(name).pre if soft else (),
            lambda name: (
                *(self.soft_targets(name).post if soft else ()),
                *(self.weak_targets(name) if weak else ()),
            ),
        )
        modules = [self[name] for name in order]
        return tuple([module for module in modules if builtin or not module.builtin])

    def dependencies(self, name: str) -> tuple[Module, ...]:
        """Return all that the module called ``name`` needs, in load order, itself left out.

        Raises ModuleNotFoundError, UnknownDependencyError and CycleError.
        """
        module = self[name]
        return tuple(self[need] for need in hard_order(self.needs(module.name), self.needs))

    def needs(self, name: str) -> tuple[str, ...]:
        """Return the names of the direct hard dependencies of a module.

        Raises ModuleNotFoundError, and UnknownDependencyError where one of them is no module of the catalog.
        """
        module = self[name]
        for need in module.depends:
            if need not in self._positions:
                raise UnknownDependencyError(module.name, need)
        return module.depends

    def soft_targets(self, name: str) -> SoftDeps:
        """Return the names of the modules that the soft dependencies of a module mean.

        A soft dependency may name an alias, and then means every module that has it. Targets that do not exist,
        or cannot be loaded for want of a hard dependency, are left out, as their failure would not matter.
        Raises ModuleNotFoundError.
        """
        pre, post = self[name].softdeps
        return SoftDeps(self._targets(pre), self._targets(post)) if pre or post else NO_SOFTDEPS

    def weak_targets(self, name: str) -> tuple[str, ...]:
        """Return the names of the modules that the weak dependencies of a module mean, as `soft_targets` does."""
        return self._targets(self[name].weakdeps)

    def select(
        self,
        *,
        names: Iterable[str] = (),
        paths: Iterable[str] = (),
        modaliases: Iterable[str] = (),
        snapshot: Snapshot | None = None,
        rules: Sequence[str | Rule] = (),
        soft: bool = True,
        weak: bool = True,
    ) -> Selection:
        """Choose modules by any of these, with all they need; see `kmodkit.core.selection.select`.

        >>> catalog = Catalog((Module("r8169", "net/r8169.ko", ("libphy",)), Module("libphy", "libphy.ko")))
        >>> for chosen in catalog.select(names=["r8169"]).chosen:
        ...     print(*chosen.chain, sep="; ")
        r8169: named as r8169; libphy: r8169 needs it
        r8169: named as r8169
        """
        from kmodkit.core.selection import select  # it is built on this module

        return select(
            self,
            names=names,
            paths=paths,
            modaliases=modaliases,
            snapshot=snapshot,
            rules=rules,
            soft=soft,
            weak=weak,
        )

    @property
    def unknown_dependencies(self) -> Mapping[str, tuple[str, ...]]:
        """For each module that names a dependency the catalog does not have, the names of those."""
        missing = ((m.name, tuple(need for need in m.depends if need not in self._positions)) for m in self)
        return {name: needs for name, needs in missing if needs}

    def cycles(self) -> list[tuple[str, ...]]:
        """Return the cycles among hard dependencies, each with its first name again at the end."""
        return list(find_cycles({module.name: module.depends for module in self}))

    def pattern_tree(self, *, builtin: bool = False) -> RadixTree:
        """Return a new tree of the alias patterns as written, with positions in `modules` as values."""
        from kmodkit.core.radix import RadixTree  # of use to nothing but showing it

        tree = RadixTree()
        for position, module in enumerate(self.modules):
            if module.builtin == builtin:
                for alias in module.aliases:
                    tree.add(alias, position)
        return tree

    def _lookup(self, text: bytes, *, builtin: bool) -> tuple[Module, ...]:
        """Do what `lookup` does for a normalised text, by any index."""
        index = self._index(builtin=False)
        matcher: Any = index
        ways = getattr(matcher, "ways", None)  # which a `Matcher` has, that need not be imported for this
        if ways is not None:
            object.__setattr__(self, "_ways", ways)
            object.__setattr__(self, "_elsewhere", matcher.elsewhere)
            object.__setattr__(self, "_alone", [(module,) for module in self.modules])
        found = index.lookup(text)
        if builtin:
            found = tuple(sorted({*found, *self._index(builtin=True).lookup(text)}))
        return tuple([self._at(position) for position in found])

    def _ordered(self, found: tuple[int, ...]) -> tuple[Module, ...]:
        """Return the modules at the positions ``found``, in their order and each once."""
        if len(found) == 2:  # most of those with more than one: a tenth of the time of sorting
            low, high = found
            if low == high:
                return self._alone[low]
            modules = self.modules
            return (modules[low], modules[high]) if low < high else (modules[high], modules[low])
        return tuple([self.modules[position] for position in sorted({*found})])

    def _at(self, position: int) -> Module:
        return self.modules[position]

    def _index(self, *, builtin: bool) -> Index:
        """Return the index of normalised patterns of what is loadable, or of what is built in."""
        index = self._indexes.get(builtin)
        if index is None:
            from kmodkit.core.matcher import Matcher, normalized_text  # a meta.pb answers without

            index = self._indexes[builtin] = Matcher(
                (normalized_text(to_bytes(alias)), position)
                for position, module in enumerate(self.modules)
                if module.builtin == builtin
                for alias in module.aliases
            )
        return index

    def _targets(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the modules that soft or weak dependencies mean, as far as they can be loaded."""
        found = dict.fromkeys(module.name for name in names for module in self.resolve(name))
        return tuple(name for name in found if self._loadable(name))

    def _loadable(self, name: str) -> bool:
        try:
            hard_order([name], self.needs)
        except DependencyError:
            return False
        return True


def _stem(path: str) -> str:
    """Return ``path`` up to its ``.ko``: ``modules.order`` has no compression suffixes, and once had ``.o``."""
    directory, _, base = path.rpartition("/")
    if base.endswith(".ko"):
        return f"{directory}/{normalize_name(base[:-3])}"
    return f"{directory}/{name_from_path(base.removesuffix('.o'))}"


def file_rank(path: str | None, search: Sequence[str] = DEFAULT_SEARCH) -> tuple[int, str]:
    """Return a key that is lowest for the file to take of several with one module name.

    ``path`` is relative to the module root, None for what is built in; ``search`` as in `Catalog.from_modinfo`.
    """
    if path is None:
        return -1, ""
    for position, directory in enumerate(search):
        if path.startswith(directory.rstrip("/") + "/"):
            return position, path
    return search.index("built-in") if "built-in" in search else len(search), path
