"""The three system calls on kernel modules, and what their errors mean.

glibc offers no finit_module, so all three go through syscall(2) with the numbers of this machine. See
init_module(2), delete_module(2) and the kernel's kernel/module/main.c.

The calls let other threads run while the kernel works and may be made from any thread. A load lasts as long
as the module's initialisation does.
"""

from __future__ import annotations

import ctypes
import enum
import errno as codes
import functools
import os
import sys

from kmodkit.core.names import normalize_name, to_bytes
from kmodkit.errors import (
    ArgumentError,
    LoadError,
    ModuleInUseError,
    ModuleNotLoadedError,
    SyscallError,
    UnloadError,
)

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Sequence
    from mmap import mmap
    from typing import Literal, NamedTuple

    from kmodkit.kernel.modules import Restrictions

    Operation = Literal["finit_module", "init_module", "delete_module"]
else:
    from kmodkit.core.values import NamedTuple

    Operation = str


# A module whose own initialisation answers EINTR would otherwise be loaded for ever.
_MAX_INTERRUPTIONS = 8


class ModuleFlags(enum.IntFlag):
    """Flags of finit_module, from the kernel's include/uapi/linux/module.h.

    The two that ignore take a module built for another kernel, which may crash this one, and make a signed
    module count as unsigned. With ``COMPRESSED_FILE`` (Linux 5.17) the kernel unpacks the file itself; it
    knows the one algorithm that :func:`kmodkit.kernel.modules.compression` names.
    """

    NONE = 0
    IGNORE_MODVERSIONS = 1
    IGNORE_VERMAGIC = 2
    COMPRESSED_FILE = 4


class SyscallNumbers(NamedTuple):
    """The numbers of the three calls on one architecture."""

    init_module: int
    delete_module: int
    finit_module: int


_GENERIC = SyscallNumbers(105, 106, 273)
_ARM = SyscallNumbers(128, 129, 379)
_I386 = SyscallNumbers(128, 129, 350)
_S390 = SyscallNumbers(128, 129, 344)
_POWERPC = SyscallNumbers(128, 129, 353)
_PARISC = SyscallNumbers(128, 129, 333)
_SPARC = SyscallNumbers(190, 222, 342)
_X86_64 = SyscallNumbers(175, 176, 313)
_MIPS_O32 = SyscallNumbers(4128, 4129, 4348)
_MIPS_N64 = SyscallNumbers(5168, 5169, 5307)

# What uname calls the machine begins with a key; the kernel may be 64-bit below a 32-bit Python, so that
# the size of a pointer in bytes chooses. From the arch/*/**/syscall*.tbl files and asm-generic/unistd.h.
_NUMBERS: dict[str, dict[int, SyscallNumbers]] = {
    "aarch64": {8: _GENERIC, 4: _ARM},
    "arm": {8: _GENERIC, 4: _ARM},
    "i386": {8: _X86_64, 4: _I386},
    "i486": {8: _X86_64, 4: _I386},
    "i586": {8: _X86_64, 4: _I386},
    "i686": {8: _X86_64, 4: _I386},
    "x86_64": {8: _X86_64, 4: _I386},
    "riscv": {8: _GENERIC, 4: _GENERIC},
    "loongarch": {8: _GENERIC, 4: _GENERIC},
    "arc": {4: _GENERIC},
    "ppc": {8: _POWERPC, 4: _POWERPC},
    "s390": {8: _S390, 4: _S390},
    "mips": {8: _MIPS_N64, 4: _MIPS_O32},
    "parisc": {8: _PARISC, 4: _PARISC},
    "sparc": {8: _SPARC, 4: _SPARC},
    "alpha": {8: SyscallNumbers(307, 308, 507)},
    "m68k": {4: SyscallNumbers(128, 129, 348)},
    "sh": {4: SyscallNumbers(128, 129, 368)},
}

# x32 and n32 have 4-byte pointers too, but other numbers, and registers that ctypes' long does not fill.
_UNSUPPORTED_ABIS = ("gnux32", "gnuabin32")


def syscall_numbers(machine: str, pointer_size: int, *, multiarch: str = "") -> SyscallNumbers:
    """Return the numbers of the calls for a machine as uname(2) names it.

    ``pointer_size`` is that of this process, in bytes; ``multiarch`` the triplet the interpreter was built
    for, where known. Raises SyscallError with ENOSYS for a machine, or an ABI on it, that is not known.
    """
    if not multiarch.endswith(_UNSUPPORTED_ABIS):
        for prefix, by_size in _NUMBERS.items():
            if machine.startswith(prefix) and pointer_size in by_size:
                return by_size[pointer_size]
    abi = f" ({multiarch})" if multiarch else ""
    raise SyscallError(
        "syscall",
        codes.ENOSYS,
        f"the numbers of the module calls are not known for {8 * pointer_size}-bit {machine}{abi}",
    )


