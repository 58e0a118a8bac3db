"""What the commands named as kmod's share: words as getopt_long(3) takes them, and messages as kmod gives them.

`Options` is not Python's ``getopt``, which reports a wrong word before the effect of those in front of it
(``--help`` there must win), takes names of one option for ambiguous (``--show-m`` of ``--show-modversions`` and a
synonym), and has other messages. glibc's are followed, since scripts of packages read them.
"""

from __future__ import annotations

import os
import sys

from kmodkit import __version__
from kmodkit.errors import KmodError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Final

# The levels of syslog(3), which kmod's tools count in.
CRITICAL: Final = 2
ERROR: Final = 3
WARNING: Final = 4
NOTICE: Final = 5
INFO: Final = 6
DEBUG: Final = 7

_LABELS: Final = {2: "FATAL", 3: "ERROR", 4: "WARNING", 5: "NOTICE", 6: "INFO", 7: "DEBUG"}


class OptionError(KmodError):
    """A word that is no option here, or lacks its argument; the text is getopt's."""


class Options:
    """The words of a call, read one by one: iterate over the options, then take `operands`.

    ``short`` is as for getopt(3), a letter with ``:`` behind it taking an argument. ``long`` gives for each long
    option, named with ``=`` behind it where it takes an argument, the key to yield: that of the short option
    which means the same, or a word of its own. Long options may be cut short. Options and operands mix, unless
    ``permute`` is false or POSIXLY_CORRECT is set: then the first operand ends the options. Words behind ``--``
    are operands in any case.

    Iterating yields key and argument (``""`` for none) and raises OptionError at the first wrong word, so that
    what came before it has had its effect.

    >>> options = Options(["x.ko", "-0Fname", "--auth"], "a0F:", {"author": "a", "field=": "F"})
    >>> list(options), options.operands
    ([('0', ''), ('F', 'name'), ('a', '')], ['x.ko'])
    """

    def __init__(self, words: Sequence[str], short: str, long: Mapping[str, str], *, permute: bool = True) -> None:
        self.operands: list[str] = []
        self._words = list(words)
        self._short = short
        self._long = long
        self._permute = permute and "POSIXLY_CORRECT" not in os.environ

    def __iter__(self) -> Iterator[tuple[str, str]]:
        words = self._words
        while words:
            word = words.pop(0)
            if word == "--":
                break
            if word.startswith("--"):
                yield self._long_option(word[2:])
            elif word.startswith("-") and word != "-":
                yield from self._letters(word[1:])
            else:
                self.operands.append(word)
                if not self._permute:
                    break
        self.operands += words
        words.clear()

    def _letters(self, letters: str) -> Iterator[tuple[str, str]]:
        while letters:
            letter, letters = letters[0], letters[1:]
            place = -1 if letter in ":;" else self._short.find(letter)
            if place < 0:
                raise OptionError(f"invalid option -- '{letter}'")
            if self._short[place + 1 : place + 2] != ":":
                yield letter, ""
                continue
            if not letters and not self._words:
                raise OptionError(f"option requires an argument -- '{letter}'")
            yield letter, letters or self._words.pop(0)
            return

    def _long_option(self, text: str) -> tuple[str, str]:
        given, equals, value = text.partition("=")
        name = self._whole_name(given, text)
        key = self._long[name]
        if not name.endswith("="):
            if equals:
                raise OptionError(f"option '--{name}' doesn't allow an argument")
            return key, ""
        if not equals:
            if not self._words:
                raise OptionError(f"option '--{name[:-1]}' requires an argument")
            value = self._words.pop(0)
        return key, value

    def _whole_name(self, given: str, text: str) -> str:
        """Return the option that ``given`` is or begins; names of one key are one option."""
        for exact in (given, f"{given}="):
            if exact in self._long:
                return exact
        found = [name for name in self._long if name.startswith(given)]
        if not found:
            raise OptionError(f"unrecognized option '--{text}'")
        first = found[0]
        others = [
            name
            for name in found[1:]
            if self._long[name] != self._long[first] or name.endswith("=") != first.endswith("=")
        ]
        if others:
            names = " ".join(f"'--{name.removesuffix('=')}'" for name in (first, *others))
            raise OptionError(f"option '--{text}' is ambiguous; possibilities: {names}")
        return first


class Log:
    """Where a command says what is wrong: standard error as kmod words it, or syslog.

    ``prog`` is how the command was called, such as ``modinfo`` or ``kmodkit modinfo``; ``name``, its last word,
    begins each line. ``level`` is the least important level that is said; ``-v`` adds one to it. Setting
    ``syslog`` sends everything there.
    """

    def __init__(self, prog: str, *, level: int = WARNING, syslog: bool = False) -> None:
        self.prog = prog
        self.name = prog.rpartition(" ")[2]
        self.level = level
        self.syslog = syslog

    def take(self, key: str) -> None:
        """Take ``--syslog`` or ``--verbose``; other options do nothing here."""
        self.syslog |= key == "s"
        self.level += key == "v"

    def say(self, level: int, text: str) -> None:
        """Say ``text``, which has no line end, at ``level``."""
        if level > self.level:
            return
        if self.syslog:
            self._to_syslog(level, text)
        else:
            print(f"{self.name}: {_LABELS[level]}: {text}", file=sys.stderr)

    def critical(self, text: str) -> None:
        """Say why nothing can be done."""
        self.say(CRITICAL, text)

    def error(self, text: str) -> None:
        """Say what failed."""
        self.say(ERROR, text)

    def warning(self, text: str) -> None:
        """Say what looks wrong."""
        self.say(WARNING, text)

    def info(self, text: str) -> None:
        """Say what is done, where it is asked for."""
        self.say(INFO, text)

    def show(self, text: str) -> None:
        """Print ``text``, an answer and no message, on standard output, or send it to syslog."""
        if self.syslog:
            self._to_syslog(NOTICE, text)
        else:
            print(text)

    def _to_syslog(self, level: int, text: str) -> None:
        import syslog

        syslog.openlog(self.name, syslog.LOG_CONS, syslog.LOG_DAEMON)
        # A NUL would be an error of Python's; names come from users.
        syslog.syslog(level, text.replace("\0", ""))


def print_version() -> None:
    """Print what ``--version`` does: the release, then what can be read, in kmod's notation."""
    print(f"kmodkit version {__version__}\n+ZSTD +XZ +ZLIB")


def answered(key: str, usage: str, prog: str) -> bool:
    """Answer ``--help`` or ``--version``, and return whether ``key`` was one of them, which ends the call."""
    if key == "h":
        print(usage.format(prog=prog), end="")
    elif key == "V":
        print_version()
    return key in ("h", "V")
