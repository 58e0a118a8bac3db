"""Coldplug and hotplug in a real kernel, on a machine with real (emulated) devices."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from kmodkit.devices import Report, Watcher, coldplug
from kmodkit.kernel.modules import loaded_modules
from kmodkit.kernel.netlink import UeventSocket
from kmodkit.kernel.uevents import new_uuid, read_modaliases, trigger
from kmodkit.manager import Manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEVICES = [
    "e1000e",
    "virtio-net-pci,disable-legacy=on",
    "rtl8139",
    "qemu-xhci,id=xhci",
    "usb-tablet,bus=xhci.0",
    "intel-hda",
]
# Drivers of those devices, of what the drivers find, and of the machine itself.
MODULES = [
    *("e1000e", "virtio_net", "virtio_pci", "8139too", "8139cp", "nvme", "xhci_pci", "usbhid", "hid_generic"),
    *("snd_hda_intel", "i2c_i801", "lpc_ich", "ahci", "pcspkr", "psmouse", "serio_raw", "evdev", "vmxnet3"),
]
# What udev loads for DEVICES and the disk on this machine, by each kernel's own aliases.
WANTED = {"e1000e", "virtio_pci", "virtio_net", "8139too", "8139cp", "nvme", "xhci_pci", "snd_hda_intel"}
LATE = {"driver": "vmxnet3", "id": "late", "bus": "rp0"}

pytestmark = pytest.mark.ktest(modules=MODULES, devices=DEVICES, memory=768, timeout=180)


@functools.cache
def builtin() -> frozenset[str]:
    """Return the names of what is built into this kernel."""
    return frozenset(module.name for module in Manager.from_tree().catalog if module.builtin)


def loaded() -> set[str]:
    """Return the names of what is loaded, and of what is built in."""
    return {module.name for module in loaded_modules()} | builtin()


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until ``condition`` holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def disk(ktest_qmp: Callable[..., object]) -> None:
    """A disk that is there before anything is looked at: QEMU saves no machine with one in its snapshot."""
    ktest_qmp("device_add", driver="nvme", serial="kmodkit", id="disk", bus="rp1")
    wait_for(lambda: any(alias.startswith("pci:v00001B36d00000010") for _, alias in read_modaliases()))


@pytest.fixture
def manager() -> Manager:
    """The manager of the running kernel's own tree."""
    return Manager.from_tree()


class Watching:
    """A watcher that runs in a thread, and its reports."""

    def __init__(self, manager: Manager, **options: object) -> None:
        self.reports: list[Report] = []
        self.watcher = Watcher(manager, **options)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.reports.extend(self.watcher)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()
        self._thread.join()
        self.watcher.close()


@pytest.fixture
def watching(manager: Manager) -> Iterator[Watching]:
    """A watcher over the whole machine."""
    with Watching(manager) as running:
        yield running


def driver_of(modalias: str) -> str | None:
    """Return the driver bound to the device with that modalias."""
    for device, found in read_modaliases():
        if found == modalias:
            link = Path(f"/sys{device}/driver")
            return link.resolve().name if link.exists() else None
    return None


def test_coldplug_loads_what_udev_would(manager: Manager) -> None:
    """Every device's driver is loaded, and the drivers of what those find."""
    result = coldplug(manager)
    assert result.ok, result.failures
    assert loaded() >= WANTED
    for modalias in [alias for _, alias in read_modaliases()]:
        for module in manager.catalog.lookup(modalias):
            assert manager.is_loaded(module.name), (modalias, module.name)


def test_coldplug_binds_the_devices(manager: Manager) -> None:
    """A PCI network card has its driver afterwards."""
    coldplug(manager)
    card = next(alias for _, alias in read_modaliases() if alias.startswith("pci:v00008086d000010D3"))
    wait_for(lambda: driver_of(card) == "e1000e")