@functools.cache
def _numbers() -> SyscallNumbers:
    multiarch = getattr(sys.implementation, "_multiarch", "")
    return syscall_numbers(os.uname().machine, ctypes.sizeof(ctypes.c_void_p), multiarch=multiarch)


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _call(operation: Operation, *arguments: int | bytes) -> None:
    """Make one call; every int goes as a long, for syscall(2) reads whole registers."""
    number = getattr(_numbers(), operation)
    words = [
        ctypes.c_long(argument) if isinstance(argument, int) else ctypes.c_char_p(argument)
        for argument in arguments
    ]
    for _ in range(_MAX_INTERRUPTIONS):
        if _libc().syscall(ctypes.c_long(number), *words) != -1:
            return
        error = ctypes.get_errno()
        if error != codes.EINTR:
            break
    raise SyscallError(operation, error, os.strerror(error))


def _c_string(text: str | bytes, what: str) -> bytes:
    try:
        data = to_bytes(text)
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{what} {text!r} cannot be encoded: {error.reason}") from error
    if b"\0" in data:
        raise ArgumentError(f"{what} {text!r} holds a NUL, behind which the kernel would not look")
    return data


def finit_module(fd: int, params: str | bytes = "", flags: ModuleFlags = ModuleFlags.NONE) -> None:
    """Load the module in the file open for reading at ``fd``.

    ``params`` are the parameters as on a command line: ``debug=1 name="two words"``. Since Linux 6.5 the
    kernel answers calls on one inode that overlap with the first one's result, and drops the others'
    parameters.

    Raises ArgumentError for a NUL in ``params``, else SyscallError: see `explain` for its meaning.
    """
    _call("finit_module", fd, _c_string(params, "the parameter string"), int(flags))


def init_module(image: bytes | bytearray | memoryview | mmap, params: str | bytes = "") -> None:
    """Load the module whose unpacked ELF file is ``image``.

    A signature stays valid this way, but security modules that judge files by where they come from refuse
    it. Anything but ``bytes`` is copied. Raises as `finit_module` does.
    """
    data = image if isinstance(image, bytes) else bytes(image)
    _call("init_module", data, len(data), _c_string(params, "the parameter string"))


def delete_module(name: str | bytes, *, flags: int = os.O_NONBLOCK) -> None:
    """Unload the module the kernel calls ``name`` (with ``_``, never ``-``).

    ``flags`` may add ``os.O_TRUNC``, which forces: kernels built with CONFIG_MODULE_FORCE_UNLOAD then unload
    a module in use, and most likely crash. Raises ArgumentError for a NUL in ``name``, else SyscallError.
    """
    _call("delete_module", _c_string(name, "the module name"), flags)


_LOAD_REASONS = {
    codes.EEXIST: "it is already loaded",
    codes.EBUSY: "another load or unload of it was under way, or a module it depends on is not ready yet",
    codes.ENOENT: "the kernel lacks a symbol that it needs (the kernel log names it)",
    codes.ENOEXEC: "it is not in a format this kernel takes: no ELF file of this architecture, or built for "
    "another kernel (vermagic or symbol versions differ)",
    codes.EKEYREJECTED: "its signature was rejected: it is unsigned, changed since it was signed, or signed "
    "with a key this kernel does not trust",
    codes.ENOKEY: "its signature was made with a key this kernel does not have",
    codes.EBADMSG: "its signature is malformed",
    codes.ENOPKG: "its signature uses an algorithm this kernel does not have",
    codes.EACCES: "a security policy of the system refused it",
    codes.ETXTBSY: "its file is open for writing",
    codes.EINVAL: "a parameter has a value it does not take, its file is empty, a flag is not known to this "
    "kernel, a built-in module has its name, or it uses a symbol namespace it does not import (the kernel "
    "log tells which)",
    codes.ERANGE: "a parameter has a value out of its range",
    codes.ENOSPC: "a parameter has a value that is too long",
    codes.ENOMEM: "the kernel has not enough memory for it",
    codes.EFBIG: "its file is too large",
    codes.EBADF: "its file is not open for reading",
    codes.ENODEV: "its initialisation found no device or feature that it needs",
    codes.EINTR: "a signal interrupted the load",
    codes.ENOSYS: "this kernel was built without loadable modules, or does not know the call",
}

