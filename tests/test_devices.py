"""Coldplug over a copy of sysfs, and the watch over a stand-in for the uevent socket."""

from __future__ import annotations

import asyncio
import errno
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kmodkit import devices
from kmodkit.core.uevent import Uevent
from kmodkit.devices import Report, Watcher, coldplug
from kmodkit.errors import FileError, SyscallError
from kmodkit.kernel.netlink import Overrun, Rejected
from kmodkit.kernel.syscalls import ModuleFlags
from kmodkit.kernel.uevents import read_modaliases
from kmodkit.manager import Manager
from kmodkit.testing import FakeKernel, fake_kernel
from tests.catalogs import catalog, module
from tests.managers import PATIENCE, ROOT, Gate, loaded, loads
from tests.netlinks import Line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from kmodkit.core.catalog import Catalog
    from kmodkit.kernel.netlink import Received


def device(sys: Path, path: str, modalias: str) -> None:
    """Make a device below SYS/devices."""
    directory = sys / "devices" / path
    directory.mkdir(parents=True)
    (directory / "modalias").write_text(f"{modalias}\n")


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """Give a sysfs with one device, a network card."""
    device(tmp_path, "pci0/0:1", "pci:net")
    return tmp_path


def drivers() -> Catalog:
    """Return a catalog for the devices of these tests."""
    return catalog(
        module("net", "phy", aliases="pci:net"),
        module("phy"),
        module("bus", aliases="pci:bus"),
        module("hub", aliases="usb:hub*"),
        module("mouse", aliases="hid:mouse"),
        *(module(f"dev{number}", aliases=f"dev:{number}") for number in range(250)),
    )


class Bus(FakeKernel):
    """A kernel in which loading a module makes devices appear."""

    def __init__(self, sys: Path, appearing: dict[str, list[str]], **options: Any) -> None:
        super().__init__(drivers(), **options)
        self._sys = sys
        self._appearing = appearing

    def load(self, path: str, params: str = "", flags: ModuleFlags = ModuleFlags.NONE) -> None:
        """Load, then let devices appear."""
        super().load(path, params, flags)
        name = Path(path).stem
        for number, modalias in enumerate(self._appearing.get(name, ())):
            device(self._sys, f"{name}/{number}", modalias)


def managed(kernel: FakeKernel) -> Manager:
    """Return a manager of the drivers."""
    return Manager(drivers(), ROOT, kernel=kernel)


# --- coldplug -----------------------------------------------------------------------------------------------


def test_coldplug_loads_what_the_devices_need(sys: Path) -> None:
    """Each module once, however many devices have the modalias; one that matches nothing is no failure."""
    device(sys, "pci0/0:2", "pci:net")
    device(sys, "pci0/0:3", "pci:unknown")
    kernel = FakeKernel(drivers())
    result = coldplug(managed(kernel), sys=str(sys))
    assert result.check().changed == ("phy", "net")
    assert Counter(loads(kernel)) == {("phy", ""): 1, ("net", ""): 1}


def test_coldplug_goes_on_with_what_appears(sys: Path) -> None:
    """A bus brings a hub, and the hub a mouse: rounds go on until nothing new is there."""
    device(sys, "pci0/0:2", "pci:bus")
    kernel = Bus(sys, {"bus": ["usb:hub1", "usb:hub2"], "hub": ["hid:mouse"]})
    result = coldplug(managed(kernel), sys=str(sys))
    assert set(result.changed) == {"phy", "net", "bus", "hub", "mouse"}
    assert result.changed[-2:] == ("hub", "mouse")


def test_coldplug_ends_where_devices_multiply(sys: Path) -> None:
    """A device that is like those seen already brings no further round."""
    device(sys, "pci0/0:2", "pci:bus")
    assert coldplug(managed(Bus(sys, {"bus": ["pci:bus"]})), sys=str(sys)).ok


