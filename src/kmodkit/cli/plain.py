"""The words of a plain call, read without argparse, which takes longer to import than a lookup takes."""

from __future__ import annotations

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def read_plain(
    into: object, words: Sequence[str], flags: Mapping[str, str], values: Mapping[str, str]
) -> list[str] | None:
    """Set what ``words`` say as argparse would, and return the operands; None where that is better asked itself.

    ``flags`` and ``values`` give the attribute of ``into`` for each option without and with a value, which are
    there, False or None. What is wrong, asks for help, or could be read in two ways is left to argparse.
    """
    operands: list[str] = []
    rest = iter(words)
    last: str | None = None
    for word in rest:
        if word in flags:
            setattr(into, flags[word], True)
        elif word in values:
            value = next(rest, "-")
            if value.startswith("-") or getattr(into, values[word]) is not None:
                return None
            setattr(into, values[word], value)
        elif word.startswith("-") or (operands and last is not operands[-1]):
            return None  # argparse refuses operands on both sides of an option
        else:
            operands.append(word)
        last = word
    return operands
