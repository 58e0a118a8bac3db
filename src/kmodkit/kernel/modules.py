"""What the running kernel says of its modules, from /proc and /sys.

The files are described in proc_modules(5), sysfs(5) and the kernel's Documentation/ABI/testing/sysfs-module.
Every function takes the roots of /proc or /sys, so that a copy of them can be read as well. A module may
vanish between any two reads: then it reads as not loaded, never as an error.
"""

from __future__ import annotations

import errno
import os

from kmodkit.core.names import normalize_name, to_text
from kmodkit.core.procmodules import parse_proc_modules
from kmodkit.errors import FileError, ProcModulesError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from dataclasses import dataclass
    from typing import Literal

    from kmodkit.core.procmodules import LoadedModule

    Initstate = Literal["live", "coming", "going"]
else:
    from kmodkit.core.values import dataclass

    Initstate = str

Root = str | os.PathLike[str]

_INITSTATES: tuple[Initstate, ...] = ("live", "coming", "going")

# What open() and read() answer for a module that went away before or after the open.
_GONE = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR, errno.ENXIO)

# What sysfs has of every loadable module and of no built-in one.
_LOADABLE_ONLY = frozenset(("coresize", "holders", "initstate"))

_CAP_SYS_MODULE = 16

ALGORITHMS = {"gz": "gzip", "xz": "xz", "zst": "zstd"}
"""What `compression` calls an algorithm, by the suffix of the files."""


def loaded_modules(*, proc: Root = "/proc") -> tuple[LoadedModule, ...]:
    """Return the loaded modules, the one loaded last first.

    The kernel prints the list a page at a time: a module that is loaded or unloaded meanwhile can hide
    another one at the edge of a page. `initstate` is exact for one module.

    Raises FileError where there is no /proc/modules (as in a kernel without loadable modules) and
    ProcModulesError for one that is malformed.
    """
    path = f"{os.fspath(proc)}/modules"
    try:
        data = _read(path)
    except OSError as error:
        raise FileError.wrap(error, path) from error
    try:
        listed = parse_proc_modules(data)
    except ProcModulesError as error:
        error.source = path
        raise
    # A module loaded between two pages shifts the list, and the last one of a page comes twice.
    return tuple({module.name: module for module in listed}.values())


def initstate(name: str, *, sys: Root = "/sys") -> Initstate | None:
    """Return the state of the module ``name`` (with ``-`` or ``_``), None where it is not loaded.

    A module is ``coming`` until its initialisation ends and ``going`` once its exit begins. Built-in modules
    have no state: see `is_builtin`. Raises FileError for a state that cannot be read.
    """
    text = _attribute(name, "initstate", sys)
    return next((state for state in _INITSTATES if state == text), None)


def is_builtin(name: str, *, sys: Root = "/sys") -> bool:
    """Return whether sysfs shows ``name`` as built into the kernel.

    False proves nothing: only built-in modules with parameters or a version appear there, and
    modules.builtin names them all. True may be wrong for the instant in which a loadable module enters or
    leaves sysfs.
    """
    directory = _directory(name, sys)
    if directory is None:
        return False
    try:
        # One listing, for a module that vanishes between two looks would seem to be built in.
        with os.scandir(directory) as entries:
            return _LOADABLE_ONLY.isdisjoint(entry.name for entry in entries)
    except OSError:
        return False


def refcnt(name: str, *, sys: Root = "/sys") -> int | None:
    """Return how often the module ``name`` is in use, -1 while it is being unloaded.

    None where it is not loaded, is built in, or the kernel cannot unload modules.
    """
    text = _attribute(name, "refcnt", sys)
    digits = (text or "").removeprefix("-")
    return int(text) if text and digits.isascii() and digits.isdigit() and len(digits) <= 10 else None


def size(name: str, *, sys: Root = "/sys") -> int | None:
    """Return the bytes that the module ``name`` takes in the kernel, None where sysfs does not say.

    /proc/modules may say more: there the memory of initialisation counts too, while it is there.
    """
    text = _attribute(name, "coresize", sys) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def holders(name: str, *, sys: Root = "/sys") -> tuple[str, ...] | None:
    """Return the modules that use the module ``name``, in the order of their directory, which is lsmod's.

    None where there is no such list: the module is not loaded, or is built in.
    """
    directory = _directory(name, sys)
    if directory is None:
        return None
    path = f"{directory}/holders"
    try:
        with os.scandir(path) as entries:
            return tuple([entry.name for entry in entries])
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise FileError.wrap(error, path) from error


