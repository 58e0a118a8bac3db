"""Every error kmodkit raises on purpose.

::

    KmodError
    ├── FormatError                 bytes that are not what they claim to be (source, offset)
    │   ├── ElfError                an ELF header or section table
    │   ├── ModinfoError            a .modinfo section or modules.builtin.modinfo
    │   ├── SignatureError          an appended module signature
    │   ├── CompressionError        a .gz, .xz or .zst file, or one that unpacks to too much
    │   ├── PatternError            an alias pattern that cannot be used
    │   ├── MetadataError           a meta.pb file
    │   ├── CacheError              a cache of what modules say, to be made anew
    │   ├── KmodIndexError          one of depmod's files, or what none of them can hold
    │   ├── CpioError               a cpio archive
    │   ├── UeventError             a datagram that is no uevent of the kernel
    │   ├── ProcModulesError        the text of /proc/modules
    │   ├── WhenceError             linux-firmware's WHENCE
    │   ├── SnapshotError           a snapshot of devices, as JSON
    │   └── FsspecError             an FSSpec, as text or as values
    ├── FileError                   a file that cannot be read or written (path, errno); also an OSError
    ├── SyscallError                a system call failed (operation, errno); also an OSError
    ├── ArgumentError               an argument no call can take, such as a NUL; also a ValueError
    ├── TreeError                   a path that holds no module tree, or more than one (path)
    ├── ScanError                   a strict scan met problems (problems)
    ├── SelectionError              a strict choice of modules met shortcomings (shortcomings)
    ├── MissingFirmwareError        firmware that no source has, where that is not allowed (missing)
    ├── MissingLibraryError         a library that only some features need is not installed (library)
    ├── ModuleNotFoundError         no module has that name (name); also a LookupError
    ├── KtestError                  a run in a virtual machine could not be made (console, output)
    │   ├── KtestTimeoutError       the guest gave no answer in time
    │   └── KtestLostError          the guest went away, or its answer was garbled
    ├── LoadError                   the kernel did not take a module (module, errno, reason)
    ├── UnloadError                 the kernel did not let a module go (module, errno, reason)
    │   ├── ModuleInUseError        something still uses it
    │   └── ModuleNotLoadedError    it is not loaded; also a LookupError
    └── DependencyError             the dependencies of a module cannot be followed (module)
        ├── CycleError              they lead back to the module (cycle)
        │   └── CyclesError             the same of every cycle that there is (cycles)
        └── UnknownDependencyError  they name a module that is not there (dependency)

Errors about input say which file or module it was, what was wrong and, for bytes, at which offset.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers read it; `typing` itself takes as long to import as Python to start
if TYPE_CHECKING:
    from collections.abc import Sequence


class KmodError(Exception):
    """The base of every error of this package."""


class FormatError(KmodError):
    """Bytes that are not what they claim to be.

    ``reason`` says what is wrong, ``offset`` at which byte of the input (None where no single byte is to
    blame) and ``source`` in which file or module (None until the caller that knows it fills it in).
    """

    def __init__(self, reason: str, *, offset: int | None = None, source: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset
        self.source = source

    def __str__(self) -> str:
        where = f" (at offset {self.offset:#x})" if self.offset is not None else ""
        prefix = f"{self.source}: " if self.source is not None else ""
        return f"{prefix}{self.reason}{where}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling of exceptions between processes.
        return (_rebuild_format_error, (type(self), self.reason, self.offset, self.source))


def _rebuild_format_error(
    kind: type[FormatError], reason: str, offset: int | None, source: str | None
) -> FormatError:
    return kind(reason, offset=offset, source=source)


class ElfError(FormatError):
    """An ELF header or section table that cannot be followed."""


class ModinfoError(FormatError):
    """A ``.modinfo`` section or ``modules.builtin.modinfo`` file that breaks its format."""


class SignatureError(FormatError):
    """An appended module signature that breaks its format."""


class CompressionError(FormatError):
    """A compressed module that does not unpack, or unpacks to more than allowed."""


class PatternError(FormatError):
    """An alias pattern that cannot be used; ``source`` is the pattern."""


class MetadataError(FormatError):
    """A ``meta.pb`` file that is truncated, corrupt or inconsistent."""


class CacheError(FormatError):
    """A cache file that is damaged or of another version; what it was made from is to be read again."""


class KmodIndexError(FormatError):
    """One of depmod's files that breaks its format, or what none of them can hold."""


class CpioError(FormatError):
    """A cpio archive that breaks its format, or entries that no archive can hold."""


class UeventError(FormatError):
    """A netlink datagram that is not one whole uevent of the kernel."""


class ProcModulesError(FormatError):
    """A line of ``/proc/modules`` that breaks its format; ``offset`` is where the line begins."""


class WhenceError(FormatError):
    """A line of WHENCE that breaks its format; ``offset`` is where the line begins."""


class SnapshotError(FormatError):
    """A snapshot of devices that cannot be read."""


class FsspecError(FormatError):
    """The text of an FSSpec that breaks its format, or values that none can hold."""