def test_a_failure_does_not_stop_coldplug(sys: Path) -> None:
    """It is in the result, with the others' success."""
    device(sys, "pci0/0:2", "pci:bus")
    kernel = Bus(sys, {"bus": ["usb:hub1"]}, errors={"phy": [errno.EIO]})
    result = coldplug(managed(kernel), sys=str(sys))
    assert [str(error) for error in result.failures] == [
        "cannot load module 'phy': its initialisation failed: Input/output error",
        "cannot load module 'net': it needs 'phy', which could not be loaded",
    ]
    assert result.changed == ("bus", "hub")


def event(action: str, modalias: str) -> Uevent:
    """Return an event of a device."""
    return Uevent(action, "/devices/x", "bus", (modalias,), 1, None, ())


class Socket:
    """A socket on which the kernel tells of devices as they appear, or does not."""

    def __init__(self, sys: Path) -> None:
        self.sys = sys
        self.waiting: list[Received] = []
        self.told = 0
        self.closed = False

    def tell(self, *modaliases: str) -> None:
        """Let the kernel tell of devices."""
        self.waiting += [event("add", alias) for alias in modaliases]

    def receive(self, _: float | None = None) -> Received | None:
        """Return what comes next."""
        self.told += 1
        return self.waiting.pop(0) if self.waiting else None

    def close(self) -> None:
        """Note that it is closed."""
        self.closed = True


@pytest.fixture
def sock(sys: Path, monkeypatch: pytest.MonkeyPatch) -> Socket:
    """Make ``sys`` the sysfs of this machine, with a socket of ours."""
    found = Socket(sys)
    monkeypatch.setattr(devices, "_SYS", str(sys))
    monkeypatch.setattr(devices, "_socket", lambda: found)
    return found


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each walk over sysfs."""
    found: list[str] = []
    walk = read_modaliases

    def walked(sys: str) -> Iterator[tuple[str, str]]:
        found.append(sys)
        return walk(sys)

    monkeypatch.setattr(devices, "read_modaliases", walked)
    return found


def test_coldplug_takes_the_word_of_the_kernel_for_what_appears(sys: Path, sock: Socket, walks: list[str]) -> None:
    """And goes over sysfs at the beginning and, once nobody tells of more, at the end."""
    device(sys, "pci0/0:2", "pci:bus")
    kernel = Bus(sys, {"bus": ["usb:hub1"], "hub": ["hid:mouse"]})
    load = kernel.load

    def tell(path: str, *rest: Any) -> None:
        load(path, *rest)
        sock.tell(*{"bus": ["usb:hub1"], "hub": ["hid:mouse", "pci:net"]}.get(Path(path).stem, ()))

    kernel.load = tell  # type: ignore[method-assign, assignment]
    result = coldplug(managed(kernel), sys=str(sys))
    assert set(result.changed) == {"phy", "net", "bus", "hub", "mouse"}
    assert len(walks) == 2 and sock.closed


def test_coldplug_finds_what_the_kernel_did_not_tell_of(sys: Path, sock: Socket, walks: list[str]) -> None:
    """Without an event, sysfs is gone over after each round; one that is refused or lost holds nothing up."""
    device(sys, "pci0/0:2", "pci:bus")
    sock.waiting = [Overrun(), Rejected("junk"), event("remove", "dev:1")]
    kernel = Bus(sys, {"bus": ["usb:hub1"], "hub": ["hid:mouse"]})
    assert set(coldplug(managed(kernel), sys=str(sys)).changed) == {"phy", "net", "bus", "hub", "mouse"}
    assert len(walks) == 4


def test_an_error_of_the_socket_that_stays_does_not_hold_coldplug_up(sys: Path, sock: Socket) -> None:
    """It is as if there were none."""
    sock.waiting = [Rejected("broken", errno.EIO)] * 1000
    assert coldplug(managed(FakeKernel(drivers())), sys=str(sys)).changed == ("phy", "net")
    assert sock.told == 1


def test_coldplug_does_without_a_socket(sys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a process must not have one."""

    def refuse() -> None:
        raise SyscallError("socket", errno.EPERM, "not permitted")

    monkeypatch.setattr(devices, "_SYS", str(sys))
    monkeypatch.setattr("kmodkit.kernel.netlink.UeventSocket", refuse)
    device(sys, "pci0/0:2", "pci:bus")
    assert "hub" in coldplug(managed(Bus(sys, {"bus": ["usb:hub1"]})), sys=str(sys)).changed


