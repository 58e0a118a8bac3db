r"""What the kernel command line says of modules: ``module.param=value`` and ``modprobe.blacklist=a,b``.

Words are separated by blanks outside of double quotes; the quotes stay in the value, and one before the module's
name moves there, as the kernel itself reads it (kernel/params.c and Documentation/admin-guide/kernel-parameters).

>>> config = parse_cmdline('quiet "e1000e.name=two words" modprobe.blacklist=nouveau,radeon')
>>> config.options[0].module, config.options[0].text
('e1000e', 'name="two words"')
>>> [one.module for one in config.blacklist]
['nouveau', 'radeon']
"""

from __future__ import annotations

from typing import Final

from kmodkit.config.modprobe import Blacklist, ModprobeConfig, Options, Origin, Problem, normalize_pattern
from kmodkit.core.names import to_text

_BLANKS: Final = " \t\n\v\f\r"


def parse_cmdline(data: str | bytes, path: str = "/proc/cmdline") -> ModprobeConfig:
    """Return what a kernel command line says of modules."""
    origin = Origin(path, 1)
    options: list[Options] = []
    blacklist: list[Blacklist] = []
    problems: list[Problem] = []
    for word in _words((data if isinstance(data, str) else to_text(data)).partition("\0")[0]):
        quote = '"' if word.startswith('"') else ""
        head, equals, value = word.removeprefix('"').partition("=")
        # Only one dot makes a parameter of a module; a quote within the name is nothing the kernel writes.
        if head.count(".") != 1 or '"' in head or any(blank in head for blank in _BLANKS):
            continue
        name, _, param = head.partition(".")
        if (name, param, equals) == ("modprobe", "blacklist", "="):
            blacklist += (Blacklist(module, origin) for module in f"{quote}{value}".split(","))
            continue
        module = normalize_pattern(name)
        if module is None:
            text = f"Ignoring bad option on kernel command line while parsing module name: '{name}'"
            problems.append(Problem(text, origin))
        else:
            text = f"{param}{equals}{quote}{value}"
            options.append(Options(module, text.replace("\t", " "), origin))
    return ModprobeConfig(blacklist=tuple(blacklist), options=tuple(options), problems=tuple(problems))


def _words(text: str) -> list[str]:
    """Return the words, but for one whose quote is never closed."""
    words: list[str] = []
    word: list[str] = []
    quoted = False
    for character in text:
        if character in _BLANKS and not quoted:
            words.append("".join(word))
            word.clear()
            continue
        quoted ^= character == '"'
        word.append(character)
    if not quoted:
        words.append("".join(word))
    return [one for one in words if one]