_UNLOAD_REASONS = {
    codes.EAGAIN: "it is in use",
    codes.EWOULDBLOCK: "it is in use",
    codes.ENOENT: "it is not loaded",
    codes.EBUSY: "it is just being loaded or unloaded, or cannot be unloaded because it has no exit function",
    codes.EINTR: "a signal interrupted the unload",
    codes.ENOSYS: "this kernel was built without unloading of modules",
}

_COMPRESSED_REASONS = {
    codes.EINVAL: "it is not compressed in the way this kernel can unpack, or the compressed file is damaged "
    "(an .xz needs --check=crc32)",
    codes.EOPNOTSUPP: "this kernel cannot unpack compressed modules",
}


def explain(
    errno: int,
    operation: Operation,
    name: str,
    *,
    flags: ModuleFlags = ModuleFlags.NONE,
    holders: Sequence[str] = (),
    restrictions: Restrictions | None = None,
) -> str:
    """Return what the kernel's answer ``errno`` to a call means, as a clause about the module ``name``.

    ``flags`` are those of the call, ``holders`` the modules known to use this one. ``restrictions``, from
    :func:`kmodkit.kernel.modules.restrictions`, lets the answer to EPERM name the cause; without them it
    lists what it can be.
    """
    unloading = operation == "delete_module"
    if errno == codes.EPERM:
        return _explain_refusal(name, unloading=unloading, restrictions=restrictions)
    if unloading:
        reason = _UNLOAD_REASONS.get(errno)
        if errno == codes.EAGAIN and holders:
            return f"it is in use by {', '.join(holders)}"
        return reason or f"the kernel answered: {os.strerror(errno)}"
    reason = _LOAD_REASONS.get(errno)
    if flags & ModuleFlags.COMPRESSED_FILE:
        reason = _COMPRESSED_REASONS.get(errno, reason)
    ignoring = flags & (ModuleFlags.IGNORE_MODVERSIONS | ModuleFlags.IGNORE_VERMAGIC)
    if errno == codes.EKEYREJECTED and ignoring:
        return "this kernel takes signed modules only, and ignoring versions makes a module count as unsigned"
    return reason or f"its initialisation failed: {os.strerror(errno)}"


def _explain_refusal(name: str, *, unloading: bool, restrictions: Restrictions | None) -> str:
    """Return the cause of an EPERM, or where nothing proves one, all that are possible."""
    capable = restrictions.capable if restrictions else None
    disabled = restrictions.modules_disabled if restrictions else None
    causes: list[tuple[str, bool | None]] = [
        ("the process lacks the capability CAP_SYS_MODULE", None if capable is None else not capable),
        ("modules are switched off until the next boot (kernel.modules_disabled)", disabled),
    ]
    if not unloading:
        blacklist = restrictions.blacklist if restrictions else None
        banned = None if blacklist is None else normalize_name(name) in blacklist
        locked = restrictions.locked_down if restrictions else None
        causes += [
            ("module_blacklist= on the kernel command line forbids it", banned),
            ("the kernel is locked down and takes only modules with a valid signature", locked),
        ]
    proved = [text for text, holds in causes if holds]
    if proved:
        return " and ".join(proved)
    possible = [text for text, holds in causes if holds is None]
    return " or ".join([*possible, "a security policy or filter of the system refused the call"])


def load_error(
    error: SyscallError,
    name: str,
    *,
    flags: ModuleFlags = ModuleFlags.NONE,
    restrictions: Restrictions | None = None,
) -> LoadError:
    """Return ``error``, raised by `finit_module` or `init_module` for the module ``name``, in words."""
    operation: Operation = "init_module" if error.operation == "init_module" else "finit_module"
    number = error.errno or 0
    return LoadError(name, number, explain(number, operation, name, flags=flags, restrictions=restrictions))


def unload_error(
    error: SyscallError,
    name: str,
    *,
    holders: Sequence[str] = (),
    restrictions: Restrictions | None = None,
) -> UnloadError:
    """Return ``error``, raised by `delete_module` for the module ``name``, in words and of its own class."""
    number = error.errno or 0
    reason = explain(number, "delete_module", name, holders=holders, restrictions=restrictions)
    if number == codes.ENOENT:
        return ModuleNotLoadedError(name, number, reason)
    kind = ModuleInUseError if number in (codes.EAGAIN, codes.EWOULDBLOCK) else UnloadError
    return kind(name, number, reason)
