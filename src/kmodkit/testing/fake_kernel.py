"""A kernel to test against: loads nothing, and answers as a real one does."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING

from kmodkit.core.names import name_from_path, normalize_name
from kmodkit.core.procmodules import LoadedModule
from kmodkit.errors import SyscallError
from kmodkit.kernel.modules import Restrictions
from kmodkit.kernel.syscalls import ModuleFlags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kmodkit.core.catalog import Catalog
    from kmodkit.kernel.modules import Initstate


class FakeKernel:
    """Keeps the state of modules as a kernel would, from several threads at once.

    With a ``catalog`` it knows what modules need: one whose dependencies are not loaded is ENOENT, one that others
    use does not unload (EAGAIN). ``errors`` scripts answers: for a module, errno values for its next calls, 0 for
    one that succeeds; once they are used up, calls succeed. ``delays`` are seconds that a load takes. ``users``
    counts users that are no modules. ``fail`` may decide about each call: it is given ``"load"`` or ``"unload"``
    and the name, and returns an errno or 0. `use` and `set_state` are for what others do meanwhile.

    ``calls`` lists every call as ``(operation, name, params)``, ``flags`` the flags of the latest load, and
    ``most_at_once`` how many loads overlapped.

    >>> kernel = FakeKernel(errors={"ice": [errno.EBUSY]})
    >>> kernel.load("kernel/ice.ko")
    Traceback (most recent call last):
    ...
    kmodkit.errors.SyscallError: finit_module: Device or resource busy
    >>> kernel.load("kernel/ice.ko", "debug=1")
    >>> [module.name for module in kernel.loaded()]
    ['ice']
    """

    def __init__(
        self,
        catalog: Catalog | None = None,
        *,
        loaded: Iterable[str] = (),
        errors: Mapping[str, Sequence[int]] | None = None,
        delays: Mapping[str, float] | None = None,
        users: Mapping[str, int] | None = None,
        fail: Callable[[str, str], int] | None = None,
    ) -> None:
        self._hard = {module.name: _loadable(catalog, module.depends) for module in catalog or ()}
        self._lock = threading.Condition()
        self._states: dict[str, Initstate] = {normalize_name(name): "live" for name in loaded}
        self._errors = {normalize_name(name): list(codes) for name, codes in (errors or {}).items()}
        self._delays = {normalize_name(name): seconds for name, seconds in (delays or {}).items()}
        self._users = {normalize_name(name): count for name, count in (users or {}).items()}
        self._fail = fail
        self._loading = 0
        self.calls: list[tuple[str, str, str]] = []
        self.flags = ModuleFlags.NONE
        self.most_at_once = 0

    def load(self, path: str, params: str = "", flags: ModuleFlags = ModuleFlags.NONE) -> None:
        """Load the module that the file name of ``path`` names; waits while it or what it needs is coming."""
        name = name_from_path(path)
        with self._lock:
            self.calls.append(("load", name, params))
            self.flags = flags
            while any(self._states.get(one) == "coming" for one in (name, *self._needs(name))):
                self._lock.wait()
            if name in self._states:
                raise _failure("finit_module", errno.EEXIST if self._states[name] == "live" else errno.EBUSY)
            if any(need not in self._states for need in self._needs(name)):
                raise _failure("finit_module", errno.ENOENT)
            self._states[name] = "coming"
            self._loading += 1
            self.most_at_once = max(self.most_at_once, self._loading)
            code = self._answer("load", name)
        try:
            time.sleep(self._delays.get(name, 0.0))
        finally:
            with self._lock:
                self._loading -= 1
                if code:
                    self._states.pop(name, None)
                else:
                    self._states[name] = "live"
                self._lock.notify_all()
        if code:
            raise _failure("finit_module", code)

    def unload(self, name: str) -> None:
        """Unload a module."""
        with self._lock:
            self.calls.append(("unload", name, ""))
            if name not in self._states:
                raise _failure("delete_module", errno.ENOENT)
            if self._holders(name) or self._users.get(name):
                raise _failure("delete_module", errno.EAGAIN)
            if self._states[name] != "live":
                raise _failure("delete_module", errno.EBUSY)
            if code := self._answer("unload", name):
                raise _failure("delete_module", code)
            del self._states[name]

    def loaded(self) -> tuple[LoadedModule, ...]:
        """Return the modules that are loaded, the latest first."""
        words = {"live": "Live", "coming": "Loading", "going": "Unloading"}
        with self._lock:
            states = dict(self._states)
            users = dict(self._users)
        holders: dict[str, list[str]] = {name: [] for name in states}
        for name in states:
            for need in self._needs(name):
                holders.get(need, []).append(name)
        return tuple(
            LoadedModule(
                name,
                size=4096,
                refcnt=len(holders[name]) + users.get(name, 0),
                holders=tuple(holders[name]),
                state=words[state],
                address=0,
            )
            for name, state in reversed(states.items())
        )

    def initstate(self, name: str) -> Initstate | None:
        """Return the state of one module."""
        with self._lock:
            return self._states.get(normalize_name(name))

    def restrictions(self) -> Restrictions:
        """Return that nothing is known to be restricted."""
        return Restrictions(capable=True)

    def use(self, name: str, count: int) -> None:
        """Set how many users that are no modules ``name`` has, as an open device node is one."""
        with self._lock:
            self._users[normalize_name(name)] = count

    def set_state(self, name: str, state: Initstate | None) -> None:
        """Set the state of ``name``, as if somebody else loaded or unloaded it; None where it is not loaded."""
        with self._lock:
            if state is None:
                self._states.pop(normalize_name(name), None)
            else:
                self._states[normalize_name(name)] = state
            self._lock.notify_all()

    def _answer(self, operation: str, name: str) -> int:
        scripted = self._errors.get(name)
        if scripted:
            return scripted.pop(0)
        return self._fail(operation, name) if self._fail is not None else 0

    def _needs(self, name: str) -> tuple[str, ...]:
        return self._hard.get(name, ())

    def _holders(self, name: str) -> tuple[str, ...]:
        return tuple(other for other in self._states if name in self._needs(other))


def _loadable(catalog: Catalog | None, names: Iterable[str]) -> tuple[str, ...]:
    modules = [catalog.get(name) for name in names] if catalog is not None else []
    return tuple(module.name for module in modules if module is not None and not module.builtin)


def _failure(operation: str, code: int) -> SyscallError:
    return SyscallError(operation, code, os.strerror(code))