def test_coldplug_without_sysfs_is_an_error(tmp_path: Path) -> None:
    """A system without sysfs must not look like one without devices."""
    with pytest.raises(FileError):
        coldplug(managed(FakeKernel()), sys=str(tmp_path / "nothing"))


# --- the watch ----------------------------------------------------------------------------------------------


@pytest.fixture
def line() -> Iterator[Line]:
    """Give a line to a watch."""
    line = Line()
    yield line
    line.close()


def follow(watcher: Watcher, enough: Callable[[list[Report]], object]) -> list[Report]:
    """Return reports until they are enough; a watch that does not give them is stopped, and the test fails."""
    seen: list[Report] = []
    timer = threading.Timer(PATIENCE, watcher.stop)
    timer.start()
    try:
        for report in watcher:
            seen.append(report)
            if enough(seen):
                return seen
    finally:
        timer.cancel()
        timer.join()
    pytest.fail(f"the watch ended after {seen}")


def loaded_by(reports: list[Report]) -> set[str]:
    """Return the modules that reports say were loaded."""
    return {name for report in reports for name in report.result.changed}


def test_the_watch_begins_with_what_is_there(line: Line, sys: Path) -> None:
    """The first report is of all devices."""
    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys)) as watcher:
        (report,) = follow(watcher, len)
    assert (report.cause, report.modaliases, report.reason) == ("coldplug", ("pci:net",), "")
    assert report.result.check().changed == ("phy", "net")


