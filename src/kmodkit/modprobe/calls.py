"""What loading and unloading act through: the module calls, the kernel's state, and the shell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kmodkit.kernel import modules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kmodkit.kernel.modules import Initstate
    from kmodkit.kernel.syscalls import ModuleFlags


class Calls:
    """Acts on the running kernel; ``proc`` and ``sys`` are where its file systems are mounted."""

    def __init__(self, *, sys: str = "/sys") -> None:
        self._sys = sys

    def insert(self, path: str, params: str, flags: ModuleFlags) -> None:
        """Load a module file; raises SyscallError and what reading the file may raise."""
        from kmodkit.kernel.insert import insert_module

        insert_module(path, params, flags, sys=self._sys)

    def delete(self, name: str, *, force: bool) -> None:
        """Unload a module; raises SyscallError."""
        from kmodkit.kernel.syscalls import delete_module

        delete_module(name, flags=os.O_NONBLOCK | (os.O_TRUNC if force else 0))

    def initstate(self, name: str) -> Initstate | None:
        """Return whether a module is live, coming or going, None where it is not loaded."""
        return modules.initstate(name, sys=self._sys)

    def refcnt(self, name: str) -> int | None:
        """Return how often a module is in use, None where that is not known."""
        return modules.refcnt(name, sys=self._sys)

    def holders(self, name: str) -> tuple[str, ...]:
        """Return the modules that use a module."""
        return modules.holders(name, sys=self._sys) or ()

    def shell(self, command: str, environment: Mapping[str, str]) -> int:
        """Run a shell command and return its exit status, 128 and the signal's number where one ended it."""
        # As system(3) does, but for what is printed: that stays in our buffer. subprocess is 30 ms of the start.
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "--", command], {**os.environ, **environment})
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code
