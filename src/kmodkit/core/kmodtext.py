r"""depmod's text files: ``modules.dep``, ``modules.alias`` and their kin, read and written.

Their binary twins are in `kmodkit.core.kmodindex`. Each line of a file is one thing (modules.dep(5))::

    modules.dep       PATH: PATH ...               all a module needs, what is to be loaded first coming last
    modules.alias     alias PATTERN MODULE         as the module writes the pattern, so it may hold blanks
    modules.symbols   alias symbol:NAME MODULE
    modules.softdep   softdep MODULE WORDS         ``pre:`` and ``post:`` with what follows each
    modules.weakdep   weakdep MODULE WORDS
    modules.devname   MODULE NODE cMAJOR:MINOR     or ``b``; the node is below /dev
    modules.order     PATH                         with ``.ko``, also where the file is compressed
    modules.builtin   PATH

Lines that begin with ``#`` are comments. Readers raise KmodIndexError with the offset of a line that is no such
thing; ``source`` names the file in it. Text is carried with surrogateescape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kmodkit.core.modinfo import ModuleInfo, SoftDeps
from kmodkit.core.names import to_bytes, to_text
from kmodkit.errors import KmodIndexError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NUMBER = 2**32


class Devname(NamedTuple):
    """A device node that loads ``module`` when it is opened; ``type`` is ``c`` or ``b``."""

    module: str
    node: str
    type: str
    major: int
    minor: int


# --- reading ------------------------------------------------------------------------------------------------


def parse_dep(data: bytes, source: str | None = None) -> list[tuple[str, tuple[str, ...]]]:
    r"""Return the paths in ``modules.dep``, each with those of all it needs, as they stand there.

    >>> parse_dep(b"kernel/a.ko: kernel/b.ko kernel/c.ko\n")
    [('kernel/a.ko', ('kernel/b.ko', 'kernel/c.ko'))]
    """
    found = []
    for offset, line in _lines(data):
        path, colon, needs = line.partition(":")
        if not colon or not path:
            raise KmodIndexError("not a line of modules.dep", offset=offset, source=source)
        found.append((path, tuple(needs.split())))
    return found


def parse_alias(data: bytes, source: str | None = None) -> list[tuple[str, str]]:
    r"""Return the pairs of an alias and a module in ``modules.alias`` or ``modules.symbols``.

    >>> parse_alias(b"# Aliases\nalias acpi*:A B:* some_module\n")
    [('acpi*:A B:*', 'some_module')]
    """
    found = []
    for offset, line in _lines(data):
        keyword, _, rest = line.partition(" ")
        # A module's name has no blank, a pattern may.
        alias, _, module = rest.rpartition(" ")
        if keyword != "alias" or not alias or not module:
            raise KmodIndexError("not a line of modules.alias", offset=offset, source=source)
        found.append((alias, module))
    return found


def parse_softdep(data: bytes, source: str | None = None) -> dict[str, SoftDeps]:
    r"""Return the soft dependencies in ``modules.softdep`` by module.

    >>> parse_softdep(b"softdep ext4 pre: crypto-crc32c\n")
    {'ext4': SoftDeps(pre=('crypto-crc32c',), post=())}
    """
    values = _by_module("softdep", data, source)
    return {module: _info("softdep", texts).softdeps for module, texts in values.items()}


def parse_weakdep(data: bytes, source: str | None = None) -> dict[str, tuple[str, ...]]:
    """Return the weak dependencies in ``modules.weakdep`` by module."""
    values = _by_module("weakdep", data, source)
    return {module: _info("weakdep", texts).weakdeps for module, texts in values.items()}


def parse_devname(data: bytes, source: str | None = None) -> list[Devname]:
    r"""Return the device nodes in ``modules.devname``.

    >>> parse_devname(b"fuse fuse c10:229\n")
    [Devname(module='fuse', node='fuse', type='c', major=10, minor=229)]
    """
    found = []
    for offset, line in _lines(data):
        module, _, rest = line.partition(" ")
        node, _, device = rest.rpartition(" ")
        major, _, minor = device[1:].partition(":")
        numbers = [int(text) for text in (major, minor) if text.isdecimal() and text.isascii() and len(text) <= 10]
        if device[:1] not in ("b", "c") or not node or len(numbers) != 2 or max(numbers) >= _NUMBER:
            raise KmodIndexError("not a line of modules.devname", offset=offset, source=source)
        found.append(Devname(module, node, device[0], *numbers))
    return found


def parse_list(data: bytes) -> list[str]:
    """Return the paths in ``modules.order`` or ``modules.builtin``."""
    return [line for _, line in _lines(data)]


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield each line that says something, with its offset."""
    offset = 0
    for line in data.split(b"\n"):
        if line and not line.startswith(b"#"):
            yield offset, to_text(line)
        offset += len(line) + 1


def _by_module(keyword: str, data: bytes, source: str | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for offset, line in _lines(data):
        first, _, rest = line.partition(" ")
        module, _, words = rest.partition(" ")
        if first != keyword or not module:
            raise KmodIndexError(f"not a line of modules.{keyword}", offset=offset, source=source)
        found.setdefault(module, []).append(words)
    return found


def _info(key: str, texts: Iterable[str]) -> ModuleInfo:
    return ModuleInfo(tuple([(key, text) for text in texts]))


# --- writing ------------------------------------------------------------------------------------------------


def format_dep(entries: Iterable[tuple[str, Iterable[str]]]) -> bytes:
    """Return ``modules.dep`` of paths, each with those of all it needs."""
    return to_bytes("".join([" ".join((f"{path}:", *needs)) + "\n" for path, needs in entries]))


def format_alias(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return ``modules.alias`` of pairs of an alias and a module."""
    lines = [f"alias {alias} {module}\n" for alias, module in pairs]
    return to_bytes("# Aliases extracted from modules themselves.\n" + "".join(lines))


def format_symbols(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return ``modules.symbols`` of pairs of a symbol and the module that has it."""
    lines = [f"alias symbol:{symbol} {module}\n" for symbol, module in pairs]
    return to_bytes("# Aliases for symbols, used by symbol_request().\n" + "".join(lines))


def format_softdep(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return ``modules.softdep`` of pairs of a module and what it says, one for each time it says something."""
    lines = [f"softdep {module} {words}\n" for module, words in pairs]
    return to_bytes("# Soft dependencies extracted from modules themselves.\n" + "".join(lines))


def format_weakdep(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return ``modules.weakdep``, as `format_softdep`."""
    lines = [f"weakdep {module} {words}\n" for module, words in pairs]
    return to_bytes("# Weak dependencies extracted from modules themselves.\n" + "".join(lines))


def format_devname(nodes: Iterable[Devname]) -> bytes:
    """Return ``modules.devname``; without nodes that is an empty file."""
    lines = [f"{found.module} {found.node} {found.type}{found.major}:{found.minor}\n" for found in nodes]
    return to_bytes("# Device nodes to trigger on-demand module loading.\n" + "".join(lines)) if lines else b""
