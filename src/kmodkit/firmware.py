"""The firmware that modules ask for: from their patterns to the files and links to keep.

A module names its firmware by paths below the firmware directory, some of them with wildcards (``brcm/*.bin``;
like the shell's, they do not match ``/``). A source answers where a path leads: `InstalledFirmware` is a root file
system, `checkout_firmware` a checkout of linux-firmware, `listed_firmware` the output of a build system.

What comes out can be put below any firmware directory: no link in it is absolute, leads out of it, or passes
through a directory that is not in it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from kmodkit.core.alias import Pattern
from kmodkit.core.whence import MAX_PATH, Link, Trail, Whence, follow, parse_whence
from kmodkit.errors import MissingFirmwareError, WhenceError
from kmodkit.kernel.opening import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kmodkit.core.catalog import Module

FIRMWARE_DIRECTORIES: Final = ("lib/firmware", "usr/lib/firmware")
COMPRESSIONS: Final = ("", ".zst", ".xz")
"""What the kernel adds to a name, in its order: it looks for the plain file in every directory first."""

_WILD: Final = frozenset("*?[\\")
_MAX_WHENCE: Final = 64 << 20

_Part: TypeAlias = str | Pattern


class Need(NamedTuple):
    """That ``module`` asks for ``pattern``."""

    module: str
    pattern: str


@dataclass(frozen=True, slots=True)
class FirmwareFile:
    """A file to keep: its path below the firmware directory, where it is now, and who asked for it."""

    path: str
    source: str
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class FirmwareLink:
    """A symbolic link to keep: its path below the firmware directory, its target, and who asked for it."""

    path: str
    target: str
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class FirmwareSelection:
    """The firmware of some modules, everything sorted.

    ``missing`` has the needs that the source has nothing for. ``builtin`` has the needs of modules that are built
    in, which may ask before any file system is there.
    """

    files: tuple[FirmwareFile, ...] = ()
    links: tuple[FirmwareLink, ...] = ()
    missing: tuple[Need, ...] = ()
    builtin: tuple[Need, ...] = ()


class Found(NamedTuple):
    """Where a name leads: the file's path below the firmware directory, its source, and the links on the way.

    ``rank`` is the place of its directory in the order of the search. Of two things for one path, which only
    different directories can give, the one of lower rank is kept.
    """

    path: str
    source: str
    links: tuple[Link, ...] = ()
    rank: int = 0


class FirmwareSource(Protocol):
    """Something that has firmware."""

    def find(self, name: str) -> Found | None:
        """Return where the kernel's request for ``name`` leads, None where that is no file."""

    def expand(self, parts: Sequence[_Part]) -> Iterable[str]:
        """Return names that may match a path of components, each of them a name or a pattern."""


def resolve_firmware(
    modules: Iterable[Module], source: FirmwareSource, *, strict: bool = False
) -> FirmwareSelection:
    """Return the firmware in ``source`` that ``modules`` ask for.

    The order of ``modules`` is of no consequence. Raises MissingFirmwareError where ``strict`` and something is
    missing.

    >>> from kmodkit.core.catalog import Module
    >>> source = listed_firmware(["out/fw/rtl_nic/rtl8168h-2.fw"])
    >>> r8169 = Module("r8169", "r8169.ko", firmware=("rtl_nic/rtl8168h-2.fw", "x.fw"))
    >>> chosen = resolve_firmware([r8169], source)
    >>> [(file.path, file.source) for file in chosen.files]
    [('rtl_nic/rtl8168h-2.fw', 'out/fw/rtl_nic/rtl8168h-2.fw')]
    >>> chosen.missing
    (Need(module='r8169', pattern='x.fw'),)
    """
    wanted = list(modules)
    needs = {Need(module.name, pattern) for module in wanted for pattern in module.firmware}
    builtin = {Need(module.name, pattern) for module in wanted if module.builtin for pattern in module.firmware}
    by_pattern: dict[str, set[Need]] = {}
    for need in needs:
        by_pattern.setdefault(need.pattern, set()).add(need)
    missing: list[Need] = []
    entries: dict[str, _Entry] = {}
    for pattern, asking in by_pattern.items():
        found = _find_all(source, pattern)
        if not found:
            missing += asking
        for one in found:
            _add(entries, one.path, _Entry(one.rank, source=one.source), asking)
            for link in one.links:
                _add(entries, link.path, _Entry(one.rank, target=link.target), asking)
    if strict and missing:
        raise MissingFirmwareError(sorted(missing))
    ordered = sorted(entries.items())
    return FirmwareSelection(
        tuple(FirmwareFile(path, e.source, tuple(sorted(e.needs))) for path, e in ordered if e.source is not None),
        tuple(FirmwareLink(path, e.target, tuple(sorted(e.needs))) for path, e in ordered if e.target is not None),
        tuple(sorted(missing)),
        tuple(sorted(builtin)),
    )


@dataclass(slots=True)
class _Entry:
    """What is to be at one path: a file with a source, or a link with a target."""

    rank: int
    source: str | None = None
    target: str | None = None
    needs: set[Need] = field(default_factory=set)


