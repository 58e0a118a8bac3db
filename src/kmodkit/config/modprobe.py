r"""modprobe's configuration: the text of modprobe.d(5) files in, values that know their file and line out.

::

    file      = *(line LF)
    line      = directive *(blank word) | "#" anything | empty
    directive = "alias" pattern module | "blacklist" module | "options" module text
              | "install" module command | "remove" module command
              | "softdep" module ["pre:" *name] ["post:" *name] | "weakdep" module *name

Blanks are spaces and tabs. A backslash takes the next byte as it is, and joins lines where that is a line end; a
joined line that begins with ``#`` is a comment as a whole. In names of modules and aliases ``-`` becomes ``_``
outside of brackets; brackets that are not in pairs make a line a bad one.

>>> config = parse_modprobe_conf("alias eth0 e1000e\noptions e1000e debug=1\n", "a.conf")
>>> config.options[0].module, config.options[0].text, str(config.options[0].origin)
('e1000e', 'debug=1', 'a.conf:2')
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from kmodkit.core.names import normalize_name, to_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CommandKind = Literal["install", "remove"]

# What isspace(3) is true for in the C locale; softdep and weakdep lines are split there.
_SPACES: Final = " \t\n\v\f\r"
_WILD: Final = frozenset("*?[\\")


class Origin(NamedTuple):
    """Where something was said: the file, and the number of its line, or of the first of joined lines."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Alias(NamedTuple):
    """``alias pattern module``: what the pattern matches means the module."""

    pattern: str
    module: str
    origin: Origin


class Blacklist(NamedTuple):
    """``blacklist module``: aliases do not lead to the module."""

    module: str
    origin: Origin


class Options(NamedTuple):
    """``options module text``: parameters, for a module or for the alias that was asked for."""

    module: str
    text: str
    origin: Origin


class Command(NamedTuple):
    """``install module command`` or ``remove``: run instead; ``module`` is a pattern."""

    module: str
    command: str
    origin: Origin


class SoftDep(NamedTuple):
    """``softdep module pre: ... post: ...``; ``module`` is a pattern, ``words`` are names and the list of each."""

    module: str
    words: tuple[tuple[Literal["pre", "post"], str], ...]
    origin: Origin

    @property
    def pre(self) -> tuple[str, ...]:
        """The names to load before the module."""
        return tuple(word for kind, word in self.words if kind == "pre")

    @property
    def post(self) -> tuple[str, ...]:
        """The names to load after the module."""
        return tuple(word for kind, word in self.words if kind == "post")


class WeakDep(NamedTuple):
    """``weakdep module ...``: modules that belong into an image with it, and are never loaded for it."""

    module: str
    names: tuple[str, ...]
    origin: Origin


class Problem(NamedTuple):
    """What is wrong with a line; ``text`` names the file, in the words of kmod that a script may look for."""

    text: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class ModprobeConfig:
    """All that files and the kernel command line say, each kind in the order it was said in."""

    blacklist: tuple[Blacklist, ...] = ()
    install: tuple[Command, ...] = ()
    remove: tuple[Command, ...] = ()
    aliases: tuple[Alias, ...] = ()
    options: tuple[Options, ...] = ()
    softdeps: tuple[SoftDep, ...] = ()
    weakdeps: tuple[WeakDep, ...] = ()
    problems: tuple[Problem, ...] = ()

    @classmethod
    def join(cls, parts: Iterable[ModprobeConfig]) -> ModprobeConfig:
        """Return what several files say, one after the other."""
        parts = tuple(parts)
        return cls(
            **{
                field.name: tuple(one for part in parts for one in getattr(part, field.name))
                for field in fields(cls)
            }
        )

    def aliases_of(self, name: str) -> tuple[Alias, ...]:
        """Return the aliases that match ``name``, which has ``_``."""
        return tuple(alias for alias in self.aliases if matches(alias.pattern, name))

    def blacklisting(self, module: str) -> Blacklist | None:
        """Return the line that blacklists the module, None where none does."""
        # From the kernel command line names come as they are written there, with - and in quotes.
        return next((one for one in self.blacklist if normalize_name(one.module.strip('"')) == module), None)

    def options_of(self, module: str, alias: str | None = None) -> tuple[Options, ...]:
        """Return the parameters for the module, and for the alias that it was asked for by."""
        return tuple(one for one in self.options if one.module in (module, alias))

    def command(self, kind: CommandKind, module: str) -> Command | None:
        """Return the command to run instead of loading or removing the module; the first one counts."""
        commands = self.install if kind == "install" else self.remove
        return next((one for one in commands if matches(one.module, module)), None)

    def has_command(self, name: str) -> bool:
        """Return whether an install or remove line is about just this name, which then need be no module's."""
        return any(one.module == name for one in (*self.install, *self.remove))

    def softdep(self, module: str) -> SoftDep | None:
        """Return the soft dependencies of the module; the first line counts."""
        return next((one for one in self.softdeps if matches(one.module, module)), None)

    def lines(self) -> Iterator[str]:
        """Yield what ``modprobe --showconfig`` prints of it."""
        for black in self.blacklist:
            yield f"blacklist {black.module}"
        for kind, commands in (("install", self.install), ("remove", self.remove)):
            for command in commands:
                yield f"{kind} {command.module} {command.command}"
        for alias in self.aliases:
            yield f"alias {alias.pattern} {alias.module}"
        for options in self.options:
            yield f"options {options.module} {options.text}"
        for soft in self.softdeps:
            yield f"softdep {soft.module} {_softdep_text(soft)}"
        for weak in self.weakdeps:
            yield f"weakdep {weak.module} {' '.join(weak.names)}"


