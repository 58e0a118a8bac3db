"""kmodkit load, unload, coldplug and status, over a fake kernel."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeAlias

import pytest

from kmodkit.kernel import modules as kernel_modules
from kmodkit.kernel import running as running_module
from kmodkit.scanner import scan
from kmodkit.testing import FakeKernel
from tests.commands import NETWORK_CARD, network_tree, run
from tests.managers import loaded, loads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Capture = pytest.CaptureFixture[str]
Boot: TypeAlias = "Callable[..., FakeKernel]"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree of network drivers."""
    return network_tree(tmp_path)


@pytest.fixture
def boot(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Boot:
    """Give a function that puts a fake kernel in place of the running one."""

    def boot(**options: object) -> FakeKernel:
        kernel = FakeKernel(scan(tree).catalog, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(running_module, "RunningKernel", lambda: kernel)
        return kernel

    return boot


# --- load ---------------------------------------------------------------------------------------------------


def test_load_prints_what_it_loaded(tree: Path, boot: Boot, capsys: Capture) -> None:
    """A line a module, in the plan's order; what is there already is fine and no line."""
    kernel = boot()
    ran = run(capsys, "load", "r8169", "--tree", tree)
    expected = ["loaded libphy", "loaded mdio_devres", "loaded realtek", "loaded r8169"]
    assert (ran.status, ran.lines, ran.err) == (0, expected, "")
    assert run(capsys, "load", "r8169", "ptp-core", "--tree", tree) == (0, "", "")
    assert set(loaded(kernel)) == {"libphy", "mdio_devres", "realtek", "r8169"}


def test_words_with_an_equals_sign_are_parameters(tree: Path, boot: Boot, capsys: Capture) -> None:
    """Of the module before them."""
    kernel = boot()
    words = ("libphy", "a=1", "b=two words", "firmware-helper", "c=3")
    assert run(capsys, "load", *words, "--tree", tree).status == 0
    assert loads(kernel) == [("libphy", "a=1 b=two words"), ("firmware_helper", "c=3")]


def test_a_parameter_before_any_module_is_status_2(boot: Boot, capsys: Capture) -> None:
    """Before a tree is looked for, let alone a module loaded."""
    kernel = boot()
    ran = run(capsys, "load", "a=1", "libphy")
    assert ran.status == 2
    assert "parameter 'a=1' comes before any module" in ran.err
    assert kernel.calls == []


def test_an_alias_loads_its_modules(tree: Path, boot: Boot, capsys: Capture) -> None:
    """Such as a device's modalias."""
    boot()
    assert run(capsys, "load", NETWORK_CARD, "--tree", tree).lines[-1] == "loaded r8169"


def test_a_module_that_fails_is_status_1(tree: Path, boot: Boot, capsys: Capture) -> None:
    """Those that need it are named too, and other modules are loaded."""
    boot(errors={"mdio_devres": [errno.ENOEXEC]})
    ran = run(capsys, "load", "r8169", "firmware-helper", "--tree", tree)
    assert (ran.status, ran.lines) == (1, ["loaded libphy", "loaded realtek", "loaded firmware_helper"])
    first, second = ran.err.splitlines()
    assert first.startswith("kmodkit load: cannot load module 'mdio_devres': it is not in a format this kernel")
    assert second == "kmodkit load: cannot load module 'r8169': it needs 'mdio_devres', which could not be loaded"


def test_a_soft_dependency_that_fails_is_a_warning(tree: Path, boot: Boot, capsys: Capture) -> None:
    """The status stays 0."""
    boot(errors={"realtek": [errno.EIO]})
    ran = run(capsys, "load", "r8169", "--tree", tree)
    assert (ran.status, ran.lines[-1]) == (0, "loaded r8169")
    assert ran.err.startswith("kmodkit load: warning: cannot load module 'realtek'")


def test_a_name_that_is_not_known_is_status_1(tree: Path, boot: Boot, capsys: Capture) -> None:
    """The other names are loaded; with -q it is not even said."""
    boot()
    ran = run(capsys, "load", "none", "libphy", "--tree", tree)
    assert ran == (1, "loaded libphy\n", "kmodkit load: module 'none' does not exist\n")
    assert run(capsys, "load", "-q", "none", "--tree", tree) == (1, "", "")


def test_a_dry_run_prints_the_plan(tree: Path, boot: Boot, capsys: Capture) -> None:
    """Each step once, whichever name brings it; nothing is loaded."""
    kernel = boot()
    ran = run(capsys, "load", "-n", "mdio_devres", "realtek", "x=1", "--tree", tree)
    assert ran.status == 0
    assert ran.lines == [
        "load libphy kernel/net/libphy.ko",
        "load mdio_devres kernel/net/mdio_devres.ko.xz",
        "load realtek kernel/net/realtek.ko x=1",
    ]
    assert kernel.calls == []
    assert run(capsys, "load", "--dry-run", "ptp-core", "--tree", tree) == (0, "", "")


def test_a_dry_run_as_json(tree: Path, boot: Boot, capsys: Capture) -> None:
    """One list of steps, however many names."""
    boot()
    ran = run(capsys, "load", "-n", "libphy", "a=1", "none", "firmware-helper", "--json", "--tree", tree)
    assert ran.status == 1
    assert ran.json == [
        {"action": "load", "name": "libphy", "path": "kernel/net/libphy.ko", "params": "a=1"},
        {"action": "load", "name": "firmware_helper", "path": "kernel/net/firmware-helper.ko", "params": ""},
    ]


def test_results_as_json(tree: Path, boot: Boot, capsys: Capture) -> None:
    """One object, however many names, with what became of each module and when."""
    boot(errors={"realtek": [errno.EIO]})
    ran = run(capsys, "load", "realtek", "firmware-helper", "--json", "--tree", tree)
    assert ran.status == 1
    assert set(ran.json) == {"ok", "seconds", "modules"}
    assert ran.json["ok"] is False
    phy, realtek, helper = ran.json["modules"]
    assert set(phy) == {"name", "action", "status", "required", "start", "seconds", "error"}
    assert (phy["name"], phy["action"], phy["status"], phy["error"]) == ("libphy", "load", "done", None)
    assert (realtek["status"], realtek["required"]) == ("failed", True)
    assert "Input/output error" in realtek["error"]
    assert (helper["name"], helper["status"]) == ("firmware_helper", "done")


def test_json_is_not_ok_where_a_name_is_not_known(tree: Path, boot: Boot, capsys: Capture) -> None:
    """Though nothing that was tried failed."""
    boot()
    ran = run(capsys, "load", "none", "libphy", "--json", "--tree", tree)
    assert (ran.status, ran.json["ok"], len(ran.json["modules"])) == (1, False, 1)


def test_metadata_does_for_loading(tree: Path, boot: Boot, capsys: Capture) -> None:
    """Paths are then relative to where it lies; a tree that has some is not read."""
    kernel = boot()
    assert run(capsys, "index", tree).status == 0
    assert run(capsys, "load", "libphy", "--meta", tree / "meta.pb").lines == ["loaded libphy"]
    (tree / "kernel/net/realtek.ko").write_bytes(b"no longer looked at")
    assert run(capsys, "load", "realtek", "--tree", tree).lines == ["loaded realtek"]
    assert loaded(kernel) == ["libphy", "realtek"]


@pytest.mark.parametrize(
    ("name", "status", "modules"),
    [("fs-xfs", 0, ["libphy", "realtek"]), ("netdev-eth0", 1, []), ("ptp_core", 0, [])],
)
def test_the_kernels_own_call_is_answered(
    name: str,
    status: int,
    modules: list[str],
    tree: Path,
    boot: Boot,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It calls its helper as `-q -- NAME`, and what is not known is none of its troubles."""
    kernel = boot()
    monkeypatch.setattr("kmodkit.kernel.files._running_tree", lambda: scan(tree).tree)
    ran = run(capsys, "-q", "--", name)
    assert (ran.status, ran.err) == (status, "")
    assert loaded(kernel) == modules


# --- unload -------------------------------------------------------------------------------------------------


def test_unload_prints_what_it_unloaded(tree: Path, boot: Boot, capsys: Capture) -> None:
    """Holders and unused dependencies where they are asked for."""
    kernel = boot()
    run(capsys, "load", "r8169", "--tree", tree)
    assert run(capsys, "unload", "r8169", "--tree", tree) == (0, "unloaded r8169\n", "")
    run(capsys, "load", "r8169", "--tree", tree)
    ran = run(capsys, "unload", "mdio-devres", "--remove-holders", "--tree", tree)
    assert ran == (0, "unloaded r8169\nunloaded mdio_devres\n", "")
    ran = run(capsys, "unload", "realtek", "--unused", "--tree", tree)
    assert ran == (0, "unloaded realtek\nunloaded libphy\n", "")
    assert kernel.loaded() == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("libphy", "it is in use by realtek"),
        ("ptp_core", "it is built into the kernel"),
        ("none", "it is not loaded"),
    ],
)
def test_a_module_that_stays_is_status_1(tree: Path, boot: Boot, name: str, words: str, capsys: Capture) -> None:
    """The error says why, and the other names go."""
    boot()
    run(capsys, "load", "realtek", "firmware-helper", "--tree", tree)
    ran = run(capsys, "unload", name, "firmware_helper", "--tree", tree)
    assert ran == (1, "unloaded firmware_helper\n", f"kmodkit unload: cannot unload module '{name}': {words}\n")


def test_a_dry_run_of_unload(tree: Path, boot: Boot, capsys: Capture) -> None:
    """As for load: a line a step, and nothing is done."""
    kernel = boot()
    run(capsys, "load", "realtek", "--tree", tree)
    words = ("libphy", "realtek", "--remove-holders", "-n", "--tree", tree)
    assert run(capsys, "unload", *words) == (0, "unload realtek\nunload libphy\n", "")
    assert run(capsys, "unload", *words, "--json").json == [
        {"action": "unload", "name": "realtek", "path": None, "params": ""},
        {"action": "unload", "name": "libphy", "path": None, "params": ""},
    ]
    assert loaded(kernel) == ["libphy", "realtek"]


def test_unload_as_json(tree: Path, boot: Boot, capsys: Capture) -> None:
    """One object, which is not ok where a module stayed."""
    boot()
    run(capsys, "load", "realtek", "firmware-helper", "--tree", tree)
    ran = run(capsys, "unload", "libphy", "firmware_helper", "--json", "--tree", tree)
    assert (ran.status, ran.json["ok"]) == (1, False)
    assert [(one["name"], one["action"], one["status"]) for one in ran.json["modules"]] == [
        ("firmware_helper", "unload", "done")
    ]


def test_the_seconds_to_wait_are_a_number(capsys: Capture) -> None:
    """Anything else is a wrong word."""
    assert run(capsys, "unload", "a", "--wait", "long").status == 2


# --- coldplug -----------------------------------------------------------------------------------------------


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """Give a sysfs with a network card and something unknown."""
    for name, modalias in (("a", NETWORK_CARD), ("b", "usb:unknown")):
        directory = tmp_path / "sys/devices" / name
        directory.mkdir(parents=True)
        (directory / "modalias").write_text(f"{modalias}\n")
    return tmp_path / "sys"


def test_coldplug_loads_what_the_devices_need(tree: Path, sys: Path, boot: Boot, capsys: Capture) -> None:
    """And says what."""
    kernel = boot()
    ran = run(capsys, "coldplug", "--sys", sys, "--tree", tree)
    assert (ran.status, ran.lines[-1], ran.err) == (0, "loaded r8169", "")
    assert "r8169" in loaded(kernel)
    again = run(capsys, "coldplug", "--sys", sys, "--tree", tree, "--json")
    assert (again.json["ok"], again.json["modules"]) == (True, [])


def test_a_failure_of_coldplug_is_status_1(tree: Path, sys: Path, boot: Boot, capsys: Capture) -> None:
    """With the error of each module."""
    boot(errors={"r8169": [errno.ENODEV]})
    ran = run(capsys, "coldplug", "--sys", sys, "--tree", tree)
    assert ran.status == 1
    assert ran.err.startswith("kmodkit coldplug: cannot load module 'r8169': ")


def test_a_dry_run_of_coldplug(tree: Path, sys: Path, boot: Boot, capsys: Capture) -> None:
    """The plan for the devices that are there."""
    kernel = boot()
    ran = run(capsys, "coldplug", "-n", "--sys", sys, "--tree", tree)
    assert (ran.status, ran.lines[-1]) == (0, "load r8169 kernel/net/r8169.ko")
    assert kernel.calls == []


def test_coldplug_without_sysfs_is_status_1(tree: Path, tmp_path: Path, boot: Boot, capsys: Capture) -> None:
    """Dry or not."""
    boot()
    for dry in ((), ("-n",)):
        ran = run(capsys, "coldplug", *dry, "--sys", tmp_path / "none", "--tree", tree)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith(f"kmodkit coldplug: {tmp_path}/none/devices: ")


# --- status -------------------------------------------------------------------------------------------------


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a /proc and a /sys with some modules."""
    (tmp_path / "modules").write_text(
        "r8169 110592 0 - Live 0x0000000000000000\n"
        "libphy 225280 2 r8169,mdio_devres, Live 0x0000000000000000\n"
        "slow 4096 - - Loading 0x0000000000000000 (OE+)\n"
    )
    for name, state in (("libphy", "live"), ("slow", "coming"), ("ptp_core", None)):
        directory = tmp_path / "module" / name
        directory.mkdir(parents=True)
        if state:
            (directory / "initstate").write_text(f"{state}\n")
    found, initstate, builtin = (
        kernel_modules.loaded_modules,
        kernel_modules.initstate,
        kernel_modules.is_builtin,
    )
    monkeypatch.setattr(kernel_modules, "loaded_modules", lambda: found(proc=tmp_path))
    monkeypatch.setattr(kernel_modules, "initstate", lambda name: initstate(name, sys=tmp_path))
    monkeypatch.setattr(kernel_modules, "is_builtin", lambda name: builtin(name, sys=tmp_path))


@pytest.mark.usefixtures("running")
def test_status_lists_what_is_loaded(capsys: Capture) -> None:
    """In columns, the latest first."""
    ran = run(capsys, "status")
    assert (ran.status, ran.err) == (0, "")
    assert [line.split() for line in ran.lines] == [
        ["Module", "Size", "Used", "State", "By"],
        ["r8169", "110592", "0", "Live"],
        ["libphy", "225280", "2", "Live", "r8169,mdio_devres"],
        ["slow", "4096", "-", "Loading"],
    ]


@pytest.mark.usefixtures("running")
def test_status_as_json(capsys: Capture) -> None:
    """With all that the kernel says of each."""
    first, second, _ = run(capsys, "status", "--json").json
    assert first["name"] == "r8169"
    assert second == {
        "name": "libphy",
        "size": 225280,
        "refcnt": 2,
        "holders": ["r8169", "mdio_devres"],
        "state": "Live",
        "address": 0,
        "taints": "",
        "permanent": False,
    }


@pytest.mark.usefixtures("running")
def test_status_of_modules_by_name(capsys: Capture) -> None:
    """Status 0 only where all of them are live; what is built in is."""
    assert run(capsys, "status", "libphy", "ptp-core") == (0, "libphy: live\nptp_core: live (built in)\n", "")
    ran = run(capsys, "status", "libphy", "slow", "none")
    assert ran == (1, "libphy: live\nslow: coming\nnone: not loaded\n", "")
    assert run(capsys, "status", "libphy", "slow", "--json").json == [
        {"name": "libphy", "state": "live"},
        {"name": "slow", "state": "coming"},
    ]
