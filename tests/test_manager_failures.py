"""The Manager where the kernel refuses, is busy or cannot be asked."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from kmodkit import manager as manager_module
from kmodkit.core.plan import Plan
from kmodkit.errors import FileError, LoadError
from kmodkit.kernel.syscalls import ModuleFlags
from kmodkit.testing import FakeKernel
from tests.catalogs import catalog, module, network
from tests.managers import Clock, loaded, managed, outcomes

if TYPE_CHECKING:
    from kmodkit.core.catalog import Catalog
    from kmodkit.kernel.modules import Initstate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the Manager a clock that runs only when it sleeps."""
    clock = Clock()
    monkeypatch.setattr(manager_module, "time", clock)
    return clock


def test_a_failure_skips_what_needs_it_and_nothing_else() -> None:
    """Those skipped say for want of what, along the whole chain."""
    modules = catalog(
        module("bad"), module("above", "bad"), module("top", "above"), module("other", "fine"), module("fine")
    )
    manager, kernel = managed(modules, FakeKernel(modules, errors={"bad": [errno.ENODEV]}))
    plans = [manager.plan(name) for name in ("top", "other")]
    result = manager.execute(Plan(tuple(step for plan in plans for step in plan)))
    assert outcomes(result) == {
        "bad": "failed",
        "above": "skipped",
        "top": "skipped",
        "fine": "done",
        "other": "done",
    }
    assert sorted(loaded(kernel)) == ["fine", "other"]
    assert [str(error) for error in result.failures] == [
        "cannot load module 'bad': its initialisation found no device or feature that it needs",
        "cannot load module 'above': it needs 'bad', which could not be loaded",
        "cannot load module 'top': it needs 'above', which could not be loaded",
    ]
    assert set(result.changed) == {"fine", "other"}


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_soft_dependency_that_fails_does_not_matter(jobs: int) -> None:
    """Its outcome says so, the module is loaded all the same, and the result is good."""
    manager, kernel = managed(network(), FakeKernel(network(), errors={"realtek": [errno.EIO]}), jobs=jobs)
    result = manager.load("r8169")
    assert result.ok
    assert result.failures == ()
    assert outcomes(result)["realtek"] == "failed"
    assert manager.is_loaded("r8169")
    assert "realtek" not in loaded(kernel)


def test_a_soft_dependency_that_is_a_hard_one_too_matters() -> None:
    """Then its failure is one of the module."""
    modules = catalog(module("a", "b", pre="b"), module("b"))
    manager, _ = managed(modules, FakeKernel(modules, errors={"b": [errno.EIO]}))
    assert outcomes(manager.execute(manager.plan("a"))) == {"b": "failed", "a": "skipped"}


def test_exist_after_our_call_is_success() -> None:
    """Somebody else was faster: the module is there, and not by us."""
    manager, kernel = managed(network(), FakeKernel(errors={"ptp": [errno.EEXIST]}))
    result = manager.load("ptp")
    assert result.ok
    assert outcomes(result) == {"ptp": "already"}
    assert result.changed == ()
    assert len(kernel.calls) == 1


def test_busy_is_tried_again(clock: Clock) -> None:
    """Another load of it may have been under way and failed; ours then counts."""
    manager, kernel = managed(network(), FakeKernel(errors={"ptp": [errno.EBUSY, errno.EBUSY]}))
    assert outcomes(manager.load("ptp")) == {"ptp": "done"}
    assert len(kernel.calls) == 3
    assert clock.sleeps == 2


def test_busy_that_another_load_ends_is_success(clock: Clock) -> None:
    """It is looked at again before it is tried again."""
    manager, kernel = managed(network(), FakeKernel(errors={"ptp": [errno.EBUSY]}))
    clock.on_sleep = lambda: kernel.set_state("ptp", "live")
    assert outcomes(manager.load("ptp")) == {"ptp": "already"}
    assert len(kernel.calls) == 1


def test_a_module_that_always_answers_busy_fails_soon(clock: Clock) -> None:
    """A driver answers so where another one has the device; that must not take half a minute."""
    manager, kernel = managed(network(), FakeKernel(fail=lambda *_: errno.EBUSY))
    with pytest.raises(LoadError, match="another load or unload of it was under way") as caught:
        manager.load("ptp")
    assert caught.value.errno == errno.EBUSY
    assert len(kernel.calls) < 20
    assert clock.now < 2


