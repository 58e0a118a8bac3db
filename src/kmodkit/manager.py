"""The Manager: plan what to load or unload, then do it, in a kernel.

Nothing about what is loaded is remembered between calls: the kernel knows, and others change it too.
"""

from __future__ import annotations

import errno
import os
import time
from _thread import allocate_lock

from kmodkit.core.graph import hard_order
from kmodkit.core.names import normalize_name
from kmodkit.core.plan import Plan, Step, plan_load, plan_unload
from kmodkit.errors import ArgumentError, KmodError, LoadError, ModuleNotFoundError, SyscallError, UnloadError
from kmodkit.kernel.together import Answer, run_together

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from dataclasses import dataclass
    from pathlib import Path
    from typing import Final, Literal, Protocol

    from kmodkit.core.catalog import Catalog
    from kmodkit.core.procmodules import LoadedModule
    from kmodkit.kernel.modules import Initstate, Restrictions
    from kmodkit.kernel.syscalls import ModuleFlags

    Status = Literal["done", "already", "failed", "skipped"]
else:
    from kmodkit.core.values import dataclass

    Protocol = object
    Status = str

METADATA: Final = "meta.pb"
# How long a load or unload of the same module by somebody else is waited for, and how often it is looked at.
_BUSY_SECONDS: Final = 30.0
_FIRST_PAUSE: Final = 0.005
# EBUSY is also what the initialisation of a module may answer for a device that another driver has, and then it
# always will: tried over half a second or so.
_BUSY_TRIES: Final = 8
_LONGEST_PAUSE: Final = 0.2


class Kernel(Protocol):
    """What the Manager needs of a kernel: the running one (`RunningKernel`), or `kmodkit.testing.FakeKernel`.

    All methods are called from several threads at once.
    """

    def load(self, path: str, params: str = "", flags: ModuleFlags = ...) -> None:
        """Load a module file; raises SyscallError with the kernel's answer, KmodError for the file itself."""

    def unload(self, name: str) -> None:
        """Unload a module without waiting; raises SyscallError with the kernel's answer."""

    def loaded(self) -> tuple[LoadedModule, ...]:
        """Return the modules that are loaded."""

    def initstate(self, name: str) -> Initstate | None:
        """Return whether a module is live, coming or going, None where it is not loaded."""

    def restrictions(self) -> Restrictions:
        """Return what may keep this process from loading."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one step.

    ``status``: ``done`` by us, ``already`` so when we came to it, ``failed``, or ``skipped`` because a step that
    it needs did not succeed. ``error`` says why it failed or was skipped. ``start`` and ``seconds`` are when it
    began, counted from the start of the whole, and how long it took.
    """

    step: Step
    status: Status
    error: KmodError | None = None
    start: float = 0.0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the module is now as the step wants it."""
        return self.status in ("done", "already")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a plan: an outcome for each step, in the plan's order, and the seconds it all took."""

    outcomes: tuple[Outcome, ...] = ()
    seconds: float = 0.0

    @property
    def failures(self) -> tuple[KmodError, ...]:
        """The errors that matter, in the plan's order; those of soft dependencies do not."""
        return tuple(o.error for o in self.outcomes if o.error is not None and o.step.required)

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for is so."""
        return not self.failures

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the modules that were loaded or unloaded by this, in the plan's order."""
        return tuple(o.step.name for o in self.outcomes if o.status == "done")

    def check(self) -> Result:
        """Return the result where it is good; raise its one failure, or an ExceptionGroup of them.

        A module that was skipped because one that it needs failed is no failure of its own here.
        """
        roots = [
            outcome.error
            for outcome in self.outcomes
            if outcome.error is not None
            and outcome.step.required
            and not (outcome.status == "skipped" and outcome.step.needs)
        ] or list(self.failures)
        if len(roots) == 1:
            raise roots[0]
        if roots:
            raise ExceptionGroup(f"{len(roots)} modules failed", roots)
        return self