class FileError(KmodError, OSError):
    """A file that cannot be read or written; ``errno``, ``strerror`` and ``filename`` as on OSError."""

    @classmethod
    def wrap(cls, error: OSError, path: str) -> FileError:
        """Return ``error`` as a FileError about ``path``."""
        return cls(error.errno, error.strerror or str(error), path)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class SyscallError(KmodError, OSError):
    """A system call failed; ``errno`` and ``strerror`` as on OSError, ``operation`` names the call."""

    def __init__(self, operation: str, errno: int, strerror: str) -> None:
        super().__init__(errno, strerror)
        self.operation = operation

    def __str__(self) -> str:
        return f"{self.operation}: {self.strerror}"

    def __reduce__(self) -> tuple[object, ...]:
        # OSError pickles as (errno, strerror) alone.
        return (SyscallError, (self.operation, self.errno, self.strerror))


class ArgumentError(KmodError, ValueError):
    """An argument that no call can take, such as a parameter string with a NUL byte in it."""


class TreeError(KmodError):
    """A path that holds no module tree, or more than one where one was asked for."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ScanError(KmodError):
    """A strict scan met problems; ``problems`` holds the errors in the order of their files."""

    def __init__(self, problems: Sequence[KmodError]) -> None:
        super().__init__(tuple(problems))
        self.problems: tuple[KmodError, ...] = tuple(problems)

    def __str__(self) -> str:
        first = str(self.problems[0]) if self.problems else "no detail"
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return f"{first}{more}"


class SelectionError(KmodError):
    """A strict choice of modules met ``shortcomings``: wishes without a module, modules that cannot be loaded."""

    def __init__(self, shortcomings: Sequence[str]) -> None:
        super().__init__("; ".join(shortcomings))
        self.shortcomings = tuple(shortcomings)


class MissingFirmwareError(KmodError):
    """Firmware that no source has; ``missing`` holds for each a pair of the module and what it asks for."""

    def __init__(self, missing: Sequence[tuple[str, str]]) -> None:
        super().__init__(tuple(missing))
        self.missing: tuple[tuple[str, str], ...] = tuple(missing)

    def __str__(self) -> str:
        if not self.missing:
            return "firmware is missing"
        module, firmware = self.missing[0]
        more = f" (and {len(self.missing) - 1} more)" if len(self.missing) > 1 else ""
        return f"firmware {firmware!r} of module {module!r} is not there{more}"


class MissingLibraryError(KmodError):
    """A feature needs ``library``, which comes with ``pip install kmodkit[EXTRA]`` and is not installed."""

    def __init__(self, library: str, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the library {library}: pip install 'kmodkit[{extra}]'")
        self.library = library


class ModuleNotFoundError(KmodError, LookupError):
    """No module has the name ``name``."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"module {self.name!r} does not exist"


class KtestError(KmodError):
    """A run in a virtual machine could not be made; the message says which step failed.

    ``console`` holds the guest kernel's log and ``output`` what the command wrote, as far as they came (bytes).
    """

    def __init__(self, reason: str, *, console: bytes = b"", output: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.console = console
        self.output = output


class KtestTimeoutError(KtestError):
    """The guest gave no answer in the time allowed; it was killed."""


class KtestLostError(KtestError):
    """The guest went away (panic, reset, a dead QEMU) or its answer was garbled: the result is not known."""


class LoadError(KmodError):
    """The kernel did not take ``module``; ``reason`` says why in words.

    ``errno`` is the kernel's answer, or None where the load failed before the kernel was asked.
    """

    def __init__(self, module: str, errno: int | None, reason: str) -> None:
        super().__init__(module, errno, reason)
        self.module = module
        self.errno = errno
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot load module {self.module!r}: {self.reason}"


class UnloadError(KmodError):
    """The kernel did not let ``module`` go; ``errno`` and ``reason`` as on LoadError."""

    def __init__(self, module: str, errno: int | None, reason: str) -> None:
        super().__init__(module, errno, reason)
        self.module = module
        self.errno = errno
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot unload module {self.module!r}: {self.reason}"


class ModuleInUseError(UnloadError):
    """Another module or a process still uses the module."""


class ModuleNotLoadedError(UnloadError, LookupError):
    """The module to unload is not loaded."""


class DependencyError(KmodError):
    """The dependencies of ``module`` cannot be followed."""

    def __init__(self, module: str, *rest: object) -> None:
        super().__init__(module, *rest)
        self.module = module


class CycleError(DependencyError):
    """Hard dependencies lead back to where they began; ``cycle`` names them, the first one last again."""

    def __init__(self, cycle: Sequence[str]) -> None:
        super().__init__(cycle[0], tuple(cycle))
        self.cycle: tuple[str, ...] = tuple(cycle)

    def __str__(self) -> str:
        return f"dependency cycle: {' -> '.join(self.cycle)}"

    def __reduce__(self) -> tuple[object, ...]:
        return (CycleError, (self.cycle,))


class CyclesError(CycleError):
    """Hard dependencies lead back to where they began, in each of ``cycles``; ``cycle`` is the first."""

    def __init__(self, cycles: Sequence[Sequence[str]]) -> None:
        super().__init__(cycles[0])
        self.cycles: tuple[tuple[str, ...], ...] = tuple(tuple(cycle) for cycle in cycles)

    def __reduce__(self) -> tuple[object, ...]:
        return (CyclesError, (self.cycles,))


class UnknownDependencyError(DependencyError):
    """``module`` depends on ``dependency``, which is no module of the catalog."""

    def __init__(self, module: str, dependency: str) -> None:
        super().__init__(module, dependency)
        self.dependency = dependency

    def __str__(self) -> str:
        return f"module {self.module!r} depends on {self.dependency!r}, which does not exist"
