"""`InstalledIndex`: answers from the files that depmod left in a module tree, without opening a module.

The binary indexes are mapped when they are first asked, and a question reads the few nodes on its way; see
`kmodkit.core.kmodindex`. What only some questions need is imported by these: a lookup of one shot takes as long as
its imports.
"""

from __future__ import annotations

import mmap
import os

from kmodkit.core.kmodindex import IndexFile
from kmodkit.core.names import name_from_path, normalize_alias, normalize_name, to_bytes, to_text
from kmodkit.errors import FileError, KmodIndexError, ModuleNotFoundError
from kmodkit.kernel.opening import opened, read_file

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

    from kmodkit.core.catalog import Catalog
    from kmodkit.core.kmodindex import Value
    from kmodkit.core.kmodtext import Devname
    from kmodkit.core.modinfo import SoftDeps
    from kmodkit.kernel.files import ModuleTree

_ALIASES: Final = "modules.alias.bin"
MAX_FILE: Final = 256 << 20
"""An index has no room for more: its pointers have 28 bits."""


class InstalledIndex:
    """The files of depmod in the module tree ``root``.

    Its methods raise KmodIndexError for a file that breaks its format and FileError for one that cannot be read.
    A file that is missing, but for ``modules.dep.bin``, is as one without entries, since depmod leaves out what an
    older release did not know. Safe to use from threads.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._indexes: dict[str, IndexFile] = {}
        self._softdeps: dict[str, SoftDeps] | None = None
        self._weakdeps: dict[str, tuple[str, ...]] | None = None

    @classmethod
    def open(cls, root: str | os.PathLike[str] | ModuleTree) -> InstalledIndex:
        """Return the index of a module tree such as ``/lib/modules/RELEASE``.

        Raises FileError where it has no ``modules.dep.bin``, and KmodIndexError where that is no index.
        """
        index = cls(os.fspath(root) if isinstance(root, (str, os.PathLike)) else root.root)
        index._indexes["modules.dep.bin"] = _map(f"{index.root}/modules.dep.bin")
        return index

    @classmethod
    def find(cls, tree: str | os.PathLike[str] | None = None) -> InstalledIndex | None:
        """Return the index of a module tree as `kmodkit.find_tree` takes it, None where depmod was not run there.

        Raises TreeError where there is no such tree.
        """
        # Nearly always it is one of these, and what `find_tree` imports takes longer than the answer.
        root = f"/lib/modules/{os.uname().release}" if tree is None else os.fspath(tree)
        if not os.path.lexists(f"{root}/{_ALIASES}"):
            from kmodkit.kernel.files import find_tree

            root = find_tree(tree).root
        return cls(root) if os.path.lexists(f"{root}/{_ALIASES}") else None

    def names(self) -> tuple[str, ...]:
        """Return the names of all loadable modules, sorted."""
        return tuple(dict.fromkeys(to_text(key) for key, _ in self._index("modules.dep.bin").items()))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._dep(name) is not None

    def path(self, name: str) -> str | None:
        """Return the path of the module called ``name``, with ``-`` or ``_``, None where it is not there.

        It is relative to the root of the tree, unless the module lies outside of that.
        """
        line = self._dep(name)
        return None if line is None else line[0]

    def dependencies(self, name: str) -> tuple[str, ...]:
        """Return the paths of all that the module called ``name`` needs, in load order.

        Raises ModuleNotFoundError.
        """
        line = self._dep(name)
        if line is None:
            raise ModuleNotFoundError(name)
        return line[1]

    def lookup(self, modalias: str | bytes) -> tuple[str, ...]:
        """Return the names of the modules that have an alias for ``modalias``, each once, in libkmod's order."""
        return _names(self._matches(_ALIASES, modalias))

    def lookup_symbol(self, name: str | bytes) -> tuple[str, ...]:
        """Return the names of the modules that export a symbol, given as ``symbol:NAME`` or as ``NAME``."""
        symbol = to_bytes(name)
        return _names(
            self._matches("modules.symbols.bin", symbol if symbol.startswith(b"symbol:") else b"symbol:" + symbol)
        )

    def lookup_builtin(self, modalias: str | bytes) -> tuple[str, ...]:
        """Return the names of what is built in and has an alias for ``modalias``."""
        return _names(self._matches("modules.builtin.alias.bin", modalias))

    def builtin(self, name: str) -> bool:
        """Return whether a module is built into the kernel."""
        return bool(self._index("modules.builtin.bin").get(to_bytes(normalize_name(name))))

    def builtins(self) -> tuple[str, ...]:
        """Return the names of what is built in, sorted."""
        return tuple(dict.fromkeys(to_text(key) for key, _ in self._index("modules.builtin.bin").items()))

    def softdeps(self, name: str) -> SoftDeps:
        """Return the soft dependencies of a module, as it writes them."""
        from kmodkit.core.kmodtext import parse_softdep
        from kmodkit.core.modinfo import SoftDeps

        if self._softdeps is None:
            self._softdeps = parse_softdep(*self._text("modules.softdep"))
        return self._softdeps.get(normalize_name(name), SoftDeps())

    def weakdeps(self, name: str) -> tuple[str, ...]:
        """Return the weak dependencies of a module, as it writes them."""
        from kmodkit.core.kmodtext import parse_weakdep

        if self._weakdeps is None:
            self._weakdeps = parse_weakdep(*self._text("modules.weakdep"))
        return self._weakdeps.get(normalize_name(name), ())

    def aliases(self) -> list[tuple[str, str]]:
        """Return the pairs of an alias, as written, and its module, in the file's order."""
        from kmodkit.core.kmodtext import parse_alias

        return parse_alias(*self._text("modules.alias"))

    def symbols(self) -> list[tuple[str, str]]:
        """Return the pairs of an alias ``symbol:NAME`` and the module that exports it, in the file's order."""
        from kmodkit.core.kmodtext import parse_alias

        return parse_alias(*self._text("modules.symbols"))

    def devnames(self) -> list[Devname]:
        """Return the device nodes that load a module when they are opened."""
        from kmodkit.core.kmodtext import parse_devname

        return parse_devname(*self._text("modules.devname"))

    def catalog(self) -> Catalog:
        """Return the catalog of all modules.

        It has what depmod's files have: as the dependencies of a module all that it needs, also through others,
        in load order; no firmware of loadable modules; and the names that the files of modules have.
        """
        from kmodkit.core.catalog import Catalog
        from kmodkit.core.kmodtext import parse_dep, parse_list
        from kmodkit.core.modinfo import ModuleInfo
        from kmodkit.kernel.files import ModuleTree
        from kmodkit.scanner import builtin_modules  # brings threads along, which a lookup does without

        entries: dict[str, list[tuple[str, str]]] = {}
        for alias, module in self.aliases():
            entries.setdefault(module, []).append(("alias", alias))
        softdeps, weakdeps = (
            _texts(self._text(name)[0]) for name in ("modules.softdep", "modules.weakdep")
        )  # fmt: skip
        infos = []
        for path, needs in parse_dep(*self._text("modules.dep")):
            name = name_from_path(path)
            depends = ",".join(name_from_path(need) for need in reversed(needs))
            own = entries.get(name, [])
            soft = [("softdep", words) for words in softdeps.get(name, ())]
            weak = [("weakdep", words) for words in weakdeps.get(name, ())]
            infos.append(ModuleInfo((("name", name), ("depends", depends), *own, *soft, *weak), path))
        names = {info.name for info in infos}
        builtin = [info for info in builtin_modules(ModuleTree(self.root)) if info.name not in names]
        return Catalog.from_modinfo([*infos, *builtin], order=parse_list(self._text("modules.order")[0]))

    def _matches(self, file: str, modalias: str | bytes) -> list[Value]:
        return self._index(file).matches(normalize_alias(to_bytes(modalias)))

    def _dep(self, name: str) -> tuple[str, tuple[str, ...]] | None:
        found = self._index("modules.dep.bin").get(to_bytes(normalize_name(name)))
        if not found:
            return None
        path, colon, needs = to_text(found[0][1]).partition(":")
        if not colon:
            raise KmodIndexError(f"no path of module {name!r}", source=f"{self.root}/modules.dep.bin")
        return path, tuple(reversed(needs.split()))

    def _index(self, file: str) -> IndexFile:
        index = self._indexes.get(file)
        if index is None:
            path = f"{self.root}/{file}"
            index = _map(path) if os.path.lexists(path) else IndexFile.empty()
            self._indexes[file] = index
        return index

    def _text(self, file: str) -> tuple[bytes, str]:
        """Return the contents of a file and its name."""
        path = f"{self.root}/{file}"
        return (read_file(path, max_size=MAX_FILE) if os.path.lexists(path) else b""), path


def _map(path: str) -> IndexFile:
    with opened(path) as fd:
        size = os.fstat(fd).st_size
        if not size:
            # What depmod leaves where the kernel had no list of what is built in.
            return IndexFile.empty()
        if size > MAX_FILE:
            raise FileError(None, f"more than the limit of {MAX_FILE} bytes", path)
        try:
            # depmod and we replace the file and never write into it, so what is mapped stays.
            return IndexFile(mmap.mmap(fd, size, access=mmap.ACCESS_READ), source=path)
        except ValueError as error:
            raise FileError(None, str(error), path) from error


def _names(values: Iterable[Value]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(to_text(value) for _, value in values))


def _texts(data: bytes) -> Mapping[str, list[str]]:
    """Return what stands behind each module's name in modules.softdep or modules.weakdep."""
    found: dict[str, list[str]] = {}
    from kmodkit.core.kmodtext import parse_list

    for line in parse_list(data):
        _, _, rest = line.partition(" ")
        module, _, words = rest.partition(" ")
        found.setdefault(module, []).append(words)
    return found
