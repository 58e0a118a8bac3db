"""Lists of modules to include and exclude, in the style of mkosi's ``KernelModules=``: the last match wins.

A rule is a pattern of module paths, negated by a leading ``-`` or ``!``. Paths are taken below the module
directory, without the suffixes from ``.ko`` on, and count with and without a leading ``kernel/``. ``-`` and ``_``
are equal outside brackets. The pattern is one of

- ``re:EXPRESSION``: a regular expression of Python's, found anywhere in the path;
- ``DIRECTORY/``: everything below a directory, which begins at any component of the path;
- ``/GLOB``: a glob for the whole path;
- ``GLOB``: a glob for the end of the path from the beginning of any component on, so that a name alone means
  the modules of that name wherever they are.

In a glob, ``*`` and ``?`` also match ``/``; see `kmodkit.Pattern`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kmodkit.core.alias import Pattern
from kmodkit.core.names import normalize_alias, to_bytes, without_module_suffix
from kmodkit.errors import ArgumentError, PatternError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NEGATIONS: Final = ("-", "!")
_KERNEL: Final = "kernel/"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of such a list; raises ArgumentError for a pattern that says nothing or cannot be used.

    >>> Rule("-drivers/gpu/").matches("kernel/drivers/gpu/drm/i915/i915.ko.xz")
    True
    >>> Rule("snd-*").matches("kernel/sound/pci/hda/snd_hda_intel.ko"), Rule("/sound/*").includes
    (True, True)
    """

    text: str
    includes: bool = field(init=False, compare=False)
    _glob: Pattern | None = field(init=False, repr=False, compare=False)
    _expression: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        includes = not self.text.startswith(_NEGATIONS)
        body = self.text if includes else self.text[1:]
        if not body:
            raise ArgumentError(f"the rule {self.text!r} has no pattern")
        glob = expression = None
        try:
            if body.startswith("re:"):
                expression = re.compile(body[len("re:") :])
            else:
                glob = _glob(body)
        except (re.error, PatternError) as error:
            raise ArgumentError(f"the rule {self.text!r} cannot be used: {error}") from error
        object.__setattr__(self, "includes", includes)
        object.__setattr__(self, "_glob", glob)
        object.__setattr__(self, "_expression", expression)

    def matches(self, path: str) -> bool:
        """Return whether the rule speaks of the module file at ``path``, relative to the module directory."""
        return any(map(self._matches, _forms(path)))

    def _matches(self, path: str) -> bool:
        if self._expression is not None:
            return self._expression.search(path) is not None
        return self._glob is not None and self._glob.matches(normalize_alias(to_bytes(f"/{path}")))


def path_pattern(glob: str) -> Rule:
    """Return the rule that includes what ``glob`` matches, whatever its first character is."""
    return Rule(f"./{glob}" if glob.startswith((*_NEGATIONS, "re:")) else glob)


def last_match(rules: Sequence[Rule], path: str) -> Rule | None:
    """Return the last of ``rules`` that matches, which decides; None where none does."""
    return next((rule for rule in reversed(rules) if rule.matches(path)), None)


def parse_rules(lines: Iterable[str]) -> tuple[Rule, ...]:
    """Return the rules in the lines of a file; blank lines and those that begin with ``#`` are passed over."""
    stripped = (line.strip() for line in lines)
    return tuple(Rule(line) for line in stripped if line and not line.startswith("#"))


def _glob(body: str) -> Pattern:
    if body.endswith("/"):
        body += "*"
    body = without_module_suffix(body)
    whole = body if body.startswith("/") else f"*/{body.removeprefix('./')}"
    return Pattern.parse(whole).normalized()


def _forms(path: str) -> tuple[str, ...]:
    """Return how rules may name a module file."""
    plain = without_module_suffix(path)
    return (plain, plain.removeprefix(_KERNEL)) if plain.startswith(_KERNEL) else (plain,)
