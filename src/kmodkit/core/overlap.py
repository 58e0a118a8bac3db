"""Whether two alias patterns have a text in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from kmodkit.core.alias import STAR, ByteSet, Pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

# One byte out of a set, or, None, any run of bytes.
_Step: TypeAlias = frozenset[int] | None

_ANY: Final = frozenset(range(1, 256))
_BYTES: Final = tuple(frozenset((byte,)) for byte in range(256))


def overlaps(one: Pattern, other: Pattern) -> bool:
    """Return whether some text matches both patterns; the cost is at most the product of their lengths.

    >>> intel = Pattern.parse("pci:v00008086d*")
    >>> overlaps(intel, Pattern.parse("pci:v*d*sv*sd*bc0Csc03i30*"))
    True
    >>> overlaps(intel, Pattern.parse("pci:v000010ECd00008168sv*sd*bc*sc*i*"))
    False
    """
    steps = _steps(other)
    # The places in ``other`` that some text can have reached which ``one`` has taken so far.
    places = _past_stars({0}, steps)
    for step in _steps(one):
        places = _run(places, steps) if step is None else _one_byte(step, places, steps)
        if not places:
            return False
    return len(steps) in places


def _steps(pattern: Pattern) -> list[_Step]:
    steps: list[_Step] = []
    for token in pattern.tokens:
        if isinstance(token, bytes):
            steps += [_BYTES[byte] for byte in token]
        elif isinstance(token, ByteSet):
            steps.append(frozenset(token))
        else:
            steps.append(None if token is STAR else _ANY)
    return steps


def _past_stars(places: set[int], steps: Sequence[_Step]) -> set[int]:
    """Return ``places`` and those behind the stars at them, which may stand for nothing."""
    return places | {place + 1 for place in places if place < len(steps) and steps[place] is None}


def _one_byte(byte: frozenset[int], places: set[int], steps: Sequence[_Step]) -> set[int]:
    """Return where one of ``byte`` leads from ``places``."""
    found = set()
    for place in places:
        if place < len(steps):
            step = steps[place]
            if step is None and byte:
                found.add(place)
            elif step is not None and not step.isdisjoint(byte):
                found.add(place + 1)
    return _past_stars(found, steps)


def _run(places: set[int], steps: Sequence[_Step]) -> set[int]:
    """Return where any run of bytes leads from ``places``: on to the first set that has no byte."""
    reached: set[int] = set()
    for place in sorted(places):
        at = place
        while at not in reached:
            reached.add(at)
            if at == len(steps) or ((step := steps[at]) is not None and not step):
                break
            at += 1
    return reached