class Manager:
    """Loads and unloads the modules of one catalog in one kernel; safe to use from threads.

    ``root`` is the directory that the catalog's paths are relative to. ``options`` gives parameters by module
    name, ``blacklist`` names modules that no device brings in (they still load by name or as a dependency), and
    ``jobs`` is how many modules may load at the same time.

    `load` and `unload` raise where they fail. `load_for_device` and `load_for_devices` never raise for a module
    that fails: their `Result` has every failure, and `Result.check` raises them.

    >>> from kmodkit import Catalog, Module
    >>> from kmodkit.testing import FakeKernel
    >>> catalog = Catalog((Module("r8169", "r8169.ko", ("libphy",)), Module("libphy", "libphy.ko")))
    >>> manager = Manager(catalog, "/lib/modules/6.1", kernel=FakeKernel(catalog))
    >>> print(manager.plan("r8169"))
    load libphy libphy.ko
    load r8169 r8169.ko
    >>> manager.load("r8169").changed
    ('libphy', 'r8169')
    >>> manager.load("r8169").changed
    ()
    """

    def __init__(
        self,
        catalog: Catalog,
        root: str | os.PathLike[str],
        *,
        kernel: Kernel | None = None,
        options: Mapping[str, str] | None = None,
        blacklist: Collection[str] = (),
        jobs: int | None = None,
    ) -> None:
        self.catalog = catalog
        self._root = os.fspath(root)
        if kernel is None:
            from kmodkit.kernel.running import RunningKernel

            kernel = RunningKernel()
        self.kernel: Kernel = kernel
        self._options = {normalize_name(name): text for name, text in (options or {}).items()}
        self._blacklist = frozenset(map(normalize_name, blacklist))
        self._jobs = jobs or max(2, len(os.sched_getaffinity(0)))
        self._lock = allocate_lock()
        self._under_way: dict[str, Answer] = {}

    @classmethod
    def from_metadata(cls, path: str | os.PathLike[str], *, kernel: Kernel | None = None) -> Manager:
        """Return a manager for a meta.pb file, or for the one in a directory; its directory is the root.

        Raises FileError and MetadataError.
        """
        from kmodkit.kernel.opening import read_file
        from kmodkit.meta.search import MAX_METADATA
        from kmodkit.meta.wire import WireCatalog

        file = os.fspath(path)
        if os.path.isdir(file):  # noqa: PTH112 - pathlib takes a third of the bare interpreter's start
            file = f"{file}/{METADATA}"
        # What `open_metadata` does, without all that scans.
        catalog = WireCatalog(read_file(file, max_size=MAX_METADATA), source=file)
        return cls(catalog, os.path.dirname(file) or ".", kernel=kernel)  # noqa: PTH120 - see above

    @classmethod
    def from_tree(cls, tree: str | os.PathLike[str] | None = None, *, kernel: Kernel | None = None) -> Manager:
        """Return a manager for a module tree, from its meta.pb where it has one, else by reading every module.

        ``tree`` is as for `kmodkit.find_tree`. Raises what `kmodkit.scan` and `from_metadata` do.
        """
        from kmodkit.kernel.files import find_tree

        found = find_tree(tree)
        if os.path.isfile(f"{found.root}/{METADATA}"):  # noqa: PTH113 - see above
            return cls.from_metadata(found.root, kernel=kernel)
        from kmodkit.scanner import scan

        return cls(scan(found).catalog, found.root, kernel=kernel)

    @property
    def root(self) -> Path:
        """The directory that the catalog's paths are relative to."""
        from pathlib import Path

        return Path(self._root)

    # --- state ----------------------------------------------------------------------------------------------

    def loaded(self) -> tuple[LoadedModule, ...]:
        """Return the modules that the kernel has loaded, of this catalog or not, the latest first."""
        return self.kernel.loaded()

    def is_loaded(self, name: str) -> bool:
        """Return whether ``name`` is live in the kernel, or built in."""
        module = self.catalog.get(name)
        return (module is not None and module.builtin) or self.kernel.initstate(normalize_name(name)) == "live"

    # --- loading --------------------------------------------------------------------------------------------

    def plan(self, name: str, params: str = "") -> Plan:
        """Return what `load` would do now.

        Raises ModuleNotFoundError where ``name`` is neither a module nor an alias of one, UnknownDependencyError
        and CycleError.
        """
        modules = self.catalog.resolve(name)
        if not modules:
            raise ModuleNotFoundError(name)
        options = {**self._options}
        for module in modules:
            options[module.name] = " ".join(filter(None, (self._options.get(module.name), params)))
        return plan_load(self.catalog, [module.name for module in modules], self._live(), options)

    def plan_for_devices(self, modaliases: Iterable[str]) -> tuple[Plan, tuple[KmodError, ...]]:
        """Return what `load_for_devices` would do now, and why modules that match cannot be planned for."""
        wanted = dict.fromkeys(
            module.name
            for modalias in dict.fromkeys(modaliases)
            for module in self.catalog.lookup(modalias)
            if module.name not in self._blacklist
        )
        live = self._live()
        errors: list[KmodError] = []
        good: list[str] = []
        for name in wanted:
            try:
                hard_order([name], self.catalog.needs, done=live)
                good.append(name)
            except KmodError as error:
                errors.append(error)
        return plan_load(self.catalog, good, live, self._options), tuple(errors)

    def load(self, name: str, params: str = "") -> Result:
        """Load the module called ``name``, or every one with that alias, and what it needs.

        ``params`` go to the modules named, as on a command line (``debug=1``), behind their `options`. What is
        loaded or built in already is fine, and its parameters stay as they are. Raises what `plan` does,
        LoadError for a failure and ExceptionGroup for several.
        """
        return self.execute(self.plan(name, params)).check()

    def load_for_device(self, modalias: str) -> Result:
        """Load every module that a device's ``modalias`` matches; matching none is no failure."""
        return self.load_for_devices([modalias])

    def load_for_devices(self, modaliases: Iterable[str]) -> Result:
        """Load every module that any of ``modaliases`` matches, each once; one failure does not stop the rest."""
        plan, errors = self.plan_for_devices(modaliases)
        result = self.execute(plan)
        extra = tuple(Outcome(Step("load", getattr(error, "module", "")), "skipped", error) for error in errors)
        return Result(result.outcomes + extra, result.seconds)

    # --- unloading ------------------------------------------------------------------------------------------

    def plan_unload(self, name: str, *, remove_holders: bool = False, unused: bool = False) -> Plan:
        """Return what `unload` would do now; raises ModuleNotLoadedError, ModuleInUseError and UnloadError."""
        return plan_unload(self.catalog, name, self.kernel.loaded(), remove_holders=remove_holders, unused=unused)

    def unload(
        self, name: str, *, remove_holders: bool = False, unused: bool = False, wait: float = 0.0
    ) -> Result:
        """Unload the module called ``name``.

        With ``remove_holders`` the modules that use it go first; with ``unused`` the dependencies that nothing
        uses afterwards go too. A module in use is tried again for up to ``wait`` seconds. Raises
        ModuleNotLoadedError, ModuleInUseError and UnloadError.
        """
        plan = self.plan_unload(name, remove_holders=remove_holders, unused=unused)
        begin = time.monotonic()
        outcomes: list[Outcome] = []
        for step in plan:
            start = time.monotonic()
            try:
                status = self._unload_one(step.name, start + wait)
                outcomes.append(_timed(Outcome(step, status), start, begin))
            except UnloadError as error:
                outcomes.append(_timed(Outcome(step, "failed", error), start, begin))
                break
        return Result(tuple(outcomes), time.monotonic() - begin).check()

    def _unload_one(self, name: str, until: float) -> Status:
        for pause in _pauses():
            try:
                self.kernel.unload(name)
            except SyscallError as error:
                if error.errno == errno.ENOENT:
                    return "already"
                if error.errno not in (errno.EAGAIN, errno.EBUSY) or time.monotonic() + pause > until:
                    holders = next((m.holders for m in self.kernel.loaded() if m.name == name), ())
                    from kmodkit.kernel.syscalls import unload_error

                    raise unload_error(
                        error, name, holders=holders, restrictions=self.kernel.restrictions()
                    ) from error
                time.sleep(pause)
            else:
                return "done"
        raise AssertionError("pauses never end")

    # --- carrying out ---------------------------------------------------------------------------------------

    def execute(self, plan: Plan) -> Result:
        """Load what ``plan`` says, steps that do not need each other at the same time.

        Returns what became of each step, and never raises for a module. Steps that need one that failed are
        skipped; what a step needs and the plan does not have before it counts as done. Raises ArgumentError for
        a plan to unload, which `unload` carries out.
        """
        for step in plan:
            if step.action != "load":
                raise ArgumentError(f"execute loads, and the plan has a step to {step}")
        begin = time.monotonic()
        outcomes: dict[str, Outcome] = {}
        if len(plan) <= 1 or self._jobs == 1:
            for step in plan:
                outcomes[step.name] = self._take(step, outcomes, begin)
        else:
            # Only steps further up in the plan are waited for, so that a plan made by hand cannot wait for itself.
            steps: dict[str, Step] = {}
            before: dict[str, list[str]] = {}
            for step in plan:
                before[step.name] = [name for name in (*step.needs, *step.follows) if name in before]
                steps[step.name] = step
            run_together(before, lambda name: self._take(steps[name], outcomes, begin), outcomes, self._jobs)
        return Result(tuple(outcomes[step.name] for step in plan), time.monotonic() - begin)

    def _take(self, step: Step, outcomes: Mapping[str, Outcome], begin: float) -> Outcome:
        """Do one step, whose predecessors have all ended."""
        start = time.monotonic()
        for need in step.needs:
            if need in outcomes and not outcomes[need].ok:
                error = LoadError(step.name, None, f"it needs {need!r}, which could not be loaded")
                return _timed(Outcome(step, "skipped", error), start, begin)
        # Whoever comes first loads; the others wait for its answer, with no lock of ours held.
        with self._lock:
            other_load = self._under_way.get(step.name)
            if other_load is None:
                load = self._under_way[step.name] = Answer()
        if other_load is not None:
            other: Outcome = other_load.wait()
            status: Status = "already" if other.ok else other.status
            return _timed(Outcome(step, status, other.error), start, begin)
        try:
            outcome = self._load_one(step)
        except BaseException as error:
            outcome = Outcome(step, "failed", LoadError(step.name, None, f"the load was broken off: {error!r}"))
            raise
        finally:
            with self._lock:
                del self._under_way[step.name]
            load.give(outcome)
        return _timed(outcome, start, begin)

    def _load_one(self, step: Step) -> Outcome:
        """Load one module whatever others do to it at the same time."""
        until = time.monotonic() + _BUSY_SECONDS
        tries = _BUSY_TRIES
        for pause in _pauses():
            try:
                state = self.kernel.initstate(step.name)
                if state == "live":
                    return Outcome(step, "already")
                if state is None:
                    self.kernel.load(f"{self._root}/{step.path or ''}", step.params)
                    return Outcome(step, "done")
            except SyscallError as error:
                if error.errno == errno.EEXIST:
                    return Outcome(step, "already")
                tries -= 1
                if error.errno != errno.EBUSY or not tries or time.monotonic() > until:
                    from kmodkit.kernel.syscalls import load_error

                    reason = load_error(error, step.name, restrictions=self.kernel.restrictions())
                    return Outcome(step, "failed", reason)
            except KmodError as error:
                return Outcome(step, "failed", error)
            else:
                if time.monotonic() > until:
                    reason = LoadError(step.name, errno.EBUSY, f"it has been {state} for {_BUSY_SECONDS:g} s")
                    return Outcome(step, "failed", reason)
            time.sleep(pause)
        raise AssertionError("pauses never end")

    def _live(self) -> frozenset[str]:
        return frozenset(module.name for module in self.kernel.loaded() if module.state == "Live")


def _pauses() -> Iterator[float]:
    """Yield seconds to wait between tries, for ever."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def _timed(outcome: Outcome, start: float, begin: float) -> Outcome:
    return Outcome(outcome.step, outcome.status, outcome.error, start - begin, time.monotonic() - start)
