"""``kmod static-nodes``: show the device nodes that load a module of the running kernel when they are opened."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from kmodkit.cli.options import Options
from kmodkit.core.kmodtext import Devname, parse_devname
from kmodkit.core.names import to_bytes, to_text
from kmodkit.errors import FileError, KmodIndexError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_LONG: Final = {"output=": "o", "format=": "f", "help": "h"}

_HELP: Final = """\
Usage:
\t{prog} [options]

Shows the device nodes in modules.devname of the running kernel.

Options:
\t-f, --format=FORMAT  one of the formats below
\t-o, --output=FILE    write to FILE instead of standard output
\t-h, --help           print this help

Formats:
\thuman        for people (the default)
\ttmpfiles     lines of tmpfiles.d(5)
\tdevname      lines of modules.devname
\tjson         JSON
"""

_MAX_SIZE: Final = 64 << 20


def main(words: Sequence[str], prog: str = "static-nodes") -> int:
    """Run the command and return its exit status: 0 done, 1 an entry or the output was bad, or wrong words."""
    output, form = None, "human"
    options = Options(words, "o:f:h", _LONG)
    for key, value in options:
        if key == "h":
            print(_HELP.format(prog=prog), end="")
            return 0
        if key == "o":
            output = value
        elif value not in FORMATS:
            print(f"Unknown format: '{value}'.", file=sys.stderr)
            print(_HELP.format(prog=prog), end="")
            return 1
        else:
            form = value
    path = f"/lib/modules/{os.uname().release}/modules.devname"
    try:
        data = _read(path)
    except FileError as error:
        print(f"Error: could not open {path} - {error.strerror}", file=sys.stderr)
        return 1
    if data is None:
        print(f"Warning: {path} not found - ignoring", file=sys.stderr)
        return 0
    nodes: list[Devname] = []
    bad = False
    for line in to_text(data).removesuffix("\n").split("\n") if data else ():
        if line.startswith("#"):
            continue
        node = _parse(line)
        if node is None:
            print(f"Error: invalid devname entry: {line}", file=sys.stderr)
            bad = True
        else:
            nodes.append(node)
    return int(not write_nodes(output, FORMATS[form](nodes)) or bad)


def _read(path: str) -> bytes | None:
    from kmodkit.kernel.opening import read_file

    return read_file(path, max_size=_MAX_SIZE) if os.path.exists(path) else None  # noqa: PTH110 - 10 ms of start


def _parse(line: str) -> Devname | None:
    """Return the entry in a line, None for a bad one; what stands behind the third word is left aside."""
    try:
        return next(iter(parse_devname(to_bytes(" ".join(line.split()[:3])))), None)
    except KmodIndexError:
        return None


def _human(nodes: Sequence[Devname]) -> str:
    kinds = {"c": "character", "b": "block"}
    return "".join(
        f"Module: {node.module}\n\tDevice node: /dev/{node.node}\n\t\tType: {kinds[node.type]} device\n"
        f"\t\tMajor: {node.major}\n\t\tMinor: {node.minor}\n"
        for node in nodes
    )


def _tmpfiles(nodes: Sequence[Devname]) -> str:
    def lines() -> Iterator[str]:
        for node in nodes:
            directory, slash, _ = node.node.rpartition("/")
            if slash:
                yield f"d /dev/{directory} 0755 - - -\n"
            yield f"{node.type}! /dev/{node.node} 0600 - - - {node.major}:{node.minor}\n"

    return "".join(lines())


def _devname(nodes: Sequence[Devname]) -> str:
    return "".join(f"{node.module} {node.node} {node.type}{node.major}:{node.minor}\n" for node in nodes)


def _json(nodes: Sequence[Devname]) -> str:
    import json

    return json.dumps([node._asdict() for node in nodes], indent=2) + "\n"


FORMATS: Final[dict[str, Callable[[Sequence[Devname]], str]]] = {
    "human": _human,
    "tmpfiles": _tmpfiles,
    "devname": _devname,
    "json": _json,
}


def write_nodes(output: str | None, text: str) -> bool:
    """Write to a file, whose directory is made, or to standard output; False where that failed."""
    if output is None:
        print(text, end="")
        return True
    from kmodkit.kernel.files import replace_file

    if os.path.exists(output) and not os.path.isfile(output) and not os.path.isdir(output):  # noqa: PTH110, PTH112, PTH113
        # A terminal, a pipe or /dev/null is written to, and not replaced by a file.
        with open(output, "wb") as file:
            file.write(to_bytes(text))
        return True
    parent = os.path.dirname(output)  # noqa: PTH120
    try:
        if parent:
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103
    except OSError as error:
        print(f"Error: could not create parent directory for {output} - {error.strerror}.", file=sys.stderr)
        return False
    try:
        replace_file(output, to_bytes(text))
    except FileError as error:
        print(f"Error: could not create {output} - {error.strerror}", file=sys.stderr)
        return False
    return True