def test_watch_follows_what_a_driver_finds(watching: Watching) -> None:
    """The tablet behind the USB controller is found after the controller's load returned."""
    wait_for(lambda: {"usbhid", "hid_generic"} <= loaded())
    wait_for(lambda: any(report.cause == "coldplug" for report in watching.reports))


def test_a_card_plugged_in_gets_its_driver(watching: Watching, ktest_qmp: Callable[..., object]) -> None:
    """Its module is loaded from the event."""
    wait_for(lambda: any(report.cause == "coldplug" for report in watching.reports))
    assert "vmxnet3" not in loaded()
    ktest_qmp("device_add", **LATE)
    wait_for(lambda: "vmxnet3" in loaded())
    wait_for(lambda: any("vmxnet3" in report.result.changed for report in watching.reports))
    assert next(report for report in watching.reports if "vmxnet3" in report.result.changed).cause == "event"


def test_asyncio_follows_devices_too(manager: Manager) -> None:
    """``async for`` gives the same reports."""

    async def coldplugged() -> Report:
        with Watcher(manager) as watcher:
            async for report in watcher:
                if report.cause == "coldplug":
                    return report
        raise AssertionError("no report")

    assert asyncio.run(coldplugged()).result.ok
    assert loaded() >= WANTED


def test_lost_events_are_made_up_for(manager: Manager, ktest_qmp: Callable[..., object]) -> None:
    """With a tiny receive buffer and ten thousand events, the card plugged in among them gets its driver."""
    sock = UeventSocket(buffer_size=4096)
    # The kernel's own floor is about this; the default is far above.
    import socket as sockets

    sock._sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 2304)
    with Watching(manager, sock=sock) as running:
        wait_for(lambda: any(report.cause == "coldplug" for report in running.reports))
        target = "/sys/devices/virtual/mem/null/uevent"
        uuid = new_uuid()
        plugged = threading.Timer(0.3, lambda: ktest_qmp("device_add", **LATE))
        plugged.start()
        # What `trigger` writes, without opening the file each time: that took a minute on an emulated processor.
        file = os.open(target, os.O_WRONLY)
        for number in range(10_000):
            os.pwrite(file, f"change {uuid} N={number}".encode(), 0)
        os.close(file)
        plugged.join()
        wait_for(lambda: "vmxnet3" in loaded(), 150)
        wait_for(lambda: any(report.cause == "overrun" for report in running.reports))


def test_one_module_set_is_loaded_once_for_many_events(manager: Manager) -> None:
    """A hundred events of one device bring its driver once."""
    with Watching(manager, coldplug=False) as running:
        device = next(d for d, alias in read_modaliases() if alias.startswith("pci:v00008086d000010D3"))
        for _ in range(100):
            trigger(f"/sys{device}/uevent", uuid=new_uuid())
        wait_for(lambda: "e1000e" in loaded())
        wait_for(lambda: any(report.result.changed for report in running.reports))
    changed = [name for report in running.reports for name in report.result.changed]
    assert changed.count("e1000e") == 1


def test_the_watch_verb_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    """It says it is ready, logs a line a round, and ends with status 0."""
    import signal
    import socket
    import subprocess
    import sys

    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(address)
        notified.settimeout(120)
        process = subprocess.Popen(
            [sys.executable, "-m", "kmodkit", "watch"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": address},
        )
        assert notified.recv(100) == b"READY=1"
        process.send_signal(signal.SIGTERM)
        assert notified.recv(100) == b"STOPPING=1"
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert any(line.startswith("cause=coldplug ") for line in out.splitlines())
    assert "e1000e" in out


def test_the_coldplug_verb_plans_and_loads(capfd: pytest.CaptureFixture[str]) -> None:
    """The plan names what it then loads."""
    from kmodkit.cli import main

    assert main(["coldplug", "--dry-run"]) == 0
    planned = {line.split()[1] for line in capfd.readouterr().out.splitlines()}
    assert planned >= {"e1000e", "nvme"} - builtin()
    assert main(["coldplug"]) == 0
    assert planned <= loaded()
