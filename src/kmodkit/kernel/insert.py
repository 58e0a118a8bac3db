"""Loading one module file with the calls that kmod makes, in its order.

`kmodkit.kernel.running.RunningKernel.load` is more forgiving where the kernel cannot unpack a file; this is for
the commands that are to be taken for kmod's.
"""

from __future__ import annotations

import errno
import os

from kmodkit.core.strip import strip_checks
from kmodkit.errors import FileError, SyscallError
from kmodkit.kernel import modules, syscalls
from kmodkit.kernel.files import read_module_bytes
from kmodkit.kernel.opening import DEFAULT_MAX_SIZE, compression, opened
from kmodkit.kernel.syscalls import ModuleFlags

_LONGEST_MAGIC = 6


def insert_module(
    path: str, params: str = "", flags: ModuleFlags = ModuleFlags.NONE, *, sys: str = "/sys"
) -> None:
    """Load the module file ``path``, ignoring what ``flags`` say.

    finit_module takes a plain file, and one that is compressed the way the kernel unpacks itself. Any other file,
    and every file where the kernel lacks that call, is unpacked here for init_module, less what is to be ignored.

    Raises SyscallError with the kernel's answer, and FileError, CompressionError or ElfError for the file.
    """
    with opened(path) as fd:
        if os.fstat(fd).st_size < _LONGEST_MAGIC:
            # kmod looks how the file is compressed, and asks no kernel about one that is too short for that.
            raise FileError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        kind = compression(os.pread(fd, 8, 0))
        if kind is None or modules.ALGORITHMS[kind] == modules.compression(sys=sys):
            try:
                syscalls.finit_module(fd, params, flags | (ModuleFlags.COMPRESSED_FILE if kind else flags))
            except SyscallError as error:
                if error.errno != errno.ENOSYS:
                    raise
            else:
                return
    image = read_module_bytes(path, max_size=DEFAULT_MAX_SIZE)
    if flags:
        image = strip_checks(
            image,
            modversions=bool(flags & ModuleFlags.IGNORE_MODVERSIONS),
            vermagic=bool(flags & ModuleFlags.IGNORE_VERMAGIC),
        )
    syscalls.init_module(image, params)