@pytest.mark.parametrize("action", ["add", "bind"])
def test_a_device_that_comes_brings_its_modules(line: Line, sys: Path, action: str) -> None:
    """Without coldplug, nothing else does."""
    kernel = FakeKernel(drivers())
    with Watcher(managed(kernel), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        line.send("usb:hub1", action=action)
        (report,) = follow(watcher, len)
    assert (report.cause, report.modaliases) == ("event", ("usb:hub1",))
    assert loaded(kernel) == ["hub"]


@pytest.mark.parametrize("action", ["remove", "change", "move", "online", "offline", "unbind"])
def test_other_actions_bring_nothing(line: Line, sys: Path, action: str) -> None:
    """Only a device that comes, or that a driver took, needs modules."""
    kernel = FakeKernel(drivers())
    with Watcher(managed(kernel), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        line.send("pci:net", action=action)
        line.send("usb:hub1")
        (report,) = follow(watcher, len)
    assert report.modaliases == ("usb:hub1",)
    assert loaded(kernel) == ["hub"]


def test_an_event_without_a_modalias_brings_nothing(line: Line, sys: Path) -> None:
    """Most events have none."""
    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        line.theirs.send(b"add@/devices/x\0ACTION=add\0SEQNUM=1\0")
        line.send("usb:hub1")
        (report,) = follow(watcher, len)
    assert report.modaliases == ("usb:hub1",)


def test_devices_that_share_a_module_load_it_once(line: Line, sys: Path) -> None:
    """However their events arrive, and beside coldplug."""
    kernel = FakeKernel(drivers())
    with Watcher(managed(kernel), sock=line.ours, sys=str(sys)) as watcher:
        line.send(*["pci:net"] * 5, "usb:hub1", "usb:hub2")
        follow(watcher, lambda reports: loaded_by(reports) >= {"net", "hub"})
        line.send("usb:hub3", "pci:net", "hid:mouse")
        follow(watcher, lambda reports: "mouse" in loaded_by(reports))
    assert Counter(name for name, _ in loads(kernel)) == {"phy": 1, "net": 1, "hub": 1, "mouse": 1}


def test_lost_events_cause_a_walk_over_all_devices(line: Line, sys: Path) -> None:
    """What they were about is found in sysfs; events behind them still count."""
    kernel = FakeKernel(drivers())
    with Watcher(managed(kernel), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        line.fail(errno.ENOBUFS)
        line.send("usb:hub1")
        reports = follow(watcher, lambda reports: len(reports) == 2)
    assert {report.cause for report in reports} == {"overrun", "event"}
    assert set(loaded(kernel)) == {"phy", "net", "hub"}


def test_events_lost_several_times_at_once_cause_one_walk(line: Line, sys: Path) -> None:
    """A walk that has not begun answers for all of them; one that has begun is followed by another."""
    line.theirs.settimeout(PATIENCE)
    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        for _ in range(5):
            line.fail(errno.ENOBUFS)
        assert [report.cause for report in follow(watcher, len)] == ["overrun"]
        line.fail(errno.ENOBUFS)
        line.send("usb:hub1")
        causes = [report.cause for report in follow(watcher, lambda reports: len(reports) == 2)]
    assert sorted(causes) == ["event", "overrun"]


def test_a_refused_datagram_is_reported(line: Line, sys: Path) -> None:
    """With the reason, and the next event is taken."""
    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        line.theirs.send(b"libudev\0junk")
        line.send("usb:hub1")
        rejected, report = follow(watcher, lambda reports: len(reports) == 2)
    assert rejected.cause == "rejected"
    assert "udev's own format" in rejected.reason
    assert loaded_by([report]) == {"hub"}


def test_errors_receiving_are_reported_and_waited_out(
    line: Line, sys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They end nothing, and an error that stays does not make the watch spin: pauses grow."""
    pauses: list[float] = []
    pause = Watcher._pause

    def no_pause(watcher: Watcher) -> float:
        pauses.append(pause(watcher))
        return 0.0

    monkeypatch.setattr(Watcher, "_pause", no_pause)
    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        for _ in range(4):
            line.fail(errno.ENOMEM)
        line.send("usb:hub1")
        reports = follow(watcher, lambda reports: "hub" in loaded_by(reports))
    assert [report.reason for report in reports[:4]] == ["receiving failed: Cannot allocate memory"] * 4
    assert pauses == sorted(set(pauses))
    assert len(pauses) == 3
    assert pauses[-1] <= 1


class Faulty(FakeKernel):
    """A kernel with a fault of its own in one module."""

    def load(self, path: str, params: str = "", flags: ModuleFlags = ModuleFlags.NONE) -> None:
        """Raise what no kernel should."""
        if path.endswith("/mouse.ko"):
            raise RuntimeError("a fault")
        super().load(path, params, flags)


def test_an_unforeseen_error_ends_one_round_and_not_the_watch(line: Line, sys: Path) -> None:
    """Its report says which round, and the next event is taken."""
    with Watcher(managed(Faulty(drivers())), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        line.send("hid:mouse")
        (report,) = follow(watcher, len)
        assert (report.cause, report.reason) == ("event", "RuntimeError('a fault')")
        line.send("usb:hub1")
        assert loaded_by(follow(watcher, len)) == {"hub"}


def test_coldplug_that_cannot_be_done_is_reported_as_that(line: Line, tmp_path: Path) -> None:
    """Whoever waits for the end of coldplug gets it, with the reason, and events are followed."""
    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(tmp_path / "nothing")) as watcher:
        (report,) = follow(watcher, len)
        assert report.cause == "coldplug"
        assert "No such file or directory" in report.reason
        line.send("usb:hub1")
        assert loaded_by(follow(watcher, len)) == {"hub"}


def test_a_failure_is_in_the_report(line: Line, sys: Path) -> None:
    """As in any result."""
    kernel = FakeKernel(drivers(), errors={"hub": [errno.EIO]})
    with Watcher(managed(kernel), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        line.send("usb:hub1")
        (report,) = follow(watcher, len)
    assert not report.result.ok
    assert "'hub'" in str(report.result.failures[0])


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Give the fake kernel a gate in place of delays."""
    gate = Gate()
    monkeypatch.setattr(fake_kernel, "time", gate)
    return gate


def test_a_slow_module_does_not_hold_up_other_devices(line: Line, sys: Path, gate: Gate) -> None:
    """Nor does it hold up reading events; its own report comes when it is done."""
    kernel = FakeKernel(drivers(), delays={"net": 1})
    with Watcher(managed(kernel), sock=line.ours, sys=str(sys)) as watcher:
        assert gate.entered.wait(PATIENCE)
        line.send("usb:hub1")
        assert [report.cause for report in follow(watcher, len)] == ["event"]
        assert kernel.initstate("net") == "coming"
        gate.open()
        assert [report.cause for report in follow(watcher, len)] == ["coldplug"]


# --- ending -------------------------------------------------------------------------------------------------


def test_stop_from_another_thread_ends_the_iteration(line: Line, sys: Path) -> None:
    """Whether the watch waits or not, and what has ended by then is still reported."""
    with (
        Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys)) as watcher,
        ThreadPoolExecutor(1) as pool,
    ):
        first = threading.Event()

        def iterate() -> list[str]:
            causes: list[str] = []
            for report in watcher:
                causes.append(report.cause)
                first.set()
            return causes

        causes = pool.submit(iterate)
        assert first.wait(PATIENCE)
        watcher.stop()
        assert causes.result(PATIENCE) == ["coldplug"]


def test_stop_before_the_iteration_ends_it_at_once(line: Line, sys: Path) -> None:
    """It is not forgotten."""
    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        watcher.stop()
        assert list(watcher) == []


def test_stop_in_a_signal_handler_ends_the_iteration(line: Line, sys: Path) -> None:
    """Also in one that interrupts another."""
    main = threading.get_ident()

    def interrupt() -> None:
        signal.pthread_kill(main, signal.SIGUSR1)
        signal.pthread_kill(main, signal.SIGUSR2)

    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys)) as watcher:
        watchdog = threading.Timer(PATIENCE, watcher.stop)
        watchdog.start()
        stopped: list[int] = []

        def handle(number: int, _: object) -> None:
            stopped.append(number)
            watcher.stop()

        try:
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                signal.signal(number, handle)
            sender = threading.Thread(target=interrupt)
            for report in watcher:
                assert report.cause == "coldplug"
                sender.start()
            sender.join()
        finally:
            for number, handler in zip((signal.SIGUSR1, signal.SIGUSR2), before, strict=True):
                signal.signal(number, handler)
            watchdog.cancel()
            watchdog.join()
    assert set(stopped) == {signal.SIGUSR1, signal.SIGUSR2}