def _add(entries: dict[str, _Entry], path: str, entry: _Entry, needs: set[Need]) -> None:
    there = entries.setdefault(path, entry)
    if entry.rank < there.rank:
        there.rank, there.source, there.target = entry.rank, entry.source, entry.target
    there.needs |= needs


def _find_all(source: FirmwareSource, pattern: str) -> list[Found]:
    components = [part for part in pattern.split("/") if part not in ("", ".")]
    # The kernel refuses such a name since 6.12, and it could lead anywhere.
    if not components or ".." in components or "\0" in pattern or len(pattern) >= MAX_PATH:
        return []
    exact = source.find("/".join(components))
    if exact is not None or _WILD.isdisjoint(pattern):
        return [] if exact is None else [exact]
    parts = [part if _WILD.isdisjoint(part) else Pattern.parse(part) for part in components]
    return [found for name in sorted(set(source.expand(parts))) if (found := source.find(name))]


# --- an installed system ------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """One directory of the search: ``base`` in the root file system, through no link, and what is below it."""

    base: str
    prefix: str


@dataclass(frozen=True, slots=True, eq=False)
class InstalledFirmware:
    """The firmware of a root file system, searched as the kernel does (drivers/base/firmware_loader/main.c).

    The order is ``custom``, which is the parameter ``firmware_class.path``, then ``updates/RELEASE``,
    ``updates``, ``RELEASE`` and nothing below each of ``directories``; all of them for the plain file, then all
    for ``.zst``, then for ``.xz``. What is found in ``custom`` keeps its name, what is found below
    ``updates`` or ``RELEASE`` its place.

    Links are followed within ``root``: absolute ones begin there and none leads above it. One that leads out of
    the firmware directory is not kept; in its place is what it leads to.
    """

    root: str = "/"
    release: str | None = None
    custom: str | None = None
    directories: tuple[str, ...] = FIRMWARE_DIRECTORIES
    _places: tuple[_Place, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        below = (
            [f"updates/{self.release}/", "updates/", f"{self.release}/", ""] if self.release else ["updates/", ""]
        )
        custom = [(self.custom, "")] if self.custom else []
        found: dict[_Place, None] = {}
        for directory, prefix in [*custom, *((base, prefix) for base in self.directories for prefix in below)]:
            base = self._resolve(directory)
            there = self._resolve(f"{base}/{prefix}") if base is not None else None
            if base is not None and there is not None and _is_kind(stat.S_ISDIR, self._host(there)):
                found[_Place(base, prefix)] = None
        object.__setattr__(self, "_places", tuple(found))

    @property
    def exists(self) -> bool:
        """Whether there is any of the directories."""
        return bool(self._places)

    def find(self, name: str) -> Found | None:
        """Return where ``name`` leads, the first of all directories and compressions."""
        for suffix in COMPRESSIONS:
            for rank, place in enumerate(self._places):
                trail = follow(place.prefix + name + suffix, partial(self._inner, place.base))
                real = self._resolve(f"{place.base}/{trail.path}") if trail else None
                if trail and real is not None and _is_kind(stat.S_ISREG, self._host(real)):
                    return Found(trail.path, self._host(real), trail.links, rank)
        return None

    def expand(self, parts: Sequence[_Part]) -> Iterator[str]:
        """Yield the names in all directories that match, without the suffix of a compression."""
        for place in self._places:
            tops = [""]
            for part in parts:
                found = [name for top in tops for name in self._matching(place, top, part)]
                tops = [f"{name}/" for name in found]
            yield from (top[:-1] for top in tops)

    def _matching(self, place: _Place, top: str, part: _Part) -> list[str]:
        """Return the names below ``top`` that match; one that is no pattern need not be there."""
        if isinstance(part, str):
            return [top + part]
        directory = self._resolve(f"{place.base}/{place.prefix}{top}")
        try:
            entries = os.listdir(self._host(directory)) if directory is not None else []  # noqa: PTH208 - names only
        except OSError:
            return []
        return [top + name for entry in entries if (name := _logical(entry, part)) is not None]

    def _host(self, path: str) -> str:
        """Return the path outside of the root for a path in it."""
        return f"{self.root.rstrip('/')}/{path}"

    def _target(self, path: str) -> str | None:
        try:
            return os.readlink(self._host(path))  # noqa: PTH115 - a Path would lose what the link says exactly
        except (OSError, ValueError):
            return None

    def _resolve(self, path: str) -> str | None:
        """Return ``path`` without links, None where they go round in a circle."""
        trail = follow(path, self._target, rooted=True)
        return trail.path if trail else None

    def _inner(self, base: str, path: str) -> str | None:
        """Return the target of the link at ``path`` below ``base``, None where it is none to be kept."""
        target = self._target(f"{base}/{path}")
        if target is None:
            return None
        above = f"{base}/{path}".rpartition("/")[0]
        end = self._resolve(target if target.startswith("/") else f"{above}/{target}")
        if end is None or not _is_below(end, base):
            return None
        ups = _ups(target)
        return target if ups is not None and ups <= path.count("/") else _relative(end, above)


def _is_kind(kind: Callable[[int], bool], path: str) -> bool:
    try:
        return kind(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


# --- a table of files ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class TableFirmware:
    """Firmware by name, and the links of a WHENCE between the names.

    ``sources`` maps a path below the firmware directory to where the file is now. Make one by
    `checkout_firmware` or `listed_firmware`.
    """

    sources: Mapping[str, str]
    whence: Whence

    def find(self, name: str) -> Found | None:
        """Return where ``name`` leads, plain before compressed."""
        trail = follow(name, self._target)
        if trail is None:
            return None
        for suffix in COMPRESSIONS:
            source = self.sources.get(trail.path + suffix)
            if source is not None:
                links = [self._compressed(link, trail, suffix) for link in trail.links]
                return Found(trail.path + suffix, source, tuple(links))
        return None

    def expand(self, parts: Sequence[_Part]) -> Iterator[str]:
        """Yield the names that match, without the suffix of a compression."""
        for name in self._names():
            above, _, last = name.rpartition("/")
            components = above.split("/") if above else []
            if len(components) == len(parts) - 1 and all(map(_matches, components, parts)):
                logical = _logical(last, parts[-1])
                if logical is not None:
                    yield f"{above}/{logical}" if above else logical

    def _names(self) -> Iterator[str]:
        """Yield every name there is, those through one link to a directory included."""
        yield from self.sources
        for link in self.whence.links:
            yield link.path
            trail = follow(link.path, self._target)
            if trail is not None and trail.path not in self.sources:
                top = trail.path + "/"
                yield from (f"{link.path}/{name[len(top) :]}" for name in self.sources if name.startswith(top))

    def _target(self, path: str) -> str | None:
        target = self.whence.target_of(path)
        if target is None or _ups(target) is not None:
            return target
        above = path.rpartition("/")[0]
        trail = None if target.startswith("/") else follow(f"{above}/{target}", self.whence.target_of)
        # A target that leads out is left as it is: follow() ends there.
        return target if trail is None else _relative(trail.path, above)

    def _compressed(self, link: Link, trail: Trail, suffix: str) -> Link:
        """Return the link as it has to be when the file at the end has ``suffix``."""
        end = follow(link.path, self._target)
        to_file = end is not None and end.path == trail.path
        return Link(link.path + suffix, link.target + suffix) if to_file else link


def checkout_firmware(directory: str | os.PathLike[str]) -> TableFirmware:
    """Return the firmware of a checkout of linux-firmware: the files that its WHENCE lists and that are there.

    Raises FileError where there is no WHENCE, WhenceError where it cannot be read.
    """
    top = Path(directory)
    whence = read_whence(top / "WHENCE")
    root = os.path.realpath(top)
    sources: dict[str, str] = {}
    for file in whence.files:
        # Old checkouts have links for some files; one that leads out of the checkout is not taken.
        real = os.path.realpath(top / file.name)
        if _is_below(real, root) and _is_kind(stat.S_ISREG, real):
            sources[file.name] = str(top / file.name)
    return TableFirmware(sources, whence)


def listed_firmware(paths: Iterable[str], whence: Whence | None = None) -> TableFirmware:
    """Return the firmware of a list of files, wherever a build system has put them.

    A name means the file whose path ends in its components. Of several, it is the one with the fewest others
    before them, then the one that sorts first; the order of ``paths`` is of no consequence.
    """
    sources: dict[str, str] = {}
    usable = (path for path in paths if len(path) < MAX_PATH)
    split = {path: [part for part in path.split("/") if part not in ("", ".")] for path in usable}
    # All endings are entered: to compare each name with each path would be files times names.
    for path, parts in sorted(split.items(), key=lambda item: (len(item[1]), item[0])):
        for start in range(len(parts)):
            sources.setdefault("/".join(parts[start:]), path)
    return TableFirmware(sources, whence or Whence())


def read_whence(path: str | os.PathLike[str]) -> Whence:
    """Return what a WHENCE file lists; raises FileError and WhenceError."""
    try:
        return parse_whence(read_file(path, max_size=_MAX_WHENCE))
    except WhenceError as error:
        error.source = os.fspath(path)
        raise


# --- names and targets --------------------------------------------------------------------------------------


def _matches(component: str, part: _Part) -> bool:
    return component == part if isinstance(part, str) else part.matches(component)


def _logical(entry: str, part: _Part) -> str | None:
    """Return the name to ask for that the directory entry ``entry`` answers, if it matches ``part``."""
    for suffix in (".zst", ".xz"):
        if entry.endswith(suffix) and _matches(entry.removesuffix(suffix), part):
            return entry.removesuffix(suffix)
    return entry if _matches(entry, part) else None


def _ups(target: str) -> int | None:
    """Return how often a target goes up, all of it at its start; None where it is absolute or goes up later.

    Such a target passes through no directory that is not on the way to where it leads.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = parts.count("..")
    return None if target.startswith("/") or ".." in parts[ups:] else ups


def _is_below(path: str, top: str) -> bool:
    return not top or f"{path}/".startswith(f"{top}/")


def _relative(path: str, start: str) -> str:
    """Return ``path`` as seen from the directory ``start``, both below one top."""
    return posixpath.relpath(f"/{path}", f"/{start}")
