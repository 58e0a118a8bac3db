"""Loading as modprobe does it: which modules, in which order, with which parameters, and what an error means."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from kmodkit.errors import FileError, KmodError, SyscallError
from kmodkit.kernel.syscalls import ModuleFlags

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmodkit.modprobe.calls import Calls
    from kmodkit.modprobe.lookup import Modules, Target

Action = Literal["insmod", "install", "builtin", "rmmod", "remove"]

CMDLINE_OPTS: Final = "$CMDLINE_OPTS"


class Watcher(Protocol):
    """Who is told what happens."""

    def acting(self, action: Action, target: Target, params: str = "", command: str = "") -> None:
        """Say what is about to be done, or would be."""

    def failed(self, text: str) -> None:
        """Say what went wrong, while the rest goes on."""

    def refused(self, text: str) -> None:
        """Say why a request cannot be met; may raise to end everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertOptions:
    """How to load. ``blacklist`` heeds blacklist lines for names that are no aliases, too.

    ``first_time`` makes it an error that a module is there already, ``ignore_loaded`` takes none for being there,
    and ``ignore_command`` passes over the install line of what is asked for itself.
    """

    dry_run: bool = False
    ignore_loaded: bool = False
    ignore_command: bool = False
    blacklist: bool = False
    first_time: bool = False
    flags: ModuleFlags = ModuleFlags.NONE


class Inserter:
    """Loads modules of ``modules`` through ``calls``.

    ``check`` is asked before a module is given parameters, and returns whether it may be.
    """

    def __init__(
        self,
        modules: Modules,
        calls: Calls,
        watcher: Watcher,
        options: InsertOptions,
        check: Callable[[Target, str], bool] | None = None,
    ) -> None:
        self._modules = modules
        self._calls = calls
        self._watcher = watcher
        self._options = options
        self._check = check

    def insert(self, target: Target, params: str) -> int:
        """Load a module with what it needs and return 0, or the errno of what kept it from that.

        A module that is blacklisted counts as done, and so does one that is loaded, but with ``first_time``.
        """
        options = self._options
        if not options.ignore_loaded and self.in_kernel(target):
            return errno.EEXIST if options.first_time else 0
        if self.blacklisted(target):
            return 0
        error = 0
        for one in probe_list(self._modules, target, ignore_command=options.ignore_command):
            error = self._one(one, params if one is target else "")
            if error == errno.EEXIST and one is target and options.first_time:
                break
            if error == errno.EEXIST or not one.required:
                error = 0
            elif error:
                break
        return error

    def in_kernel(self, target: Target) -> bool:
        """Return whether a module is there: built in, or loaded and initialised."""
        return target.builtin or self._calls.initstate(target.name) == "live"

    def blacklisted(self, target: Target) -> bool:
        """Return whether a blacklist line keeps the request for a module from being met."""
        asked = target.alias is not None or self._options.blacklist
        return asked and self._modules.config.blacklisting(target.name) is not None

    def _one(self, target: Target, extra: str) -> int:
        """Load one module, or run its command, and return 0 or an errno."""
        if not self._options.ignore_loaded and self.in_kernel(target):
            return errno.EEXIST
        params = parameters(self._modules, target, extra)
        command = None if target.ignore_command else self._modules.config.command("install", target.name)
        if command is not None:
            self._watcher.acting("install", target, params, command.command)
            return 0 if self._options.dry_run else self._install(target, command.command, params)
        if target.path is not None:
            self._watcher.acting("insmod", target, params)
            if self._check is not None and params and not self._check(target, params):
                return errno.EINVAL
        elif self.in_kernel(target):
            self._watcher.acting("builtin", target)
        return 0 if self._options.dry_run else self._load(target, params)

    def _load(self, target: Target, params: str) -> int:
        if target.path is None:
            if target.builtin:
                return 0
            self._watcher.failed(f"could not find module by name='{target.name}'")
            return errno.ENOENT
        try:
            self._calls.insert(target.path, params, self._options.flags)
        except SyscallError as error:
            return error.errno or errno.EINVAL
        except FileError as error:
            self._watcher.failed(str(error))
            return error.errno or errno.EINVAL
        except KmodError as error:
            self._watcher.failed(str(error))
            return errno.ENOEXEC
        return 0

    def _install(self, target: Target, command: str, params: str) -> int:
        command = command.replace(CMDLINE_OPTS, params)
        status = self._calls.shell(command, {"MODPROBE_MODULE": target.name})
        if not status:
            return 0
        self._watcher.failed(
            f"Error running install command '{command}' for module {target.name}: retcode {status}"
        )
        return errno.EINVAL


def probe_list(modules: Modules, target: Target, *, ignore_command: bool = False) -> list[Target]:
    """Return what loading ``target`` acts on, in order; a module comes twice where libkmod has it twice.

    Hard dependencies, and the target itself, are ``required`` then. A module's soft dependencies stand around
    it; those of the target are left out where its command is, since both stand for what to do instead.
    """
    found: list[Target] = []
    # Not recursion: soft dependencies can form a chain of all modules.
    todo: list[tuple[Literal["probe", "fill", "place"], Target]] = [("probe", target)]
    modules.forget_plans()
    target.required = True
    while todo:
        step, one = todo.pop()
        if step == "place":
            found.append(one)
        elif step == "fill":
            pre, post = modules.softdeps(one)
            # A module with soft dependencies is loaded itself, whatever install line it has.
            one.ignore_command = bool(pre or post)
            after: list[tuple[Literal["probe", "fill", "place"], Target]] = [("probe", other) for other in post]
            todo += [*reversed(after), ("place", one), *(("probe", other) for other in reversed(pre))]
        elif not one.visited:
            one.visited = True
            needs = modules.dependencies(one)
            if one is target:
                for need in needs:
                    need.required = True
            if one is target and ignore_command:
                one.ignore_command = True
                todo.append(("place", one))
            else:
                todo.append(("fill", one))
            todo += [("fill", need) for need in reversed(needs)]
    return found


def parameters(modules: Modules, target: Target, extra: str) -> str:
    """Return the parameters for a module: of options lines, then ``extra``, with kmod's blanks between them."""
    configured = " ".join(one.text for one in modules.config.options_of(target.name, target.alias))
    return f"{configured} {extra}" if configured else extra


def insert_message(name: str, error: int) -> str:
    """Return what modprobe says of a failed load."""
    if error == errno.EEXIST:
        reason = "Module already in kernel"
    elif error == errno.ENOENT:
        reason = "Unknown symbol in module, or unknown parameter (see dmesg)"
    else:
        reason = os.strerror(error)
    return f"could not insert '{name}': {reason}"