def test_no_signal_is_lost_just_before_the_wait(sys: Path) -> None:
    """One that comes between the last look for signals and the wait ends the wait: of many tries, some hit it."""
    main = threading.get_ident()
    watchers: list[Watcher] = []
    go, over, late = threading.Semaphore(0), threading.Event(), threading.Event()

    def interrupt() -> None:
        while go.acquire() and not over.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)

    def give_up() -> None:
        late.set()
        watchers[-1].stop()

    before = signal.signal(signal.SIGUSR1, lambda *_: watchers[-1].stop())
    watchdog = threading.Timer(PATIENCE, give_up)
    sender = threading.Thread(target=interrupt)
    watchdog.start()
    sender.start()
    try:
        for _ in range(300):
            line = Line()
            with Watcher(managed(FakeKernel()), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
                watchers.append(watcher)
                go.release()
                assert list(watcher) == []
            line.close()
            assert not late.is_set()
    finally:
        over.set()
        go.release()
        sender.join()
        signal.signal(signal.SIGUSR1, before)
        watchdog.cancel()
        watchdog.join()


def test_closing_waits_for_what_is_being_loaded(line: Line, sys: Path, gate: Gate) -> None:
    """And starts nothing more."""
    kernel = FakeKernel(drivers(), delays={"net": 1})
    watcher = Watcher(managed(kernel), sock=line.ours, sys=str(sys))
    assert gate.entered.wait(PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        closed = pool.submit(watcher.close)
        gate.open()
        closed.result(PATIENCE)
    assert kernel.initstate("net") == "live"


def test_closing_twice_and_stopping_afterwards_do_nothing(line: Line, sys: Path) -> None:
    """As a signal may come late."""
    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys)) as watcher:
        pass
    watcher.close()
    watcher.stop()


