"""Parameters that a module does not list: the kernel takes such a one and only writes a line to its log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kmodkit.core.names import normalize_name

if TYPE_CHECKING:
    from kmodkit.core.modinfo import ModuleInfo

# The kernel itself takes these for every module (kernel/module/main.c, lib/dynamic_debug.c).
_COMMON: Final = frozenset(("async_probe", "dyndbg"))


def parameter_names(params: str) -> tuple[str, ...]:
    """Return the names in a parameter string, as the kernel reads it: double quotes keep blanks together.

    >>> parameter_names('debug=1 name="two words" flag')
    ('debug', 'name', 'flag')
    """
    names: list[str] = []
    word = ""
    quoted = False
    for character in f"{params} ":
        quoted ^= character == '"'
        if not character.isspace() or quoted:
            word += character
        elif word:
            names.append(word.strip('"').partition("=")[0])
            word = ""
    if word:
        names.append(word.strip('"').partition("=")[0])
    return tuple(names)


def unknown_parameters(info: ModuleInfo, params: str) -> tuple[str, ...]:
    """Return the parameters of ``params`` that the module does not list, each once.

    ``-`` and ``_`` are equal there, as in the kernel.
    """
    listed = {normalize_name(parameter.name) for parameter in info.parameters} | _COMMON
    return tuple(dict.fromkeys(name for name in parameter_names(params) if normalize_name(name) not in listed))
