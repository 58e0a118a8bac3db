"""Loading and unloading in a real kernel."""

from __future__ import annotations

import ctypes
import errno
import itertools
import multiprocessing
import os
import random
import sys
import threading
from pathlib import Path

import pytest

from kmodkit import errors
from kmodkit.cli import main
from kmodkit.core.catalog import Catalog, Module
from kmodkit.kernel.files import read_module_bytes
from kmodkit.kernel.modules import initstate, loaded_modules, parameters
from kmodkit.manager import Manager

MODULES = ["r8169", "ice", "e1000e", "dummy", "loop", "overlay", "squashfs", "btrfs", "8139too", "snd-hda-intel"]
ICE = "pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00"

pytestmark = pytest.mark.ktest(modules=MODULES, memory=768, timeout=120)


@pytest.fixture
def manager() -> Manager:
    """The manager of the running kernel's own tree."""
    return Manager.from_tree()


def live() -> set[str]:
    """Return the names of the modules that the kernel says are live."""
    return {module.name for module in loaded_modules() if module.state == "Live"}


def unsigned_copy(manager: Manager, name: str, directory: Path, old: bytes = b"", new: bytes = b"") -> Manager:
    """Return a manager whose one module is a copy of ``name`` without signature, and with some bytes replaced."""
    path = manager.catalog[name].path
    assert path is not None
    data = read_module_bytes(manager.root / path)
    assert old in data
    changed = data.replace(old, new) if old else data
    (directory / f"{name}.ko").write_bytes(changed.replace(b"~Module signature appended~\n", b""))
    return Manager(Catalog((Module(name, f"{name}.ko"),)), directory)


def test_a_module_loads_with_its_dependencies(manager: Manager) -> None:
    """The chain comes in order, and /sys/module shows it."""
    result = manager.load("r8169")
    names = [outcome.step.name for outcome in result.outcomes]
    assert result.changed == tuple(names)
    assert names[-1] == "r8169"
    assert Path("/sys/module/r8169").is_dir()
    assert set(names) <= live()
    assert "r8169" in next(module for module in loaded_modules() if module.name == "libphy").holders
    assert all(outcome.seconds > 0 for outcome in result.outcomes)


def test_an_unknown_module_is_named(manager: Manager) -> None:
    """It is our own ModuleNotFoundError, and nothing is loaded."""
    with pytest.raises(errors.ModuleNotFoundError, match="definitelynomodule"):
        manager.load("definitelynomodule")
    assert live() == set()


def test_loading_twice_changes_nothing(manager: Manager) -> None:
    """What is loaded is satisfied."""
    assert manager.load("r8169").changed
    assert manager.load("r8169").changed == ()
    assert manager.plan("r8169").steps == ()


def test_a_modalias_loads_its_module(manager: Manager) -> None:
    """A network card's modalias brings its driver."""
    assert "ice" in manager.load_for_device(ICE).changed
    assert Path("/sys/module/ice").is_dir()


def test_a_modalias_that_matches_nothing_is_no_failure(manager: Manager) -> None:
    """Most devices need no module."""
    result = manager.load_for_device("pci:v0000FFFFd0000FFFFsv0sd0bc00sc00i00")
    assert result.ok
    assert live() == set()


def test_what_is_built_in_is_satisfied(manager: Manager) -> None:
    """It counts as loaded, and loading it does nothing."""
    builtin = next(module for module in manager.catalog if module.builtin)
    assert manager.is_loaded(builtin.name)
    assert manager.load(builtin.name).outcomes == ()


def test_eexist_from_another_loader_is_success(manager: Manager) -> None:
    """Whoever was first, the module is loaded."""
    plan = manager.plan("dummy")
    assert manager.load("dummy").changed == ("dummy",)
    result = Manager.from_tree().execute(plan)
    assert [outcome.status for outcome in result.outcomes] == ["already"]


def test_holders_keep_a_module_and_go_first(manager: Manager) -> None:
    """Unloading what is used fails and names the user; asked to, the users go before it."""
    manager.load("r8169")
    with pytest.raises(errors.ModuleInUseError, match="r8169"):
        manager.unload("libphy")
    assert "libphy" in live()
    result = manager.unload("libphy", remove_holders=True)
    assert result.changed[-1] == "libphy"
    assert not {"libphy", "r8169"} & live()