def test_a_watch_leaves_no_descriptor_open(sys: Path) -> None:
    """Whether it was iterated or not."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for number in range(10):
        line = Line()
        with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys)) as watcher:
            if number % 2:
                follow(watcher, len)
        line.theirs.close()
    assert descriptors() == before


# --- asyncio ------------------------------------------------------------------------------------------------


def test_the_watch_is_an_async_iterator(line: Line, sys: Path) -> None:
    """It reports the same, lets other tasks run while it waits, and ends with stop."""
    kernel = FakeKernel(drivers())
    watcher = Watcher(managed(kernel), sock=line.ours, sys=str(sys))

    async def send() -> None:
        line.send("usb:hub1")
        await asyncio.sleep(0)

    async def watch() -> list[str]:
        causes: list[str] = []
        async for report in watcher:
            causes.append(report.cause)
            if report.cause == "coldplug":
                await asyncio.create_task(send())
            else:
                asyncio.get_running_loop().call_soon(watcher.stop)
        return causes

    with watcher:
        assert asyncio.run(asyncio.wait_for(watch(), PATIENCE)) == ["coldplug", "event"]
    assert set(loaded(kernel)) == {"phy", "net", "hub"}


def test_leaving_the_async_iteration_leaves_the_loop_clean(line: Line, sys: Path) -> None:
    """No descriptor stays registered with the loop."""

    async def watch() -> bool:
        generator: AsyncGenerator[Report, None] = watcher.__aiter__()  # type: ignore[assignment]
        async with aclosing(generator) as reports:
            async for _ in reports:
                break
        return asyncio.get_running_loop().remove_reader(line.ours.fileno())

    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys)) as watcher:
        assert asyncio.run(asyncio.wait_for(watch(), PATIENCE)) is False


# --- ten thousand -------------------------------------------------------------------------------------------


def test_ten_thousand_events_over_a_tiny_queue_miss_nothing(line: Line, sys: Path) -> None:
    """Whatever does not fit is lost, as in a netlink socket; what was lost is found by walking."""
    kernel = FakeKernel(drivers())
    line.theirs.setblocking(False)
    dropped = 0

    def storm() -> None:
        nonlocal dropped
        for number in range(10_000):
            modalias = f"noise:{number}"
            if number % 40 == 0:
                modalias = f"dev:{number // 40}"
                device(sys, f"storm/{number}", modalias)
            try:
                if number % 400 == 0:
                    raise BlockingIOError  # some are lost however fast the watch is
                line.send(modalias)
            except BlockingIOError:
                dropped += 1
                line.netlink.lost = True
        # A real socket wakes its reader when it loses events; here the next datagram does.
        line.theirs.setblocking(True)
        line.send("noise:last")

    expected = {f"dev{number}" for number in range(250)}
    with Watcher(managed(kernel), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        sender = threading.Thread(target=storm)
        sender.start()
        reports = follow(watcher, lambda _: expected <= set(loaded(kernel)))
        sender.join()
    assert dropped >= 25
    assert {report.cause for report in reports} <= {"event", "overrun"}
    assert all(report.result.ok for report in reports)
    assert max(Counter(name for name, _ in loads(kernel)).values()) == 1


def test_long_batches_are_taken_in_turns(line: Line, sys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a storm of events does not keep reports from coming."""
    monkeypatch.setattr(devices, "_LONGEST_BATCH", 3)
    with Watcher(managed(FakeKernel(drivers())), sock=line.ours, sys=str(sys), coldplug=False) as watcher:
        line.send(*(f"dev:{number}" for number in range(7)))
        reports = follow(watcher, lambda reports: len(loaded_by(reports)) == 7)
    assert sorted(len(report.modaliases) for report in reports) == [1, 3, 3]
