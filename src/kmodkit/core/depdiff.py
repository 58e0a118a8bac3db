"""What came and what went between two sets of depmod's files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmodkit.core.kmodtext import parse_alias, parse_dep
from kmodkit.core.names import name_from_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Change:
    """What one side has and the other has not, each sorted."""

    added: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, old: Iterable[tuple[str, str]], new: Iterable[tuple[str, str]]) -> Change:
        """Return what is only in ``new``, and what is only in ``old``."""
        before, after = set(old), set(new)
        return cls(tuple(sorted(after - before)), tuple(sorted(before - after)))

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


@dataclass(frozen=True, slots=True)
class IndexDiff:
    """The differences of two trees.

    ``modules`` are pairs of a name and a path, ``aliases`` of a pattern and a module, ``symbols`` of a symbol and
    the module that exports it, ``dependencies`` of a module and one that it needs, of modules in both trees.
    """

    modules: Change
    aliases: Change
    symbols: Change
    dependencies: Change

    def __bool__(self) -> bool:
        return any((self.modules, self.aliases, self.symbols, self.dependencies))


def diff_indexes(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> IndexDiff:
    """Compare the contents of ``modules.dep``, ``modules.alias`` and ``modules.symbols``, by file name.

    A module that only changed the compression of its file is the same. Raises KmodIndexError.
    """
    needs = [_dependencies(files) for files in (old, new)]
    both = needs[0].keys() & needs[1].keys()
    return IndexDiff(
        Change.of(*(_paths(files) for files in (old, new))),
        Change.of(*(_pairs(files, "modules.alias") for files in (old, new))),
        Change.of(
            *([(text.removeprefix("symbol:"), name) for text, name in _pairs(files, "modules.symbols")]
              for files in (old, new))
        ),
        Change.of(*([(name, need) for name in both for need in found[name]] for found in needs)),
    )  # fmt: skip


def _pairs(files: Mapping[str, bytes], name: str) -> list[tuple[str, str]]:
    return parse_alias(files.get(name, b""), name)


def _paths(files: Mapping[str, bytes]) -> list[tuple[str, str]]:
    entries = parse_dep(files.get("modules.dep", b""), "modules.dep")
    return [(name_from_path(path), path.rpartition(".ko")[0] + ".ko") for path, _ in entries]


def _dependencies(files: Mapping[str, bytes]) -> dict[str, set[str]]:
    entries = parse_dep(files.get("modules.dep", b""), "modules.dep")
    return {name_from_path(path): set(map(name_from_path, needs)) for path, needs in entries}