@pytest.mark.parametrize("state", ["coming", "going"])
def test_what_others_do_with_the_module_is_waited_for(clock: Clock, state: Initstate) -> None:
    """A module that is coming becomes live; one that is going goes, and is then loaded."""
    manager, kernel = managed(network())
    kernel.set_state("ptp", state)

    def end() -> None:
        if clock.sleeps == 3:
            kernel.set_state("ptp", "live" if state == "coming" else None)

    clock.on_sleep = end
    assert outcomes(manager.load("ptp")) == {"ptp": "already" if state == "coming" else "done"}
    assert manager.is_loaded("ptp")


@pytest.mark.parametrize("state", ["coming", "going"])
def test_waiting_for_others_has_an_end(clock: Clock, state: Initstate) -> None:
    """The error says what the module has been doing all the time."""
    manager, kernel = managed(network())
    kernel.set_state("ptp", state)
    with pytest.raises(LoadError, match=f"'ptp': it has been {state} for 30 s"):
        manager.load("ptp")
    assert kernel.calls == []
    assert 30 <= clock.now < 32


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOENT, "lacks a symbol that it needs"),
        (errno.ENOEXEC, "vermagic"),
        (errno.EKEYREJECTED, "signature was rejected"),
        (errno.ENOKEY, "key this kernel does not have"),
        (errno.EPERM, "module_blacklist= on the kernel command line forbids it or"),
        (errno.EINVAL, "a parameter has a value it does not take"),
        (errno.EIO, "its initialisation failed: Input/output error"),
    ],
)
def test_the_kernels_answer_comes_in_words(code: int, words: str) -> None:
    """With the module's name and the errno."""
    manager, _ = managed(network(), FakeKernel(errors={"ptp": [code]}))
    with pytest.raises(LoadError, match=words) as caught:
        manager.load("ptp")
    assert (caught.value.module, caught.value.errno) == ("ptp", code)
    assert not manager.is_loaded("ptp")


class Unreadable(FakeKernel):
    """A kernel whose files, or whose state of ptp, cannot be read."""

    def __init__(self, modules: Catalog, *, state: bool) -> None:
        super().__init__(modules)
        self._state = state

    def load(self, path: str, params: str = "", flags: ModuleFlags = ModuleFlags.NONE) -> None:
        """Refuse ptp for its file."""
        if path.endswith("/ptp.ko") and not self._state:
            raise FileError(errno.ENOENT, "No such file or directory", path)
        super().load(path, params, flags)

    def initstate(self, name: str) -> Initstate | None:
        """Refuse to tell the state of ptp."""
        if name == "ptp" and self._state:
            raise FileError(errno.EACCES, "Permission denied", "/sys/module/ptp/initstate")
        return super().initstate(name)


@pytest.mark.parametrize(
    ("state", "words"), [(False, "ptp.ko: No such file"), (True, "initstate: Permission denied")]
)
def test_a_file_that_cannot_be_read_is_a_failure_of_its_module_alone(state: bool, words: str) -> None:
    """The error is that of the file, and other modules are loaded."""
    manager, _ = managed(network(), Unreadable(network(), state=state))
    result = manager.load_for_devices(["pci:v00008086d0000105E", "pci:v000010ECd00008168"])
    assert words in str(result.failures[0])
    assert isinstance(result.failures[0], FileError)
    assert set(result.changed) == {"libphy", "mdio_devres", "realtek", "r8169"}


class Broken(FakeKernel):
    """A kernel that has a fault of its own once."""

    faults = 1

    def load(self, path: str, params: str = "", flags: ModuleFlags = ModuleFlags.NONE) -> None:
        """Raise what no kernel should, then work."""
        if self.faults:
            self.faults -= 1
            raise RuntimeError("a fault")
        super().load(path, params, flags)


@pytest.mark.parametrize("jobs", [1, 4])
def test_an_unforeseen_error_comes_through_and_leaves_nothing_behind(jobs: int) -> None:
    """It is no module's failure; the next load works."""
    manager, _ = managed(network(), Broken(network()), jobs=jobs)
    with pytest.raises(RuntimeError, match="a fault"):
        manager.load("e1000e")
    assert manager.load("e1000e").ok
