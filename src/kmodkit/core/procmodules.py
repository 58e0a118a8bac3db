"""The text of /proc/modules: one line for each loaded module.

::

    line    = name SP size SP refcnt SP users SP state SP address [SP taints] LF
    refcnt  = decimal, -1 while unloading | "-" where the kernel cannot unload
    users   = 1*(name "," | "[permanent],") | "-"
    state   = "Live" | "Loading" | "Unloading"
    address = "0x" hex, all zeros for a reader without privileges
    taints  = "(" letters ["+" | "-"] ")"

    e1000e 348160 0 - Live 0xffffffffc0a31000
    libphy 233472 2 r8169,mdio_devres, Live 0xffffffffc09c1000 (E)

The kernel's kernel/module/procfs.c (kernel/module.c before 5.19) prints it; see also proc_modules(5).
"""

from __future__ import annotations

from kmodkit.core.names import to_bytes, to_text
from kmodkit.errors import ProcModulesError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from kmodkit.core.values import dataclass

STATES = ("Live", "Loading", "Unloading")

_PERMANENT = b"[permanent]"
# Longer numbers do not come from the kernel, and int() takes quadratic time for them.
_MAX_DIGITS = 20


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """One loaded module.

    ``size`` is in bytes. ``refcnt`` counts its users, modules and others; it is -1 while the module is being
    unloaded and None where the kernel was built without unloading. ``holders`` are the names of the modules
    that use it, in the kernel's order. ``state`` is one of `STATES`. ``address`` is 0 for a reader without
    privileges. ``taints`` holds the letters of the taint flags it set ("OE"), empty for none. A ``permanent``
    module has no exit function and cannot be unloaded.
    """

    name: str
    size: int
    refcnt: int | None
    holders: tuple[str, ...]
    state: str
    address: int
    taints: str = ""
    permanent: bool = False


def parse_proc_modules(text: str | bytes) -> tuple[LoadedModule, ...]:
    """Return the modules of ``text`` in its order, the one loaded last first.

    Columns behind the taints are ignored, for that is where a later kernel would add one. Raises
    ProcModulesError with the offset of the line that is malformed.
    """
    modules = []
    offset = 0
    # Not splitlines(), which would also split at a carriage return.
    for line in to_bytes(text).removesuffix(b"\n").split(b"\n") if text else ():
        modules.append(_parse_line(line, offset))
        offset += len(line) + 1
    return tuple(modules)


def _parse_line(line: bytes, offset: int) -> LoadedModule:
    columns = line.split(b" ")
    if len(columns) < 6:
        raise ProcModulesError(f"a line has {len(columns)} columns, not at least 6", offset=offset)
    name, size, refcnt, users, state, address = columns[:6]
    if not name:
        raise ProcModulesError("a line has no module name", offset=offset)
    holders, permanent = _parse_users(users, offset)
    if to_text(state) not in STATES:
        raise ProcModulesError(f"{to_text(state)!r} is no state of a module", offset=offset)
    return LoadedModule(
        name=to_text(name),
        size=_parse_decimal(size, "size", offset),
        refcnt=_parse_refcnt(refcnt, offset),
        holders=holders,
        state=to_text(state),
        address=_parse_address(address, offset),
        taints=_parse_taints(columns[6], offset) if len(columns) > 6 else "",
        permanent=permanent,
    )


def _parse_decimal(column: bytes, what: str, offset: int) -> int:
    if not column.isdigit() or len(column) > _MAX_DIGITS:
        raise ProcModulesError(f"the {what} is no number", offset=offset)
    return int(column)


def _parse_refcnt(column: bytes, offset: int) -> int | None:
    if column == b"-":
        return None
    if column.startswith(b"-"):
        return -_parse_decimal(column[1:], "reference count", offset)
    return _parse_decimal(column, "reference count", offset)


def _parse_users(column: bytes, offset: int) -> tuple[tuple[str, ...], bool]:
    if column == b"-":
        return (), False
    *users, rest = column.split(b",")
    if rest or not all(users) or not users:
        raise ProcModulesError("the list of users does not end each one in a comma", offset=offset)
    return tuple(to_text(user) for user in users if user != _PERMANENT), _PERMANENT in users


def _parse_address(column: bytes, offset: int) -> int:
    digits = column.removeprefix(b"0x")
    # int() would also take a sign, blanks and underscores.
    if digits == column or not digits or len(digits) > 16 or digits.strip(b"0123456789abcdef"):
        raise ProcModulesError("the address is no hexadecimal number", offset=offset)
    return int(digits, 16)


def _parse_taints(column: bytes, offset: int) -> str:
    if not (column.startswith(b"(") and column.endswith(b")")):
        raise ProcModulesError("the taints are not in parentheses", offset=offset)
    # A last "+" or "-" only repeats the state.
    return to_text(column[1:-1].rstrip(b"+-"))