def parameters(name: str, *, sys: Root = "/sys") -> dict[str, str | None]:
    """Return the parameters of ``name``, loaded or built in, by name and in sorted order.

    A value is None where it may not be read. Parameters declared with mode 0 are not in sysfs at all. A
    module that is not there has no parameters.
    """
    directory = _directory(name, sys)
    if directory is None:
        return {}
    path = f"{directory}/parameters"
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        if error.errno in _GONE:
            return {}
        raise FileError.wrap(error, path) from error
    values: dict[str, str | None] = {}
    for parameter in names:
        try:
            values[parameter] = to_text(_read(f"{path}/{parameter}").removesuffix(b"\n"))
        except OSError as error:
            if error.errno not in _GONE:
                values[parameter] = None
    return values


def compression(*, sys: Root = "/sys") -> str | None:
    """Return the algorithm in which the kernel unpacks modules itself: ``gzip``, ``xz`` or ``zstd``.

    None where it does not, or is older than Linux 6.4 and does not say.
    """
    return _quiet(f"{os.fspath(sys)}/module/compression") or None


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What may keep this process from loading modules; each is None where it cannot be found out.

    ``capable``: it has CAP_SYS_MODULE. ``modules_disabled``: kernel.modules_disabled is set. ``blacklist``:
    the names in the kernel's ``module_blacklist=``. ``locked_down``: the lockdown security module asks for
    signatures. ``signatures_enforced``: module.sig_enforce is set.
    """

    capable: bool | None = None
    modules_disabled: bool | None = None
    blacklist: tuple[str, ...] | None = None
    locked_down: bool | None = None
    signatures_enforced: bool | None = None


def restrictions(*, proc: Root = "/proc", sys: Root = "/sys") -> Restrictions:
    """Return what /proc and /sys say of restrictions on this process. Never raises."""
    proc, sys = os.fspath(proc), os.fspath(sys)
    disabled = _quiet(f"{proc}/sys/kernel/modules_disabled")
    enforced = _quiet(f"{sys}/module/module/parameters/sig_enforce")
    lockdown = _quiet(f"{sys}/kernel/security/lockdown")
    return Restrictions(
        capable=_capable(proc),
        modules_disabled=None if disabled is None else disabled == "1",
        blacklist=_blacklist(proc, sys),
        # The mode in force is in brackets: "none [integrity] confidentiality".
        locked_down=None if lockdown is None else "[none]" not in lockdown,
        signatures_enforced=None if enforced is None else enforced == "Y",
    )


def _capable(proc: str) -> bool | None:
    status = _quiet(f"{proc}/self/status")
    if status is None:
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    try:
        held = bool(int(fields["CapEff"], 16) >> _CAP_SYS_MODULE & 1)
    except (KeyError, ValueError):
        return None
    # The capability counts in the first user namespace only, the one whose map is the identity.
    uid_map = _quiet(f"{proc}/self/uid_map")
    return held and (uid_map is None or uid_map.split() == ["0", "0", "4294967295"])


def _blacklist(proc: str, sys: str) -> tuple[str, ...] | None:
    value = _quiet(f"{sys}/module/kernel/parameters/module_blacklist")
    if value is None:
        # Only root may read the parameter; everybody may read the command line, whose last one counts.
        cmdline = _quiet(f"{proc}/cmdline")
        if cmdline is None:
            return None
        key = "module_blacklist="
        found = [word[len(key) :] for word in cmdline.split() if word.startswith(key)]
        value = found[-1] if found else ""
    return tuple(name for name in value.split(",") if name and name != "(null)")


def _read(path: str) -> bytes:
    """Return all of a file; raises OSError. Files of /proc and /sys give no size beforehand."""
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _quiet(path: str) -> str | None:
    """Return the text of a small file without blanks around it, None where it cannot be read."""
    try:
        return to_text(_read(path)).strip()
    except OSError:
        return None


def _directory(name: str, sys: Root) -> str | None:
    """Return the directory of a module in sysfs, None for what can be no module's name."""
    # Names come from users: "../x" must not reach other directories.
    if "/" in name or "\0" in name or name in ("", ".", ".."):
        return None
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return None
    return f"{os.fspath(sys)}/module/{normalize_name(name)}"


def _attribute(name: str, attribute: str, sys: Root) -> str | None:
    """Return one attribute of a module, None where the module or the attribute is not there."""
    directory = _directory(name, sys)
    if directory is None:
        return None
    path = f"{directory}/{attribute}"
    try:
        return to_text(_read(path)).strip()
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise FileError.wrap(error, path) from error
