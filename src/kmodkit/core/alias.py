r"""One alias pattern: its text to tokens, and the test of one string.

The language is fnmatch(3) with no flags in the C locale, over bytes and over the whole string: ``*`` (any
run, ``/`` and the empty one included), ``?`` (one byte), ``[...]`` with ranges, sets, ``!`` or ``^``
negation, ``[:class:]``, ``[=x=]`` and ``[.x.]``, and ``\`` escapes. Corners POSIX leaves open follow glibc:
an unclosed ``[`` stands for itself, a trailing ``\`` and an unknown class match nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from kmodkit.core.names import to_bytes, to_text
from kmodkit.errors import PatternError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Wild(enum.Enum):
    """The two wildcards: `STAR` matches any run of bytes, `ANY` exactly one."""

    STAR = "*"
    ANY = "?"

    def __repr__(self) -> str:
        return f"Wild.{self.name}"


STAR: Final = Wild.STAR
ANY: Final = Wild.ANY


@dataclass(frozen=True, slots=True, order=True)
class ByteSet:
    """One byte out of a set: inclusive ``(low, high)`` ranges, ascending, apart by at least one."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, members: Iterable[int]) -> ByteSet:
        """Return the set of the given byte values."""
        ranges: list[tuple[int, int]] = []
        for byte in sorted(set(members)):
            if ranges and ranges[-1][1] == byte - 1:
                ranges[-1] = (ranges[-1][0], byte)
            else:
                ranges.append((byte, byte))
        return cls(tuple(ranges))

    def __contains__(self, byte: int) -> bool:
        return any(low <= byte <= high for low, high in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for low, high in self.ranges:
            yield from range(low, high + 1)


Token: TypeAlias = bytes | Wild | ByteSet

_NEVER = ByteSet(())
_SPECIAL = frozenset(b"*?[\\")
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_DIGITS = b"0123456789"
_PRINTABLE = frozenset(range(0x20, 0x7F))
_ALNUM = frozenset(_LETTERS + _LETTERS.upper() + _DIGITS)
# isalpha(3) and its kin in the C locale.
_CLASSES: Final[dict[bytes, frozenset[int]]] = {
    b"alnum": _ALNUM,
    b"alpha": _ALNUM - frozenset(_DIGITS),
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset(range(0x20)) | {0x7F},
    b"digit": frozenset(_DIGITS),
    b"graph": _PRINTABLE - {0x20},
    b"lower": frozenset(_LETTERS),
    b"print": _PRINTABLE,
    b"punct": _PRINTABLE - {0x20} - _ALNUM,
    b"space": frozenset(b" \t\n\v\f\r"),
    b"upper": frozenset(_LETTERS.upper()),
    b"xdigit": frozenset(_DIGITS + b"abcdefABCDEF"),
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """An alias pattern as tokens; two patterns are equal where their tokens are.

    Tokens are literal runs (non-empty ``bytes``, never two in a row), `STAR` (never two in a row), `ANY` and
    `ByteSet`. Every text without a NUL byte is a pattern.

    >>> pattern = Pattern.parse("pci:v00008086d*sc0[0-3]*")
    >>> pattern.tokens
    (b'pci:v00008086d', Wild.STAR, b'sc0', ByteSet(ranges=((48, 51),)), Wild.STAR)
    >>> pattern.matches("pci:v00008086d00001591sc00")
    True
    """

    tokens: tuple[Token, ...]

    @classmethod
    def parse(cls, text: str | bytes) -> Pattern:
        """Return the pattern that ``text`` writes down, as it stands (see `core.names.normalize_alias`).

        Raises PatternError for a NUL byte, which no C string can hold.
        """
        data = to_bytes(text)
        nul = data.find(0)
        if nul >= 0:
            raise PatternError("a pattern cannot hold a NUL byte", offset=nul, source=repr(to_text(data)))
        return cls(_parse(data))

    def normalized(self) -> Pattern:
        """Return the pattern with ``-`` as ``_`` where it stands for itself, as `normalize_alias` does to text."""
        return Pattern(
            tuple(token.replace(b"-", b"_") if isinstance(token, bytes) else token for token in self.tokens)
        )

    def matches(self, text: str | bytes) -> bool:
        """Return whether the whole of ``text`` matches; the cost is at most pattern x text length."""
        return _match(self.tokens, to_bytes(text))

    def __bytes__(self) -> bytes:
        """Return a text that parses to the same tokens."""
        return b"".join(_token_text(token) for token in self.tokens)

    def __str__(self) -> str:
        return to_text(bytes(self))


def normalize_around_brackets(alias: bytes) -> bytes:
    """Return ``alias`` as `kmodkit.core.names.normalize_alias` does, which comes here for one with a ``[``."""
    parts: list[bytes] = []
    pos = 0
    brackets = _Brackets(alias)
    while (start := alias.find(b"[", pos)) >= 0:
        token, end = (b"[", start + 1) if _is_escaped(alias, start) else brackets.read(start)
        parts += (alias[pos:start].replace(b"-", b"_"), b"[" if token == b"[" else alias[start:end])
        pos = end
    parts.append(alias[pos:].replace(b"-", b"_"))
    return b"".join(parts)


def _is_escaped(alias: bytes, pos: int) -> bool:
    """Return whether an odd number of backslashes stands before ``pos``."""
    start = pos
    while start and alias[start - 1] == 0x5C:
        start -= 1
    return (pos - start) % 2 == 1


def join_tokens(tokens: Iterable[Token]) -> tuple[Token, ...]:
    """Return ``tokens`` in their one canonical form.

    Literals in a row become one, stars in a row one, and a set of all 256 bytes `ANY`.
    """
    out: list[Token] = []
    run: list[bytes] = []  # joined as a whole: one by one would cost the square of its length
    for token in tokens:
        if isinstance(token, bytes):
            run.append(token)
            continue
        if any(run):
            out.append(b"".join(run))
        run = []
        if isinstance(token, ByteSet) and token.ranges == ((0, 255),):
            out.append(ANY)
        elif token is not STAR or out[-1:] != [STAR]:
            out.append(token)
    if any(run):
        out.append(b"".join(run))
    return tuple(out)


def _parse(data: bytes) -> tuple[Token, ...]:
    out: list[Token] = []
    if b"?" not in data and b"[" not in data and b"\\" not in data:
        # 99 in 100 patterns of a kernel, and five times as fast as going byte by byte.
        for position, literal in enumerate(data.split(b"*")):
            if position and (not out or out[-1] is not STAR):
                out.append(STAR)
            if literal:
                out.append(literal)
        return tuple(out)
    pos = start = 0
    size = len(data)
    brackets = _Brackets(data)
    while pos < size:
        byte = data[pos]
        if byte not in _SPECIAL:
            pos += 1
            continue
        if pos > start:
            out.append(data[start:pos])
        if byte == 0x2A:  # *
            out.append(STAR)
            pos += 1
        elif byte == 0x3F:  # ?
            out.append(ANY)
            pos += 1
        elif byte == 0x5C:  # backslash: the next byte stands for itself, and one at the end for nothing
            out.append(data[pos + 1 : pos + 2] or _NEVER)
            pos += 2
        else:
            token, pos = brackets.read(pos)
            out.append(token)
        start = pos
    if size > start:
        out.append(data[start:])
    return join_tokens(out)


class _Brackets:
    """Reads the brackets of one pattern, from the first to the last.

    What is known of the bytes ahead is kept, or a text of nothing but ``[`` would cost the square of its length.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.close = 0  # the next "]", -1 where there is none
        self.unclosed: dict[int, _Rest] = {}  # where members begin that no "]" follows

    def read(self, start: int) -> tuple[Token, int]:
        """Return the token of the bracket at ``start`` and the offset behind it."""
        data = self.data
        if 0 <= self.close <= start:
            self.close = data.find(b"]", start + 1)
        negate = data[start + 1 : start + 2] in (b"!", b"^")
        first, end = start + 1 + negate, self.close
        if end > first and data.find(b"[", first, end) < 0 and data.find(b"\\", first, end) < 0:
            return _plain_set(data[first:end], negate=negate), end + 1
        reader = _BracketReader(data, first, negate=negate)
        if not reader.read(self.unclosed):
            return (_NEVER, len(data)) if reader.invalid or reader.blocked else (b"[", start + 1)
        if not negate:
            return ByteSet.of(reader.members), reader.pos
        members = () if reader.invalid else set(range(256)) - reader.members
        return ByteSet.of(members), reader.pos


@lru_cache(maxsize=256)
def _plain_set(body: bytes, *, negate: bool) -> ByteSet:
    """Return the set of a bracket that holds only single bytes and ranges."""
    members: set[int] = set()
    pos = 0
    while pos < len(body):
        low = high = body[pos]
        pos += 1
        if pos + 1 < len(body) and body[pos] == 0x2D:
            high = body[pos + 1]
            pos += 2
        members.update(range(low, high + 1))
    return ByteSet.of(set(range(256)) - members if negate else members)


class _Rest(NamedTuple):
    """What follows a member in a bracket that is not closed."""

    equals: bool  # a "[=" that is no class
    dash: bool  # a "-" at the very end, and no member that takes "[" up to there


class _BracketReader:
    """Reads the members of one bracket expression as glibc does.

    glibc stops at the member that matches and then only looks for the end. So what is wrong with a bracket
    counts for the bytes that no earlier member took, or in one case (``[=``) for those that one did.
    Left out is a range that ends in ``[`` before ``:`` or ``=`` (``[!-[:]``), which glibc reads in two ways
    within one match; here it is a range.
    """

    def __init__(self, text: bytes, pos: int, *, negate: bool) -> None:
        self.text = text
        self.pos = pos
        self.negate = negate
        self.members: set[int] = set()
        self.refused: set[int] = set()
        self.invalid = False  # bytes that no member up to here took match nothing
        self.blocked = False  # a "[=" comes after a member that took "[": where no "]" does, that is no literal
        self.dash = False  # "x-" is at the very end of the text
        self.last_equals = -1
        self.last_opening = -1

    def read(self, unclosed: dict[int, _Rest]) -> bool:
        """Read the members up to the closing ``]``; return whether there is one.

        ``unclosed`` has the offsets of members that are known to have none behind them, and what is found out is
        added to it.
        """
        first = self.pos
        seen: list[int] = []
        while self.pos < len(self.text) and self.pos not in unclosed:
            if self.text[self.pos] != 0x5D:
                seen.append(self.pos)
            elif self.pos > first:
                self.pos += 1
                return True
            at = self.pos
            group = self._class()
            found = self._item() if group is None else group
            if not self.invalid:
                self.members.update(byte for byte in found if byte not in self.refused)
            if 0x5B in found:
                self.last_opening = at
        rest = unclosed.get(self.pos)
        if rest:
            self.dash = rest.dash
            if rest.equals:
                self._open_equals()
        self.invalid |= self.dash and 0x5B not in self.members
        for at in seen:
            unclosed[at] = _Rest(at <= self.last_equals, self.dash and at > self.last_opening)
        return False

    def _class(self) -> frozenset[int] | None:
        """Read ``[:name:]`` or ``[=x=]``; None where neither stands here."""
        opening = self.text[self.pos : self.pos + 2]
        if opening == b"[:":
            end = self.pos + 2
            while end < len(self.text) and 0x61 <= self.text[end] < 0x7A:
                end += 1
            if self.text[end : end + 2] == b":]":
                name = self.text[self.pos + 2 : end]
                self.pos = end + 2
                self.invalid |= name not in _CLASSES
                return _CLASSES.get(name, frozenset())
        elif opening == b"[=":
            if self.text[self.pos + 3 : self.pos + 5] == b"=]":
                self.pos += 5
                return frozenset(self.text[self.pos - 3 : self.pos - 2])
            self._open_equals()
        return None

    def _open_equals(self) -> None:
        """Note a ``[=`` here that is no class."""
        self.last_equals = self.pos
        self.blocked |= 0x5B in self.members
        if not self.negate:
            self.refused |= self.members
            self.members.clear()

    def _item(self) -> Iterable[int]:
        """Read one byte, or a range of them."""
        named = self.text[self.pos : self.pos + 2] == b"[."
        low = self._byte()
        dash, following = self.text[self.pos : self.pos + 1], self.text[self.pos + 1 : self.pos + 2]
        if dash != b"-" or following == b"]" or (named and not following):
            # glibc takes "[.x.]-" for a range before it looks for the "]", and then has no use for the x.
            return () if low is None or (named and dash == b"-" and following) else (low,)
        if not following:
            self.pos += 1
            self.dash = True
            return () if low is None else (low,)
        self.pos += 1
        high = self._byte()
        if low is None or high is None:
            return ()
        return range(low, high + 1)

    def _byte(self) -> int | None:
        """Read one byte written plainly, after a backslash, or as ``[.x.]``; None where there is none."""
        text, pos = self.text, self.pos
        escaped = text[pos : pos + 1] == b"\\"
        named = text[pos : pos + 2] == b"[."
        end = text.find(b".]", pos + 2) if named else pos + escaped
        # Only a name of one byte is a collating symbol in the C locale.
        if (named and end != pos + 3) or end >= len(text):
            self.invalid = True
            self.pos = end + 2 if named and end > 0 else len(text)
            return None
        self.pos = end + 2 if named else end + 1
        return text[pos + 2] if named else text[end]


def _token_text(token: Token) -> bytes:
    if isinstance(token, Wild):
        return token.value.encode()
    if isinstance(token, bytes):
        if _SPECIAL.isdisjoint(token):
            return token
        return b"".join(b"\\%c" % byte if byte in _SPECIAL else b"%c" % byte for byte in token)
    if not token.ranges:
        return b"[b-a]"
    if 0 in token:  # NUL cannot be written, so its complement is
        return b"[!" + _ranges_text(ByteSet.of(set(range(256)) - set(token)).ranges) + b"]"
    return b"[" + _ranges_text(token.ranges) + b"]"


def _ranges_text(ranges: Iterable[tuple[int, int]]) -> bytes:
    out = []
    for low, high in ranges:
        out.append(_member_text(low))
        if high > low:
            out += ([b"-"] if high > low + 1 else []) + [_member_text(high)]
    return b"".join(out)


def _member_text(byte: int) -> bytes:
    return b"\\%c" % byte if byte in b"]![^-\\" else b"%c" % byte


def _match(tokens: tuple[Token, ...], data: bytes) -> bool:
    """Match segment by segment: between two stars the leftmost place is always good enough."""
    segments: list[list[Token]] = [[]]
    for token in tokens:
        if token is STAR:
            segments.append([])
        else:
            segments[-1].append(token)
    head, *rest = segments
    pos = match_at(head, data, 0)
    if not rest:
        return pos == len(data)
    if pos < 0:
        return False
    for segment in rest[:-1]:
        pos = find(segment, data, pos)
        if pos < 0:
            return False
    tail = rest[-1]
    start = len(data) - width(tail)
    return start >= pos and match_at(tail, data, start) >= 0


def width(segment: Sequence[Token]) -> int:
    """Return how many bytes tokens without a star take."""
    return sum(len(token) if isinstance(token, bytes) else 1 for token in segment)


def match_at(segment: Sequence[Token], data: bytes, pos: int) -> int:
    """Return the offset behind ``segment`` where it matches at ``pos``, else -1."""
    for token in segment:
        if isinstance(token, bytes):
            if not data.startswith(token, pos):
                return -1
            pos += len(token)
        elif pos < len(data) and (token is ANY or (isinstance(token, ByteSet) and data[pos] in token)):
            pos += 1
        else:
            return -1
    return pos


def find(segment: Sequence[Token], data: bytes, pos: int) -> int:
    """Return the offset behind the leftmost match of ``segment`` from ``pos`` on, else -1."""
    if len(segment) == 1 and isinstance(segment[0], bytes):
        at = data.find(segment[0], pos)
        return at + len(segment[0]) if at >= 0 else -1
    for start in range(pos, len(data) - width(segment) + 1):
        end = match_at(segment, data, start)
        if end >= 0:
            return end
    return -1
