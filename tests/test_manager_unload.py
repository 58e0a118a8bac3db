"""The Manager, over a fake kernel: unloading."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from kmodkit import manager as manager_module
from kmodkit.errors import ModuleInUseError, ModuleNotLoadedError, UnloadError
from kmodkit.testing import FakeKernel
from tests.catalogs import network
from tests.managers import Clock, loaded, managed, outcomes

if TYPE_CHECKING:
    from kmodkit.manager import Manager


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the Manager a clock that runs only when it sleeps."""
    clock = Clock()
    monkeypatch.setattr(manager_module, "time", clock)
    return clock


def all_loaded(**options: object) -> tuple[Manager, FakeKernel]:
    """Return a manager over a kernel that has the network drivers loaded."""
    manager, kernel = managed(network(), FakeKernel(network(), **options))  # type: ignore[arg-type]
    manager.load("r8169")
    manager.load("e1000e")
    return manager, kernel


def test_a_module_is_unloaded_alone() -> None:
    """What it needed stays."""
    manager, kernel = all_loaded()
    result = manager.unload("e1000e")
    assert result.changed == ("e1000e",)
    assert "ptp" in loaded(kernel)
    assert not manager.is_loaded("e1000e")


def test_holders_and_unused_dependencies_go_where_that_is_asked_for() -> None:
    """Holders first, dependencies last; those in other use stay."""
    manager, kernel = all_loaded()
    assert manager.unload("mdio-devres", remove_holders=True).changed == ("r8169", "mdio_devres")
    assert manager.unload("realtek", unused=True).changed == ("realtek", "libphy")
    kernel.use("ptp", 1)
    assert manager.unload("e1000e", unused=True).changed == ("e1000e",)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("libphy", ModuleInUseError, "in use by"),
        ("pps_core", UnloadError, "built into the kernel"),
        ("nowhere", ModuleNotLoadedError, "not loaded"),
    ],
)
def test_what_cannot_be_unloaded_is_said_before_anything_is_done(
    name: str, error: type[UnloadError], words: str
) -> None:
    """The kernel is not even asked."""
    manager, kernel = all_loaded()
    with pytest.raises(error, match=words):
        manager.unload(name)
    assert not [call for call in kernel.calls if call[0] == "unload"]


def test_a_module_that_a_process_uses_is_in_use() -> None:
    """The kernel says so, and the error is the same as for one that a module uses."""
    manager, kernel = all_loaded(users={"e1000e": 1})
    with pytest.raises(ModuleInUseError, match="it is in use") as caught:
        manager.unload("e1000e")
    assert caught.value.errno == errno.EAGAIN
    assert manager.is_loaded("e1000e")
    assert [call for call in kernel.calls if call[0] == "unload"] == [("unload", "e1000e", "")]


def test_a_module_in_use_is_waited_for(clock: Clock) -> None:
    """As long as was asked for, and no longer."""
    manager, kernel = all_loaded(users={"e1000e": 1})
    with pytest.raises(ModuleInUseError):
        manager.unload("e1000e", wait=2)
    assert 1 < clock.now <= 2
    clock.on_sleep = lambda: kernel.use("e1000e", 0)
    assert manager.unload("e1000e", wait=2).changed == ("e1000e",)


def test_a_module_that_went_meanwhile_is_gone() -> None:
    """ENOENT after it was there is what was wanted."""
    manager, _ = all_loaded(errors={"e1000e": [0, errno.ENOENT]})
    assert outcomes(manager.unload("e1000e")) == {"e1000e": "already"}


def test_unloading_stops_at_the_first_that_stays() -> None:
    """What holds the rest up is raised; what went before is gone, and the state says so."""
    manager, kernel = all_loaded(errors={"mdio_devres": [0, errno.EBUSY]})
    with pytest.raises(UnloadError, match="'mdio_devres': it is just being loaded or unloaded"):
        manager.unload("libphy", remove_holders=True)
    assert "r8169" not in loaded(kernel)
    assert {"mdio_devres", "libphy"} <= set(loaded(kernel))
