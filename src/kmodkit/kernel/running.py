"""The kernel that runs: the calls and the state that the Manager works with, in one object."""

from __future__ import annotations

import errno
import os

from kmodkit.errors import FileError, SyscallError
from kmodkit.kernel import modules
from kmodkit.kernel.opening import DEFAULT_MAX_SIZE, compression, opened

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from kmodkit.core.procmodules import LoadedModule
    from kmodkit.kernel.modules import Initstate, Restrictions
    from kmodkit.kernel.syscalls import ModuleFlags


class RunningKernel:
    """Loads and unloads in the kernel of this machine, and reads what is loaded.

    ``proc`` and ``sys`` are where those file systems are mounted; ``max_size`` bounds, in bytes, what a compressed
    module may unpack to here.
    """

    def __init__(self, *, proc: str = "/proc", sys: str = "/sys", max_size: int = DEFAULT_MAX_SIZE) -> None:
        self._proc = proc
        self._sys = sys
        self._max_size = max_size

    def load(self, path: str, params: str = "", flags: ModuleFlags | None = None) -> None:
        """Load the module file ``path``, compressed or not.

        A compressed file is left to the kernel where that says it can unpack it (Linux 6.4), else it is unpacked
        here. Raises SyscallError with the kernel's answer, and FileError or CompressionError for the file.
        """
        from kmodkit.kernel import syscalls  # with ctypes and enum, which plans alone do without

        flags = syscalls.ModuleFlags.NONE if flags is None else flags
        with opened(path) as fd:
            kind = compression(os.pread(fd, 8, 0))
            if kind is None:
                syscalls.finit_module(fd, params, flags)
                return
            if modules.ALGORITHMS[kind] == modules.compression(sys=self._sys):
                try:
                    syscalls.finit_module(fd, params, flags | syscalls.ModuleFlags.COMPRESSED_FILE)
                except SyscallError as error:
                    # The kernel's unpackers take less than the formats allow: an .xz with CRC64 is EINVAL. That is
                    # also what a bad parameter gives, and then the second call says so again.
                    if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                        raise
                else:
                    return
        if flags:
            raise FileError(None, "the kernel takes flags for a compressed module only where it unpacks it", path)
        from kmodkit.kernel.files import read_module_bytes

        syscalls.init_module(read_module_bytes(path, max_size=self._max_size), params)

    def unload(self, name: str) -> None:
        """Unload ``name`` unless it is in use; raises SyscallError with the kernel's answer."""
        from kmodkit.kernel import syscalls

        syscalls.delete_module(name)

    def loaded(self) -> tuple[LoadedModule, ...]:
        """Return the loaded modules; none where the kernel has no list of them, as without loadable modules."""
        try:
            return modules.loaded_modules(proc=self._proc)
        except FileError as error:
            if error.errno == errno.ENOENT:
                return ()
            raise

    def initstate(self, name: str) -> Initstate | None:
        """Return whether ``name`` is live, coming or going, None where it is not loaded."""
        return modules.initstate(name, sys=self._sys)

    def restrictions(self) -> Restrictions:
        """Return what may keep this process from loading."""
        return modules.restrictions(proc=self._proc, sys=self._sys)
