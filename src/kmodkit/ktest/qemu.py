"""QEMU: its command line, its process, and the four channels to it.

The channels are socket pairs whose other ends QEMU inherits: no path in a file system that two runs could
share, no wait for a socket to appear, and an end-of-file the moment QEMU is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shutil
import socket
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import IO, TYPE_CHECKING, Any, Final, Self

from kmodkit.errors import KtestError, KtestLostError, KtestTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

CHANNELS: Final = ("qmp", "console", "control", "output")
PROGRAM: Final = "qemu-system-x86_64"
COMMAND_LINE: Final = (
    "console=ttyS0 panic=-1 oops=panic quiet loglevel=4 mitigations=off nokaslr no_timer_check tsc=reliable "
    "cryptomgr.notests random.trust_cpu=on initcall_blacklist=crypto_kdf108_init"
)
"""The guest kernel's. The call left out is a self-test, which takes a second under emulation."""

QMP_TIMEOUT: Final = 30.0

_POLL: Final = 0.002
# Memory that is a shared file stays there, and is not written into the state a second time.
_IGNORE_SHARED: Final = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}
_CONSOLE_LIMIT: Final = 4 << 20
_AUDIO: Final = re.compile(
    r"(hda-(duplex|micro|output)|AC97|ES1370|sb16|cs4231a|gus|adlib|usb-audio|virtio-sound-\w+)(,|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """A virtual machine: everything that QEMU's command line is made from.

    ``memory`` is in MiB, 0 for as much as the image needs. ``devices`` are values of QEMU's ``-device``
    (``e1000e``, ``qemu-xhci,id=usb``); audio devices get a silent backend by themselves. ``ports`` is the
    number of empty PCI Express ports rp0, rp1, ... for hot-plug. ``append`` is added to the kernel's command
    line, ``arguments`` to QEMU's. ``accel`` is ``tcg`` or ``kvm`` (see `kmodkit.ktest.kvm`).
    """

    kernel: Path
    initrd: Path
    memory: int = 0
    cpus: int = 2
    devices: tuple[str, ...] = ()
    ports: int = 2
    append: str = ""
    arguments: tuple[str, ...] = ()
    accel: str = "tcg"

    @property
    def mebibytes(self) -> int:
        """The memory of the machine: the archive and what it unpacks to are there at once for a while."""
        return self.memory or max(512, 256 + 3 * (self.initrd.stat().st_size >> 20))


def find_qemu() -> str:
    """Return the path of QEMU; KtestError where it is not installed."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise KtestError(f"{PROGRAM} is not installed (Debian: qemu-system-x86)")
    return path


@cache
def qemu_version(program: str) -> str:
    """Return the first line of ``--version``."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise KtestError(f"{program} --version failed: {done.stderr.strip()}")
    return done.stdout.partition("\n")[0]


def arguments(spec: MachineSpec, *, memory_file: Path | None = None, shared: bool = False) -> list[str]:
    """Return QEMU's arguments for a machine, the channels left out.

    With ``memory_file`` the machine's memory is that file: written to where ``shared``, else read, changes
    staying private to the process.
    """
    memory = f"{spec.mebibytes}M"
    # With a thread for each processor, one boot of Debian's 6.12 in 25 died of "Oops: int3": a processor ran
    # into a breakpoint that the kernel, patching its own code on the other, had removed. One thread for all
    # boots as fast, and leaves the machine's other processors to other tests.
    accel, cpu = ("tcg,thread=single", "max,-la57") if spec.accel == "tcg" else (spec.accel, "max")
    machine = "q35"
    options: list[str] = []
    if memory_file is not None:
        machine += ",memory-backend=ram"
        path = str(memory_file).replace(",", ",,")
        share = "on" if shared else "off"
        options += ["-object", f"memory-backend-file,id=ram,size={memory},mem-path={path},share={share}"]
    for port in range(spec.ports):
        options += ["-device", f"pcie-root-port,id=rp{port},chassis={port + 1},slot={port + 1}"]
    if any(_AUDIO.match(device) for device in spec.devices):
        options += ["-audiodev", "none,id=silence"]
    for device in spec.devices:
        silent = _AUDIO.match(device) and "audiodev=" not in device
        options += ["-device", f"{device},audiodev=silence" if silent else device]
    return [
        *("-M", machine, "-accel", accel, "-cpu", cpu),
        *("-m", memory, "-smp", str(spec.cpus), "-nodefaults", "-no-user-config", "-display", "none"),
        *("-no-reboot", "-kernel", str(spec.kernel), "-initrd", str(spec.initrd)),
        *("-append", f"{COMMAND_LINE} {spec.append}".rstrip()),
        *options,
        *spec.arguments,
    ]


def channel_arguments(descriptors: Mapping[str, int]) -> list[str]:
    """Return the arguments that join the channels to inherited sockets; ttyS0, 1 and 2 in that order."""
    options = []
    for name in CHANNELS:
        options += ["-chardev", f"socket,id={name},fd={descriptors[name]}"]
        options += ["-mon", "chardev=qmp,mode=control"] if name == "qmp" else ["-serial", f"chardev:{name}"]
    return options


@dataclass(slots=True)
class _Channel:
    """One channel: what has come in, and whether the other side is gone."""

    socket: socket.socket
    data: bytearray = field(default_factory=bytearray)
    closed: bool = False


class Qemu:
    """A QEMU process with its channels, read all the time by a thread of its own.

    Were they not read, the guest would wait for ever with its console full. ``on_data(channel, bytes)`` is called
    from that thread for all that comes over ``console`` and ``output``. With ``state``, an open file that `save`
    wrote, the process waits for `restore`.
    """

    def __init__(
        self,
        options: Sequence[str],
        *,
        on_data: Callable[[str, bytes], None] | None = None,
        state: IO[bytes] | None = None,
    ) -> None:
        self._on_data = on_data
        self._changed = threading.Condition()
        self._replies: dict[int, Any] = {}
        self._serial = 0
        self._qmp_buffer = b""
        self.events: deque[dict[str, Any]] = deque(maxlen=1000)
        self._channels: dict[str, _Channel] = {}
        theirs = []
        for channel in CHANNELS:
            ours, other = socket.socketpair()
            self._channels[channel] = _Channel(ours)
            theirs.append(other)
        descriptors = {channel: other.fileno() for channel, other in zip(CHANNELS, theirs, strict=True)}
        argv = [*_leash(), find_qemu(), *options, *channel_arguments(descriptors)]
        inherited = list(descriptors.values())
        if state is not None:
            argv += ["-incoming", "defer"]
            inherited.append(state.fileno())
        self._state = state.fileno() if state is not None else -1
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=inherited,
                # An interrupt typed at the terminal is for us to act on, by killing it.
                start_new_session=True,
            )
        except OSError as error:
            self._close_sockets()
            raise KtestError(f"{argv[0]}: {error.strerror}") from error
        finally:
            for other in theirs:
                other.close()
        self._stderr = b""
        self._reader = threading.Thread(target=self._read, name="ktest-channels", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def console(self) -> bytes:
        """What came over the console so far (the last 4 MiB)."""
        return self.received("console")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def refused(self) -> bool:
        """Whether QEMU ended of itself with an error."""
        return (self._process.returncode or 0) > 0

    def received(self, channel: str, start: int = 0) -> bytes:
        """Return what came over a channel so far, from byte ``start`` on."""
        with self._changed:
            return bytes(self._channels[channel].data[start:])

    def take_line(self, timeout: float) -> bytes:
        """Return the next line of the control channel, taken off it.

        Raises KtestTimeoutError after ``timeout`` seconds, KtestLostError where the guest is gone.
        """
        channel = self._channels["control"]
        self.wait(lambda: b"\n" in channel.data, timeout, lambda: channel.closed)
        with self._changed:
            line, _, rest = bytes(channel.data).partition(b"\n")
            channel.data[:] = rest
        return line

    def wait(
        self,
        condition: Callable[[], bool],
        timeout: float,
        hopeless: Callable[[], bool] | None = None,
        what: str = "the guest gave no answer",
    ) -> None:
        """Wait until ``condition`` holds, evaluated whenever something comes in.

        Raises KtestTimeoutError after ``timeout`` seconds, KtestLostError once ``hopeless`` holds instead.
        """
        hopeless = hopeless or (lambda: all(channel.closed for channel in self._channels.values()))
        with self._changed:
            self._changed.wait_for(lambda: condition() or hopeless(), timeout)
            met, lost = condition(), hopeless()
        if met:
            return
        if lost:
            raise self.lost("the guest went away")
        raise KtestTimeoutError(f"{what} within {timeout:.3g} seconds", console=self.console)

    def lost(self, reason: str) -> KtestLostError:
        """Return the error for a guest that cannot be relied on any more, with what is known of why."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        panic = re.search(rb"Kernel panic - not syncing: ([^\r\n]*)", self.console)
        if panic:
            reason += f": kernel panic: {panic[1].decode(errors='replace')}"
        elif any(event.get("event") == "SHUTDOWN" for event in self.events):
            reason += ": it shut down or restarted"
        elif self._process.returncode:
            self._reader.join(1)
            error = self._stderr.decode(errors="replace").strip()
            reason = f"QEMU ended with status {self._process.returncode}: {error or 'no message'}"
        return KtestLostError(reason, console=self.console)

    def send(self, data: bytes) -> None:
        """Send bytes over the control channel."""
        try:
            self._channels["control"].socket.sendall(data)
        except OSError as error:
            raise self.lost("the guest went away") from error

    def qmp(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        timeout: float = QMP_TIMEOUT,
        descriptor: int | None = None,
    ) -> Any:
        """Run one QMP command and return its answer; ``descriptor`` is handed over with it.

        Raises KtestError with QEMU's words where QEMU refuses, KtestLostError where it is gone.
        """
        if not self._serial:
            self._serial = 1  # taken by this first command, which QEMU wants before any other
            self.qmp("qmp_capabilities", timeout=timeout)
        with self._changed:
            self._serial += 1
            serial = self._serial
        request = {"execute": command, "arguments": dict(arguments or {}), "id": serial}
        channel = self._channels["qmp"]
        try:
            line = json.dumps(request).encode() + b"\n"
            if descriptor is None:
                channel.socket.sendall(line)
            else:
                socket.send_fds(channel.socket, [line], [descriptor])
        except OSError as error:
            raise self.lost("QEMU went away") from error
        self.wait(lambda: serial in self._replies, timeout, lambda: channel.closed, f"no answer to {command}")
        reply = self._replies.pop(serial)
        if "error" in reply:
            raise KtestError(f"QEMU refuses {command}: {reply['error']['desc']}", console=self.console)
        return reply["return"]

    def save(self, file: IO[bytes]) -> None:
        """Stop the machine and write its state to ``file``; its memory is in its memory file already."""
        self.qmp("stop")
        self.qmp("migrate-set-capabilities", _IGNORE_SHARED)
        self.qmp("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        self.qmp("getfd", {"fdname": "state"}, descriptor=file.fileno())
        self.qmp("migrate", {"uri": "fd:state"})
        left = deadline(QMP_TIMEOUT)
        while (answer := self.qmp("query-migrate"))["status"] != "completed":
            if answer["status"] == "failed" or not left():
                reason = answer.get("error-desc", answer["status"])
                raise KtestError(f"the machine's state cannot be saved: {reason}", console=self.console)
            time.sleep(_POLL)

    def restore(self, left: Callable[[], float]) -> None:
        """Load the state given at the start and let the machine run; ``left`` tells how many seconds remain."""
        self.qmp("migrate-set-capabilities", _IGNORE_SHARED)
        self.qmp("migrate-incoming", {"uri": f"fd:{self._state}"})
        while self.qmp("query-status")["status"] == "inmigrate":
            if not left():
                raise KtestTimeoutError("the machine's state was not loaded in time")
            time.sleep(_POLL)
        self.qmp("cont")

    def kill(self) -> None:
        """Kill QEMU, wait for it, and close everything. A second call does nothing."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._close_sockets()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _close_sockets(self) -> None:
        for channel in self._channels.values():
            channel.socket.close()

    def _read(self) -> None:
        """Read every channel until all are at their end, which is when QEMU has ended."""
        stderr = self._process.stderr
        assert stderr is not None  # noqa: S101 - for mypy: it is a pipe
        with selectors.DefaultSelector() as selector:
            for name, channel in self._channels.items():
                selector.register(channel.socket, selectors.EVENT_READ, name)
            selector.register(stderr, selectors.EVENT_READ, "stderr")
            while selector.get_map():
                for key, _ in selector.select():
                    if not self._read_one(key.data, key.fd):
                        selector.unregister(key.fileobj)

    def _read_one(self, name: str, fd: int) -> bool:
        """Take what one descriptor has; False at its end."""
        try:
            data = os.read(fd, 65536)
        except OSError:
            data = b""  # a socket is reset where QEMU died with data unread
        with self._changed:
            if name == "stderr":
                self._stderr += data
            elif not data:
                self._channels[name].closed = True
            elif name == "qmp":
                self._take_qmp(data)
            else:
                buffer = self._channels[name].data
                buffer += data
                if name == "console" and len(buffer) > _CONSOLE_LIMIT:
                    del buffer[: len(buffer) - _CONSOLE_LIMIT]
            self._changed.notify_all()
        if data and self._on_data is not None and name in ("console", "output"):
            self._on_data(name, data)
        return bool(data)

    def _take_qmp(self, data: bytes) -> None:
        *lines, self._qmp_buffer = (self._qmp_buffer + data).split(b"\n")
        for line in filter(bytes.strip, lines):
            message = json.loads(line)
            if "id" in message:
                self._replies[message["id"]] = message
            elif "event" in message:
                self.events.append(message)


def deadline(seconds: float) -> Callable[[], float]:
    """Return a function that tells how many of ``seconds`` are left, never less than 0."""
    end = time.monotonic() + seconds
    return lambda: max(0.0, end - time.monotonic())


def _leash() -> list[str]:
    """Return a prefix that has the kernel kill QEMU when we are killed.

    The kernel ties it to the thread that starts the process, so it is of use from the main thread only.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL"]
