"""kmodkit watch: what it prints, how it ends, and what it tells systemd."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from kmodkit import devices
from kmodkit.cli import watch
from kmodkit.core.plan import Step
from kmodkit.devices import Report
from kmodkit.kernel import running as running_module
from kmodkit.kernel.notify import notify
from kmodkit.manager import Outcome, Result
from kmodkit.scanner import scan
from kmodkit.testing import FakeKernel
from tests.commands import NETWORK_CARD, Ran, network_tree, run
from tests.managers import PATIENCE, loaded
from tests.netlinks import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Capture: TypeAlias = pytest.CaptureFixture[str]

SERVICE = Path(__file__).parents[2] / "contrib/kmodkit-watch.service"
COLDPLUG = ("/devices/a", NETWORK_CARD)


class Machine:
    """What the watch runs on: a tree, a fake kernel, a line for events, devices, and a service manager."""

    def __init__(self, tree: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tree = tree
        self.kernel = FakeKernel(scan(tree).catalog)
        self.line = Line()
        self.devices = [COLDPLUG]
        self._manager = manager
        self._main = threading.get_ident()
        self._printed: dict[str, threading.Event] = {}
        self._told: list[str] = []
        self.errors: list[BaseException] = []
        line = watch._line

        def watched(report: Report, *, as_json: bool) -> str:
            self.printed(report.cause).set()
            return line(report, as_json=as_json)

        monkeypatch.setattr(running_module, "RunningKernel", lambda: self.kernel)
        monkeypatch.setattr("kmodkit.kernel.netlink.UeventSocket", lambda: self.line.ours)
        monkeypatch.setattr(devices, "read_modaliases", lambda _: iter(self.devices))
        monkeypatch.setattr(watch, "_line", watched)

    def printed(self, cause: str) -> threading.Event:
        """Return what is set when a line with this cause is printed."""
        return self._printed.setdefault(cause, threading.Event())

    def wait_printed(self, cause: str) -> None:
        """Wait for a line with this cause."""
        assert self.printed(cause).wait(PATIENCE)

    def told(self) -> str:
        """Return the next datagram that the service manager gets."""
        return self._manager.recv(100).decode()

    def run(
        self, capsys: Capture, during: Callable[[], object], *words: str, end: signal.Signals = signal.SIGTERM
    ) -> Ran:
        """Run the watch; once it says that it is ready, do ``during`` and end it with a signal."""

        def meanwhile() -> None:
            try:
                self._told.append(self.told())
                during()
            except BaseException as error:
                self.errors.append(error)
            # Without READY=1 the handlers may not be there, and the signal would end the tests.
            if self._told:
                signal.pthread_kill(self._main, end)

        helper = threading.Thread(target=meanwhile)
        helper.start()
        ran = run(capsys, "watch", "--tree", self.tree, *words)
        helper.join()
        if self.errors:
            raise self.errors[0]
        assert self._told == ["READY=1"]
        return ran


@pytest.fixture(params=["path", "abstract"])
def service_manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """Give a service manager's socket, of both kinds that systemd has."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        # A test's directory may be longer than the address of a socket.
        name = f"kmodkit-{os.getpid()}-{id(sock)}"
        if request.param == "path":
            monkeypatch.chdir(tmp_path)
            sock.bind("notify")
            link = Path("/tmp", name)  # noqa: S108 - a link of ours to it
            link.symlink_to(tmp_path / "notify")
            monkeypatch.setenv("NOTIFY_SOCKET", str(link))
            yield sock
            link.unlink()
        else:
            sock.bind("\0" + name)
            monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
            yield sock