def test_unused_dependencies_go_too(manager: Manager) -> None:
    """After that the kernel has no module left."""
    manager.load("8139too")
    manager.unload("8139too", unused=True)
    assert live() == set()


def test_a_module_in_use_stays_until_it_is_free(manager: Manager) -> None:
    """An open device holds its module; waiting outlasts the user."""
    manager.load("loop", "max_loop=1")
    device = os.open("/dev/loop0", os.O_RDONLY)
    with pytest.raises(errors.ModuleInUseError) as caught:
        manager.unload("loop")
    assert caught.value.errno == errno.EAGAIN
    assert "loop" in live()
    closer = threading.Timer(0.2, os.close, [device])
    closer.start()
    assert manager.unload("loop", wait=30.0).changed == ("loop",)
    closer.join()


def test_unloading_what_is_not_loaded_is_said_so(manager: Manager) -> None:
    """Known or unknown, it is not loaded."""
    for name in ("r8169", "definitelynomodule"):
        with pytest.raises(errors.ModuleNotLoadedError, match="not loaded"):
            manager.unload(name)


def test_parameters_reach_the_module(manager: Manager) -> None:
    """They can be read back."""
    manager.load("loop", "max_loop=3")
    assert parameters("loop")["max_loop"] == "3"


def test_a_bad_parameter_is_said_so(manager: Manager) -> None:
    """A value that a parameter does not take is EINVAL, in words."""
    with pytest.raises(errors.LoadError, match="a parameter has a value it does not take") as caught:
        manager.load("dummy", "numdummies=many")
    assert caught.value.errno == errno.EINVAL
    assert "dummy" not in live()


def test_a_wrong_vermagic_is_said_so(manager: Manager, tmp_path: Path) -> None:
    """A module of another kernel is ENOEXEC, in words."""
    # Of a module with symbol versions the kernel compares only what stands behind the release.
    other = unsigned_copy(manager, "dummy", tmp_path, b" mod_unload ", b" mod_stays_ ")
    with pytest.raises(errors.LoadError, match="vermagic") as caught:
        other.load("dummy")
    assert caught.value.errno == errno.ENOEXEC


def test_a_truncated_module_is_said_so(manager: Manager, tmp_path: Path) -> None:
    """The kernel's ENOEXEC says the format is wrong."""
    path = manager.catalog["dummy"].path
    assert path is not None
    (tmp_path / "dummy.ko").write_bytes(read_module_bytes(manager.root / path)[:5000])
    with pytest.raises(errors.LoadError, match="not in a format") as caught:
        Manager(Catalog((Module("dummy", "dummy.ko"),)), tmp_path).load("dummy")
    assert caught.value.errno == errno.ENOEXEC


def test_a_missing_file_is_a_failure_that_names_it(tmp_path: Path) -> None:
    """The catalog may be older than the tree."""
    with pytest.raises(errors.FileError, match=r"gone\.ko"):
        Manager(Catalog((Module("gone", "gone.ko"),)), tmp_path).load("gone")


def test_an_unsigned_module_loads_where_signatures_are_not_enforced(manager: Manager, tmp_path: Path) -> None:
    """It taints the kernel, and that is all."""
    other = unsigned_copy(manager, "dummy", tmp_path)
    assert other.load("dummy").changed == ("dummy",)


@pytest.mark.ktest(modules=["dummy"], append="module.sig_enforce=1", timeout=120)
def test_an_unsigned_module_is_refused_where_signatures_are_enforced(tmp_path: Path) -> None:
    """EKEYREJECTED, in words; the signed one loads."""
    manager = Manager.from_tree()
    other = unsigned_copy(manager, "dummy", tmp_path)
    with pytest.raises(errors.LoadError, match="signature was rejected") as caught:
        other.load("dummy")
    assert caught.value.errno == errno.EKEYREJECTED
    assert manager.load("dummy").changed == ("dummy",)


def load_set(seed: int, failures: list[str] | None = None) -> None:
    """Load modules in an order of its own; in a process, the exit status tells of a failure."""
    manager = Manager.from_tree()
    names = ["r8169", "e1000e", "ice", "8139too", "snd-hda-intel", "btrfs", "overlay", "loop", "dummy"]
    random.Random(seed).shuffle(names)
    for name in names:
        result = manager.execute(manager.plan(name))
        if not result.ok and failures is not None:
            failures.extend(map(str, result.failures))
        assert result.ok, result.failures


