"""What a name means to modprobe: the first of several kinds of names that has an answer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from kmodkit.config.modprobe import normalize_pattern
from kmodkit.core.names import name_from_path, to_text
from kmodkit.errors import FileError
from kmodkit.installed import InstalledIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmodkit.config.modprobe import Alias, ModprobeConfig

Meaning = Literal[
    "alias line", "module", "symbol", "install or remove line", "module alias", "builtin alias", "builtin"
]
"""Which kind of name a name was, in the order they are tried."""


@dataclass(slots=True, eq=False)
class Target:
    """A module as one call sees it. ``alias`` is the name it was asked for by, where that was an alias.

    ``path`` is the file's, None for what has none, as what is built in. The rest is what planning notes on it.
    """

    name: str
    alias: str | None = None
    path: str | None = None
    builtin: bool = False
    visited: bool = False
    required: bool = False
    ignore_command: bool = False


class Found(NamedTuple):
    """What a name means. ``lines`` are the alias lines of the configuration that say so, one for each target."""

    meaning: Meaning | None
    targets: tuple[Target, ...]
    lines: tuple[Alias, ...] = ()


class NameIndex(InstalledIndex):
    """The index of a tree; a module comes once for each of its aliases that match, as in libkmod's answers."""

    def aliased(self, alias: str) -> tuple[str, ...]:
        """Return the modules that have an alias for ``alias``."""
        return tuple(to_text(value) for _, value in self._matches("modules.alias.bin", alias))

    def exporting(self, symbol: str) -> tuple[str, ...]:
        """Return the modules that export ``symbol``, which begins with ``symbol:``."""
        return tuple(to_text(value) for _, value in self._matches("modules.symbols.bin", symbol))


class Modules:
    """The modules of a tree under a configuration.

    A module is one `Target` for each alias it is asked for by, and one for its own name, as in libkmod; what is
    to be loaded before what depends on that. ``missing`` is called with the error for each dependency whose file
    is not there: it is left out.
    """

    def __init__(
        self,
        root: str,
        index: NameIndex,
        config: ModprobeConfig,
        missing: Callable[[FileError], object] = lambda _: None,
    ) -> None:
        self.root = root
        self.index = index
        self.config = config
        self._missing = missing
        self._pool: dict[tuple[str, str | None], Target] = {}
        self._dependencies: dict[str, tuple[Target, ...]] = {}

    def target(self, name: str, alias: str | None = None, path: str | None = None) -> Target:
        """Return the module ``name``, asked for by ``alias``; its file is ``path`` or the index's."""
        known = self._pool.get((name, alias))
        if known is None:
            if path is None:
                path = self.index.path(name)
            known = self._pool[name, alias] = Target(
                name, alias, self._absolute(path), builtin=path is None and self.index.builtin(name)
            )
        return known

    def forget_plans(self) -> None:
        """Take back what planning has noted on modules."""
        for target in self._pool.values():
            target.visited = target.required = target.ignore_command = False

    def from_path(self, path: str) -> Target:
        """Return the module in a file; raises FileError where that is not there."""
        absolute = f"{os.getcwd()}/{path.removeprefix('./')}" if path.startswith("./") else path  # noqa: PTH109
        try:
            os.stat(absolute)  # noqa: PTH116 - pathlib is 10 ms of the start
        except (OSError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) else None
            raise FileError(number, getattr(error, "strerror", None) or str(error), path) from error
        return self.target(name_from_path(absolute), path=absolute)

    def lookup(self, text: str) -> Found:
        """Return what ``text``, a name or an alias, means; a `Found` without targets where it means nothing."""
        name = normalize_pattern(text)
        if not name or "\0" in name:
            return Found(None, ())
        lines = self.config.aliases_of(name)
        if lines:
            return Found("alias line", tuple(self.target(line.module, name) for line in lines), lines)
        if ":" not in name and name in self.index:
            return Found("module", (self.target(name),))
        if name.startswith("symbol:"):
            symbols = self.index.exporting(text)
            if symbols:
                return Found("symbol", self._aliased(symbols, name))
        if self.config.has_command(name):
            return Found("install or remove line", (self.target(name),))
        modules = self.index.aliased(text)
        if modules:
            return Found("module alias", self._aliased(modules, name))
        modules = self.index.lookup_builtin(text)
        if modules:
            return Found("builtin alias", tuple(self.target(module) for module in modules))
        if self.index.builtin(name):
            return Found("builtin", (self.target(name),))
        return Found(None, ())

    def dependencies(self, target: Target) -> tuple[Target, ...]:
        """Return all that a module needs, in load order."""
        known = self._dependencies.get(target.name)
        if known is None:
            known = ()
            if target.name in self.index:
                known = tuple(filter(None, map(self._dependency, self.index.dependencies(target.name))))
            self._dependencies[target.name] = known
        return known

    def softdeps(self, target: Target) -> tuple[list[Target], list[Target]]:
        """Return what the soft dependencies of a module mean, as far as they mean anything: before and after."""
        soft = self.config.softdep(target.name)
        if soft is None:
            return [], []
        return self._meant(soft.pre), self._meant(soft.post)

    def _meant(self, names: tuple[str, ...]) -> list[Target]:
        return [target for name in names for target in self.lookup(name).targets]

    def _aliased(self, names: tuple[str, ...], alias: str) -> tuple[Target, ...]:
        return tuple(self.target(name, alias) for name in names)

    def _dependency(self, path: str) -> Target | None:
        absolute = self._absolute(path) or ""
        try:
            os.stat(absolute)  # noqa: PTH116
        except OSError as error:
            self._missing(FileError.wrap(error, absolute))
            return None
        return self.target(name_from_path(path), path=path)

    def _absolute(self, path: str | None) -> str | None:
        return path if path is None or path.startswith("/") else f"{self.root}/{path}"