@pytest.fixture
def machine(tmp_path: Path, service_manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Give a machine, and put the signal handlers back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    machine = Machine(network_tree(tmp_path), service_manager, monkeypatch)
    yield machine
    for number, handler in before.items():
        signal.signal(number, handler)
    machine.line.close()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_watch_goes_on_until_a_signal(machine: Machine, end: signal.Signals, capsys: Capture) -> None:
    """It is ready when coldplug is done, follows events, and says that it stops; the status is 0."""

    def during() -> None:
        assert machine.printed("coldplug").is_set()
        machine.line.send("mdio:1")
        machine.wait_printed("event")

    machine.devices = [("/devices/a", "pci:unknown")]
    ran = machine.run(capsys, during, end=end)
    assert (ran.status, ran.err) == (0, "")
    coldplug, event = ran.lines
    assert coldplug.startswith("cause=coldplug modaliases=1 seconds=")
    assert event.startswith("cause=event modaliases=1 loaded=libphy,realtek seconds=")
    assert loaded(machine.kernel) == ["libphy", "realtek"]
    assert machine.told() == "STOPPING=1"


def test_events_that_need_nothing_are_no_line(machine: Machine, capsys: Capture) -> None:
    """A machine has thousands."""

    def during() -> None:
        machine.line.send("usb:unknown")
        machine.line.send("usb:unknown", action="remove")
        machine.line.fail(errno.ENOBUFS)
        machine.wait_printed("overrun")

    ran = machine.run(capsys, during)
    assert [line.split()[0] for line in ran.lines] == ["cause=coldplug", "cause=overrun"]


def test_lines_as_json(machine: Machine, capsys: Capture) -> None:
    """An object a line; what is refused has its reason, what failed its error."""

    def during() -> None:
        machine.line.theirs.send(b"junk")
        machine.wait_printed("rejected")

    machine.kernel = FakeKernel(errors={"realtek": [errno.EIO], "r8169": [errno.ENODEV]})
    ran = machine.run(capsys, during, "--json")
    coldplug, rejected = map(json.loads, ran.lines)
    assert set(coldplug) == {"cause", "modaliases", "loaded", "failed", "seconds"}
    assert (coldplug["cause"], coldplug["modaliases"]) == ("coldplug", 1)
    assert coldplug["loaded"] == ["libphy", "mdio_devres"]
    assert len(coldplug["failed"]) == 1
    assert "'r8169'" in coldplug["failed"][0]
    assert rejected["cause"] == "rejected"
    assert "action@/devpath" in rejected["reason"]


def test_without_coldplug_it_is_ready_at_once(machine: Machine, capsys: Capture) -> None:
    """And loads nothing for what was there."""
    ran = machine.run(capsys, lambda: None, "--no-coldplug")
    assert ran == (0, "", "")
    assert machine.kernel.calls == []


def test_coldplug_that_cannot_be_done_does_not_keep_it_from_being_ready(
    machine: Machine, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and follows what comes: systemd would else kill it and start it again, for ever."""

    def broken(_: str) -> Iterator[tuple[str, str]]:
        raise RuntimeError("no devices")

    monkeypatch.setattr(devices, "read_modaliases", broken)
    ran = machine.run(capsys, lambda: None)
    assert ran.status == 0
    assert """reason="RuntimeError('no devices')\"""" in ran.out


def test_values_that_would_break_the_line_are_quoted() -> None:
    """A blank, a quote, an equals sign or anything that is not printed."""
    outcome = Outcome(Step("load", "a b", "x.ko"), "done")
    report = Report("event", ("x",), Result((outcome,)), reason='say "no"\n\x1b=')
    text = watch._line(report, as_json=False)
    assert text == 'cause=event modaliases=1 loaded="a b" seconds=0.0 reason="say \\"no\\"\\n\\u001b="'


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/nowhere/at/all", "@kmodkit-nobody-listens"])
def test_no_service_manager_is_no_failure(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and nothing is raised."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


def test_the_state_goes_in_one_datagram(service_manager: socket.socket) -> None:
    """As sd_notify(3) has it."""
    assert notify("READY=1\nSTATUS=two lines")
    assert service_manager.recv(100) == b"READY=1\nSTATUS=two lines"


def test_systemd_takes_the_unit_file(tmp_path: Path) -> None:
    """Where systemd-analyze is there; the program need not be."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not there")
    unit = tmp_path / SERVICE.name
    text = SERVICE.read_text()
    assert "\nExecStart=/usr/bin/kmodkit watch\n" in text
    unit.write_text(text.replace("/usr/bin/kmodkit", shutil.which("true") or "/bin/true"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    if "Failed to create manager" in done.stderr or "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze does not run here")
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert complaints == []
    assert done.returncode == 0


def test_the_unit_waits_for_no_file_system() -> None:
    """It loads what file systems are mounted with; PrivateTmp= would have it wait for /var."""
    lines = SERVICE.read_text().splitlines()
    assert "DefaultDependencies=no" in lines
    assert not [line for line in lines if line.startswith(("PrivateTmp=", "After=local-fs", "RequiresMountsFor="))]
