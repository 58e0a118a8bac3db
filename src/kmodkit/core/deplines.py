"""What depmod's files say of one module: its lines in the text files, and its keys in the index of aliases.

Nothing here imports more than an incremental run can afford.
"""

from __future__ import annotations

from kmodkit.core.kmodindex import MAX_KEY

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final

TEXTS: Final = {
    "modules.alias": b"# Aliases extracted from modules themselves.\n",
    "modules.softdep": b"# Soft dependencies extracted from modules themselves.\n",
    "modules.weakdep": b"# Weak dependencies extracted from modules themselves.\n",
    "modules.devname": b"# Device nodes to trigger on-demand module loading.\n",
}
"""The text files made of what modules say, each with its first line; modules.devname is empty without others."""


class Messages:
    """What there is to say of the modules: ``lines``, each a level of syslog in words and a text."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def error(self, text: str) -> None:
        """Add an error."""
        self.lines.append(("ERROR", text))

    def warning(self, text: str) -> None:
        """Add a warning."""
        self.lines.append(("WARNING", text))

    def show(self, text: str) -> None:
        """Add a line for standard output."""
        self.lines.append(("SHOW", text))


def module_name(path: bytes) -> bytes:
    """Return the name of a module file as depmod takes it: up to the first dot, with ``_``."""
    return path.rpartition(b"/")[2].partition(b".")[0].replace(b"-", b"_")


def sort_paths(paths: Iterable[bytes], order: Sequence[bytes], *, last: bool = False) -> list[bytes]:
    """Return the paths of modules as ``order``, the lines of modules.order, has them, and the rest behind.

    Of a line that is there twice the first counts, or with ``last``, as before kmod 34, the last. The rest comes
    as it lies in depmod's hash table of module names.
    """
    numbered = [*enumerate(order)]
    place = {line: number for number, line in (numbered if last else reversed(numbered))}
    listed: list[tuple[int, bytes]] = []
    rest: dict[bytes, bytes] = {}
    for path in paths:
        name = module_name(path)
        # As modules.order has it: up to the name and ".ko", whatever comes behind.
        at = place.get(path[: path.rfind(b"/") + 1 + len(name) + 3])
        if at is None:
            rest[name] = path
        else:
            listed.append((at, path))
    listed.sort()
    found = [path for _, path in listed]
    if rest:
        from kmodkit.core.buckets import MODULE_BUCKETS, bucket_order

        found += [rest[name] for name in bucket_order(rest, MODULE_BUCKETS)]
    return found


def module_lines(
    name: bytes, modinfo: bytes, log: Messages, *, warn: bool = False
) -> tuple[dict[str, bytes], list[bytes]]:
    """Return the lines of a module in each of `TEXTS` where it has any, and its keys in the index of aliases.

    ``modinfo`` is its ``.modinfo``. With ``warn`` a warning names an alias that is there twice.
    """
    lines: dict[str, bytes] = {}
    keys: list[bytes] = []
    if b"alias" in modinfo:
        # Without a "=" the value is empty, for depmod.
        entries = modinfo.split(b"\0")
        own = [entry[6:] for entry in entries if entry.startswith(b"alias=") or entry == b"alias"]
        if own:
            end = b" %b\n" % name
            lines["modules.alias"] = b"alias " + (end + b"alias ").join(own) + end
            keys = alias_keys(own, name, log, warn=warn)
        if b"devname:" in modinfo and (node := _device_node(name, own, log)):
            lines["modules.devname"] = node
    for key, file in ((b"softdep", "modules.softdep"), (b"weakdep", "modules.weakdep")):
        if key in modinfo:
            pairs = [entry.partition(b"=") for entry in modinfo.split(b"\0")]
            found = [b"%b %b %b\n" % (key, name, value) for word, _, value in pairs if word == key]
            if found:
                lines[file] = b"".join(found)
    return lines, keys


def alias_keys(aliases: list[bytes], name: bytes, log: Messages, *, warn: bool = False) -> list[bytes]:
    """Return the aliases of a module as the index has them, without those that it cannot hold."""
    text = b"\0".join(aliases)
    short = len(text) <= MAX_KEY or max(map(len, aliases)) <= MAX_KEY
    if short and not warn and b"[" not in text and b"]" not in text:
        # All at once, as nearly always: one by one took three times as long.
        return text.replace(b"-", b"_").split(b"\0")
    keys: list[bytes] = []
    seen: set[bytes] = set()
    for alias in aliases:
        key = index_key(alias)
        if key is None or len(key) > MAX_KEY:
            problem = "Unmatched bracket in" if key is None else "Too long for an index:"
            log.warning(f"{problem} {to_text(alias)}")
            continue
        if warn:
            if key in seen:
                log.warning(f"duplicate module alias:\n{to_text(key)} {to_text(name)}")
            seen.add(key)
        keys.append(key)
    return keys


def index_key(alias: bytes) -> bytes | None:
    """Return an alias as the indexes have it, with ``_`` outside of brackets; None for brackets that do not match.

    Other than in `kmodkit.core.alias`, a backslash means nothing here, as in kmod.
    """
    if b"[" not in alias and b"]" not in alias:
        return alias.replace(b"-", b"_")
    parts: list[bytes] = []
    rest = alias
    while rest:
        before, opened, rest = rest.partition(b"[")
        inside, closed, after = rest.partition(b"]")
        if b"]" in before or (opened and not closed):
            return None
        parts += (before.replace(b"-", b"_"), opened, inside if opened else b"", closed if opened else b"")
        rest = after if opened else b""
    return b"".join(parts)


def to_text(data: bytes) -> str:
    """Return ``data`` as the text that messages have."""
    return data.decode("utf-8", "surrogateescape")


def _device_node(name: bytes, aliases: Iterable[bytes], log: Messages) -> bytes:
    """Return the line of modules.devname for a module with these aliases, b"" where it has none."""
    node = device = None
    for alias in aliases:
        if alias.startswith(b"devname:"):
            node = alias[8:]
        else:
            device = _device(alias) or device
        if node is not None and device is not None:
            return b"%b %b %b\n" % (name, node, device)
    if node is not None:
        log.error(
            f"Module '{to_text(name)}' has devname ({to_text(node)}) but lacks major and minor information. "
            "Ignoring."
        )
    return b""


def _device(alias: bytes) -> bytes | None:
    """Return ``cMAJOR:MINOR`` where an alias names one device by its numbers."""
    kind, _, rest = alias.partition(b"-major-")
    if kind not in (b"char", b"block"):
        return None
    major, _, minor = rest.partition(b"-")
    digits = minor[: len(minor) - len(minor.lstrip(b"0123456789"))]
    if not (major.isdigit() and digits) or len(major) > 10 or len(digits) > 10:
        return None
    return b"%b%d:%d" % (kind[:1], int(major), int(digits))
