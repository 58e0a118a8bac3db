"""Unloading as modprobe does it: what goes before a module, and what goes with it."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kmodkit.errors import SyscallError
from kmodkit.modprobe.insert import CMDLINE_OPTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kmodkit.modprobe.calls import Calls
    from kmodkit.modprobe.insert import Watcher
    from kmodkit.modprobe.lookup import Modules, Target

_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOptions:
    """How to unload. ``wait`` is how many seconds to try again for where a module is in use.

    ``holders`` unloads first what uses a module directly. The rest is as in `InsertOptions`; ``ignore_command``
    passes over soft dependencies as well.
    """

    dry_run: bool = False
    ignore_loaded: bool = False
    ignore_command: bool = False
    first_time: bool = False
    holders: bool = False
    force: bool = False
    wait: float = 0.0


class Remover:
    """Unloads modules of ``modules`` through ``calls``."""

    def __init__(self, modules: Modules, calls: Calls, watcher: Watcher, options: RemoveOptions) -> None:
        self._modules = modules
        self._calls = calls
        self._watcher = watcher
        self._options = options
        self._under_way: set[str] = set()

    def remove(self, target: Target, *, holders: bool | None = None) -> int:
        """Unload a module and what is of no use without it; return 0, or the errno of what kept it from that."""
        # Soft dependencies may form a ring; kmod follows it until its stack is used up.
        if target.name in self._under_way:
            return 0
        self._under_way.add(target.name)
        try:
            return self._remove(target, holders=self._options.holders if holders is None else holders)
        finally:
            self._under_way.discard(target.name)

    def _remove(self, target: Target, *, holders: bool) -> int:
        options = self._options
        pre: list[Target] = []
        post: list[Target] = []
        command = None
        if not options.ignore_command:
            pre, post = self._modules.softdeps(target)
            command = self._modules.config.command("remove", target.name)
        if command is None and not options.ignore_loaded:
            if target.builtin:
                self._watcher.refused(f"Module {target.name} is builtin.")
                return errno.ENOENT
            if self._calls.initstate(target.name) is None:
                if not options.first_time:
                    return 0
                self._watcher.refused(f"Module {target.name} is not in kernel.")
                return errno.ENOENT
        self._all(reversed(post))
        if holders:
            error = self._holders(target)
            if error:
                return error
        error = self._itself(target, command.command if command else None)
        if error:
            return error
        self._unused(target)
        self._all(reversed(pre))
        return 0

    def _all(self, targets: Iterable[Target]) -> None:
        for target in targets:
            self.remove(target, holders=False)

    def _holders(self, target: Target) -> int:
        for name in reversed(self._calls.holders(target.name)):
            error = self.remove(self._modules.target(name), holders=False)
            if error:
                return error
        return 0

    def _itself(self, target: Target, command: str | None) -> int:
        if command is not None:
            # There are no parameters to hand on here.
            command = command.replace(CMDLINE_OPTS, "")
            self._watcher.acting("remove", target, command=command)
            return 0 if self._options.dry_run else self._run(target, command)
        if not (self._options.ignore_loaded or self._options.wait) and (self._calls.refcnt(target.name) or 0) > 0:
            self._watcher.refused(f"Module {target.name} is in use.")
            return errno.EBUSY
        return self._delete(target)

    def _unused(self, target: Target) -> None:
        """Unload what the module needed and nobody uses now; commands and soft dependencies are not for these."""
        for need in self._modules.dependencies(target):
            if not need.builtin and self._calls.refcnt(need.name) == 0:
                self._delete(need)

    def _delete(self, target: Target) -> int:
        self._watcher.acting("rmmod", target)
        if self._options.dry_run:
            return 0
        until = time.monotonic() + self._options.wait
        pause = _FIRST_PAUSE
        while True:
            try:
                self._calls.delete(target.name, force=self._options.force)
            except SyscallError as error:
                if error.errno == errno.EAGAIN and time.monotonic() + pause <= until:
                    time.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                self._watcher.failed(f"could not remove '{target.name}': {error.strerror}")
                return error.errno or errno.EINVAL
            return 0

    def _run(self, target: Target, command: str) -> int:
        if not self._calls.shell(command, {"MODPROBE_MODULE": target.name}):
            return 0
        self._watcher.refused(f"Error running remove command for {target.name}")
        return errno.EINVAL