def matches(pattern: str, name: str) -> bool:
    """Return whether a pattern of the configuration matches a name, as fnmatch(3) does."""
    if pattern == name:
        return True
    if _WILD.isdisjoint(pattern):
        return False
    from kmodkit.core.alias import Pattern  # brings re along, which plain names do without

    return Pattern.parse(pattern).matches(name)


def normalize_pattern(text: str) -> str | None:
    """Return ``text`` with ``_`` for ``-`` outside of brackets, None where brackets are not in pairs.

    >>> normalize_pattern("snd-[a-c]-*"), normalize_pattern("a[b")
    ('snd_[a-c]_*', None)
    """
    if "[" not in text and "]" not in text:
        return text.replace("-", "_")
    parts: list[str] = []
    rest = text
    while rest:
        outside, bracket, rest = rest.partition("[")
        if "]" in outside:
            return None
        parts.append(outside.replace("-", "_"))
        if bracket:
            inside, end, rest = rest.partition("]")
            if not end:
                return None
            parts.append(f"[{inside}]")
    return "".join(parts)


def parse_modprobe_conf(data: str | bytes, path: str) -> ModprobeConfig:
    """Return what the file ``path`` with the contents ``data`` says; what cannot be used is in ``problems``."""
    found: dict[str, list[object]] = {field.name: [] for field in fields(ModprobeConfig)}
    for line, origin, last in _lines(data if isinstance(data, str) else to_text(data), path):
        word, rest = _word(line)
        # A comment has its mark in the first column; an indented one is a bad line, to kmod as well.
        if not word or line.startswith("#"):
            continue
        if word in ("include", "config"):
            text = f"{path}: command {word} is deprecated and not parsed anymore"
            found["problems"].append(Problem(text, origin))
            continue
        made = _directive(word, rest, origin)
        if made is None:
            text = f"{path} line {last}: ignoring bad line starting with '{word}'"
            found["problems"].append(Problem(text, origin))
        else:
            found[made[0]].append(made[1])
    return ModprobeConfig(**{kind: tuple(values) for kind, values in found.items()})  # type: ignore[arg-type]


def _lines(text: str, path: str) -> Iterator[tuple[str, Origin, int]]:
    """Yield each line, joined ones as one, with its origin and the number of its last line in the file."""
    pieces: list[str] = []
    start = number = 1
    rows = text.split("\n")
    if rows[-1] == "":
        rows.pop()
    for number, row in enumerate(rows, 1):
        plain, joined = _unescape(row)
        pieces.append(plain)
        if joined:
            continue
        yield "".join(pieces).partition("\0")[0], Origin(path, start), number
        pieces.clear()
        start = number + 1
    if pieces:
        # Joined to a line that is not there, which kmod counts.
        yield "".join(pieces).partition("\0")[0], Origin(path, start), number + text.endswith("\n")


def _unescape(row: str) -> tuple[str, bool]:
    """Return a line without its backslashes, and whether the last one stands before the line's end."""
    if "\\" not in row:
        return row, False
    parts: list[str] = []
    while True:
        plain, escape, row = row.partition("\\")
        parts.append(plain)
        if not escape or not row:
            return "".join(parts), bool(escape)
        parts.append(row[0])
        row = row[1:]


def _word(text: str) -> tuple[str, str]:
    """Return the first word of ``text`` and what stands behind the one blank that ends it."""
    text = text.lstrip(" \t")
    for end, character in enumerate(text):
        if character in " \t":
            return text[:end], text[end + 1 :]
    return text, ""


def _directive(word: str, rest: str, origin: Origin) -> tuple[str, object] | None:
    """Return the kind and the value of one line, None where it is a bad one."""
    first, rest = _word(rest)
    name = normalize_pattern(first)
    if not name:
        return None
    if word == "blacklist":
        return "blacklist", Blacklist(name, origin)
    if word == "alias":
        module = normalize_pattern(_word(rest)[0])
        return ("aliases", Alias(name, module, origin)) if module else None
    if not rest:
        return None
    if word == "options":
        # kmod gives tabs to the kernel as blanks.
        return "options", Options(name, rest.replace("\t", " "), origin)
    if word in ("install", "remove"):
        return word, Command(name, rest, origin)
    if word == "softdep":
        return "softdeps", SoftDep(name, _softdep_words(rest), origin)
    if word == "weakdep":
        # A blank too many makes kmod see an empty name, which it prints and never finds.
        leading = ("",) if rest[0] in _SPACES else ()
        return "weakdeps", WeakDep(name, (*leading, *_split(rest)), origin)
    return None


def _split(text: str) -> list[str]:
    for space in _SPACES[1:]:
        text = text.replace(space, " ")
    return [word for word in text.split(" ") if word]


def _softdep_words(text: str) -> tuple[tuple[Literal["pre", "post"], str], ...]:
    words: list[tuple[Literal["pre", "post"], str]] = []
    kind: Literal["pre", "post"] | None = None
    for word in _split(text):
        if word == "pre:":
            kind = "pre"
        elif word == "post:":
            kind = "post"
        elif kind is not None:
            words.append((kind, word))
    return tuple(words)


def _softdep_text(soft: SoftDep) -> str:
    """Return soft dependencies as kmod prints them.

    It has the words in one piece of memory and prints all from the first of a list to its last, those of the other
    list between them included, and nothing between the two lists.
    """
    text = ""
    for kind in ("pre", "post"):
        places = [place for place, (found, _) in enumerate(soft.words) if found == kind]
        if places:
            text += f"{kind}: " + " ".join(word for _, word in soft.words[places[0] : places[-1] + 1])
    return text
