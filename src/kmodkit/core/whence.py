r"""WHENCE, the table of contents of linux-firmware.

Nothing but the repository's own scripts says what the format is; this follows ``copy-firmware.sh``, which
installs from it, and ``check_whence.py``, which checks it::

    File: brcm/bcm43xx-0.fw                   a file to install, under the same name
    File: "brcm/model B3 PLATFORM.txt"        names may be quoted,
    RawFile: brcm/model\ B3\ PLATFORM.txt     or have a backslash before a space; this one is never compressed
    Link: qcom/sm8250/a660_zap.mbn -> ../x    a link to install; the target is relative to the link's directory

Other lines of the form ``Word: text`` tell people about driver, version and licence. What is left, such as
rules of dashes and the text of licences, is not for programs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kmodkit.core.names import to_bytes, to_text
from kmodkit.errors import WhenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_LINKS: Final = 40
"""How many symbolic links one path may lead through, as in the kernel (MAXSYMLINKS, include/linux/namei.h)."""

MAX_PATH: Final = 4096
"""The kernel takes paths and targets shorter than this many bytes (PATH_MAX, include/uapi/linux/limits.h)."""

_LINE: Final = re.compile(rb"([A-Z][A-Za-z-]*):[ \t]*(.*)")
# Runs are taken whole, so that a line of any length costs its length.
_ATOM: Final = re.compile(rb'\\(.)|(")|([ \t]*->[ \t]*)|[ \t]+|[^\\" \t-]+|.', re.DOTALL)
_BLANK: Final = b" \t\r"


@dataclass(frozen=True, slots=True)
class WhenceFile:
    """A ``File:`` or ``RawFile:`` line: the file's name, and whether it must never be compressed."""

    name: str
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link: where it is, and its target as it is written."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class WhenceNote:
    """Any other line of the form ``Word: text``, such as ``Driver``, ``Version``, ``Licence`` or ``Info``."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Trail:
    """Where a path leads: the links on the way, in order, and the path at the end, which is through no link."""

    path: str
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Whence:
    r"""What a WHENCE lists, in the order of its lines.

    >>> whence = parse_whence("File: amd/a.bin\nLink: b.bin -> amd/a.bin\nLink: radeon -> amd\n")
    >>> whence.resolve("b.bin")
    Trail(path='amd/a.bin', links=(Link(path='b.bin', target='amd/a.bin'),))
    >>> whence.resolve("radeon/a.bin").path
    'amd/a.bin'
    """

    files: tuple[WhenceFile, ...] = ()
    links: tuple[Link, ...] = ()
    notes: tuple[WhenceNote, ...] = ()
    _names: frozenset[str] = field(init=False, repr=False, compare=False)
    _targets: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = frozenset(file.name for file in self.files)
        # Of two lines for one place the first counts, and a file before a link: `ln` refuses what is there.
        targets = {link.path: link.target for link in reversed(self.links) if link.path not in names}
        object.__setattr__(self, "_names", names)
        object.__setattr__(self, "_targets", targets)

    def __contains__(self, name: object) -> bool:
        """Whether there is a file line for exactly ``name``."""
        return name in self._names

    def target_of(self, path: str) -> str | None:
        """Return the target of the link that is listed at exactly ``path``, None where there is none."""
        return self._targets.get(path)

    def resolve(self, name: str) -> Trail | None:
        """Return the listed file that ``name`` leads to, and the links on the way.

        None where that is no listed file: the name is unknown, or its links lead nowhere, in a circle or out of
        the firmware directory.
        """
        trail = follow(name, self.target_of)
        return trail if trail is not None and trail.path in self._names else None


def follow(path: str, target_of: Callable[[str], str | None], *, rooted: bool = False) -> Trail | None:
    """Walk along ``path`` through a table of links, the way of path_resolution(7).

    ``target_of`` gives the target of the link at a path, None where no link is; it is only asked for paths whose
    directories are no links. Where ``rooted``, the top is the root of a file system: absolute targets begin there
    and its ``..`` is itself. Otherwise both lead out of the table. Returns None for a path that leads out of it,
    through more than `MAX_LINKS` links, or is not shorter than `MAX_PATH`. Whether there is anything at the end is
    for the caller to see.
    """
    if len(path) >= MAX_PATH:
        return None
    done: list[str] = []
    links: list[Link] = []
    pending = path.split("/")[::-1]
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not done and not rooted:
                return None
            del done[-1:]
            continue
        done.append(part)
        place = "/".join(done)
        target = target_of(place)
        if target is None:
            continue
        if len(links) == MAX_LINKS or len(target) >= MAX_PATH or (target.startswith("/") and not rooted):
            return None
        links.append(Link(place, target))
        del done[0 if target.startswith("/") else -1 :]
        pending += target.split("/")[::-1]
    return Trail("/".join(done), tuple(links))


def parse_whence(text: str | bytes) -> Whence:
    r"""Return what the text of a WHENCE lists.

    Raises WhenceError, with the offset of the line in bytes, for a ``File:``, ``RawFile:`` or ``Link:`` line that
    has no name, a quote that is not closed, or names something outside of the firmware directory.

    >>> whence = parse_whence('File: "a b.txt"\nLink: c\\ d.txt -> a\\ b.txt\nVersion: 3\n')
    >>> whence.files, whence.links
    ((WhenceFile(name='a b.txt', raw=False),), (Link(path='c d.txt', target='a b.txt'),))
    >>> whence.notes
    (WhenceNote(kind='Version', text='3'),)
    """
    try:
        data = to_bytes(text)
    except UnicodeError as error:
        raise WhenceError("holds half a surrogate pair, which is no text") from error
    files: dict[str, WhenceFile] = {}
    links: list[Link] = []
    notes: list[WhenceNote] = []
    for offset, kind, rest in _lines(data):
        if kind in ("File", "RawFile"):
            (name,) = _names(rest, offset, 1)
            files.setdefault(name, WhenceFile(_inside(name, offset), kind == "RawFile"))
        elif kind == "Link":
            path, target = _names(rest, offset, 2)
            links.append(Link(_inside(path, offset), target))
        else:
            notes.append(WhenceNote(kind, to_text(rest)))
    # For a while "Raw: NAME" beside a File line was what RawFile is now.
    for note in notes:
        if note.kind == "Raw" and note.text in files:
            files[note.text] = WhenceFile(note.text, raw=True)
    return Whence(tuple(files.values()), tuple(dict.fromkeys(links)), tuple(notes))


def _lines(data: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Yield offset, kind and rest of each line that has a kind."""
    offset = 0
    for line in data.split(b"\n"):
        if found := _LINE.match(line):
            yield offset, found[1].decode("ascii"), found[2].strip(_BLANK)
        offset += len(line) + 1


def _names(rest: bytes, offset: int, count: int) -> list[str]:
    """Return the names in the rest of a line, apart by arrows: exactly ``count``."""
    parts: list[list[bytes]] = [[]]
    quoted = False
    for atom in _ATOM.finditer(rest):
        escaped, quote, arrow = atom.groups()
        if quote:
            quoted = not quoted
        elif arrow and count > 1 and not quoted:
            parts.append([])
        else:
            parts[-1].append(escaped or atom[0])
    names = [b"".join(part) for part in parts]
    if quoted:
        raise WhenceError("a quote is not closed", offset=offset)
    if len(names) != count or not all(names):
        raise WhenceError("no name" if count == 1 else "not two names with -> between them", offset=offset)
    if any(0 in name for name in names):
        raise WhenceError("a name with a NUL byte", offset=offset)
    return list(map(to_text, names))


def _inside(name: str, offset: int) -> str:
    """Return ``name``; raises WhenceError where it could be installed outside of the firmware directory."""
    if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
        raise WhenceError(f"not a plain path below the firmware directory: {name!r}", offset=offset)
    return name