def test_eight_threads_and_four_processes_load_overlapping_sets() -> None:
    """All succeed, every module is live once, and nothing is left coming or going."""
    failures: list[str] = []
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=load_set, args=(seed,)) for seed in range(4)]
    for process in processes:
        process.start()
    threads = [threading.Thread(target=load_set, args=(seed, failures)) for seed in range(4, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.join()
    assert failures == []
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    manager = Manager.from_tree()
    wanted = {m.name for m in manager.catalog.closure(["r8169", "e1000e", "ice", "8139too", "btrfs", "overlay"])}
    names = [module.name for module in loaded_modules()]
    assert len(names) == len(set(names))
    assert wanted <= live()
    assert {initstate(name) for name in names} == {"live"}


def test_two_hundred_cycles_leave_a_true_state(manager: Manager) -> None:
    """After each load and unload, what the manager says is what the kernel says."""
    random_ = random.Random(5)
    names = ["dummy", "8139too", "overlay", "loop"]
    for _ in range(200):
        name = random_.choice(names)
        if manager.is_loaded(name):
            manager.unload(name, unused=True)
            assert initstate(name) is None
        else:
            manager.load(name)
            assert initstate(name) == "live"
        assert {module.name for module in manager.loaded()} == live()
    for name in names:
        if manager.is_loaded(name):
            manager.unload(name, unused=True)
    assert live() == set()


@pytest.mark.parametrize("name", ["helper", "modprobe"])
def test_the_kernel_calls_us_to_load_a_file_system(tmp_path: Path, name: str) -> None:
    """With kmodkit as its modprobe, mounting a file system loads its module; by that name, from depmod's files."""
    if name == "modprobe":
        assert main(["depmod"]) == 0
    helper = tmp_path / name
    log = tmp_path / "calls"
    helper.write_text(
        f"#!{sys.executable}\n"
        f"import sys\nsys.path[:0] = {sys.path!r}\n"
        f"open({str(log)!r}, 'a').write(repr(sys.argv[1:]) + '\\n')\n"
        "from kmodkit.cli import main\nsys.exit(main())\n"
    )
    helper.chmod(0o755)
    Path("/proc/sys/kernel/modprobe").write_text(str(helper))
    for directory in ("lower", "upper", "work", "merged"):
        (tmp_path / directory).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    libc = ctypes.CDLL(None, use_errno=True)
    merged = str(tmp_path / "merged").encode()
    status = libc.mount(b"overlay", merged, b"overlay", 0, options.encode())
    assert log.read_text() == "['-q', '--', 'fs-overlay']\n"
    assert initstate("overlay") == "live"
    assert (status, ctypes.get_errno()) == (0, 0)


def test_the_verbs_work_on_the_kernel(capfd: pytest.CaptureFixture[str]) -> None:
    """Plan, load, status, unload: what they print is what happened."""
    from kmodkit.cli import main

    assert main(["load", "--dry-run", "dummy", "numdummies=2"]) == 0
    assert capfd.readouterr().out.rstrip().endswith("numdummies=2")
    assert live() == set()
    assert main(["load", "dummy", "numdummies=2"]) == 0
    assert capfd.readouterr().out == "loaded dummy\n"
    assert main(["status", "dummy", "loop"]) == 1
    assert capfd.readouterr().out == "dummy: live\nloop: not loaded\n"
    assert main(["unload", "dummy"]) == 0
    assert main(["unload", "dummy"]) == 1
    assert "not loaded" in capfd.readouterr().err


def test_independent_modules_load_at_the_same_time(manager: Manager) -> None:
    """The steps of two devices overlap in time, those of one chain do not."""
    result = manager.load_for_devices(
        [ICE, "pci:v000010ECd00008168sv0sd0bc02sc00i00", "pci:v00008086d000010D3sv0sd0bc0sc0i0"]
    )
    assert result.ok
    spans = {o.step.name: (o.start, o.start + o.seconds) for o in result.outcomes}
    for outcome in result.outcomes:
        for need in outcome.step.needs:
            assert spans[need][1] <= spans[outcome.step.name][0] + 0.001
    starts = sorted(spans.values())
    assert any(second[0] < first[1] for first, second in itertools.pairwise(starts))
