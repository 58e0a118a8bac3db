"""A running guest: commands with their status and output, QMP, and the saved state to start others from."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from kmodkit.errors import KtestError, KtestLostError, KtestTimeoutError
from kmodkit.ktest import protocol
from kmodkit.ktest.process import RUN_TIMEOUT, Completed, Process
from kmodkit.ktest.qemu import MachineSpec, Qemu, arguments, deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

BOOT_TIMEOUT: Final = 120.0
"""Seconds a guest may take to boot: ten to fifty times what it needs on a quiet machine."""

FILES_LIMIT: Final = 1 << 20
"""Bytes of files and standard input that a run may send over the serial line, which takes 100 KB a second."""

_E = TypeVar("_E", bound=KtestError)
MEMORY_FILE: Final = "memory"
"""The name of a snapshot's memory in its directory."""

_STATE: Final = "state"
_SHOWN: Final = 3000  # bytes of the console in tracebacks: what a panic prints
_FACTS: Final = "facts.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A saved guest: ``directory`` holds its memory and the state of its devices.

    With ``waiting``, a command is under way in it that waits for the answer to a call; ``out_length`` and
    ``out_crc`` are the tally of what it wrote before.
    """

    spec: MachineSpec
    directory: Path
    release: str
    waiting: bool = False
    out_length: int = 0
    out_crc: int = 0

    @classmethod
    def load(cls, spec: MachineSpec, directory: Path) -> Self:
        """Return the snapshot that `Machine.save` wrote to ``directory``."""
        facts = json.loads((directory / _FACTS).read_text(encoding="utf-8"))
        return cls(spec, directory, **facts)


class Machine:
    """A guest that runs until the ``with`` block ends.

    ``source`` is a machine to boot or a snapshot to restore. ``on_data(channel, data)`` is called, from another
    thread, for all that comes over the channels ``console`` and ``output``. ``memory_file`` is for a machine
    that is to be saved: the file that becomes its memory.

    Every method raises KtestTimeoutError where the guest did not answer in time, KtestLostError where it went
    away (a panic) or answered with something else than an answer, and KtestError for what QEMU refuses. After
    the first two the guest is killed.
    """

    def __init__(
        self,
        source: MachineSpec | Snapshot,
        *,
        on_data: Callable[[str, bytes], None] | None = None,
        boot_timeout: float = BOOT_TIMEOUT,
        memory_file: Path | None = None,
    ) -> None:
        self.spec = source if isinstance(source, MachineSpec) else source.spec
        self.release = ""
        self.boot_seconds = 0.0
        self._snapshot = None if isinstance(source, MachineSpec) else source
        self._boot_timeout = boot_timeout
        self._memory_file = memory_file
        self._on_data = on_data
        self._process: Process | None = None
        self._started: Qemu | None = None

    def __enter__(self) -> Self:
        begun = time.monotonic()
        try:
            if self._snapshot is None:
                self._boot()
            else:
                self._restore(self._snapshot)
        except BaseException as error:
            self.close()
            if isinstance(error, KtestLostError) and self._started is not None and self._started.refused:
                # A wrong device or file: no guest was ever there to be lost.
                raise KtestError(f"QEMU does not start: {error.reason}", console=error.console) from None
            raise
        self.boot_seconds = time.monotonic() - begun
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def qemu(self) -> Qemu:
        """The process and its channels."""
        if self._started is None:
            raise KtestError("the machine is not running")
        return self._started

    @property
    def console(self) -> bytes:
        """The guest kernel's log so far; that of a restored guest starts at the restore."""
        return self.qemu.console

    @property
    def process(self) -> Process | None:
        """The command started last; in a guest restored from the middle of a command, that command."""
        return self._process

    def run(self, argv: Sequence[str], *, timeout: float = RUN_TIMEOUT, **options: Any) -> Completed:
        """Run a command to its end; ``options`` are those of `start`.

        ``timeout`` is in seconds, from now.
        """
        return self.start(argv, **options).wait(timeout)

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: bytes = b"",
        files: Mapping[str, bytes] | None = None,
    ) -> Process:
        """Start a command, one at a time, and return at once.

        There is no shell: ``argv[0]`` is looked for in the guest's PATH. ``env`` is added to the guest's
        environment. ``files`` are written first (absolute path to contents); for much data see
        ``ImageSpec.files``.
        """
        if self._process is not None and not self._process.ended:
            raise KtestError("a command is running in this guest")
        if not argv or any("\0" in word for word in argv):
            raise KtestError("a command is a list of words without NUL characters")
        contents = dict(files or {})
        if len(stdin) + sum(map(len, contents.values())) > FILES_LIMIT:
            raise KtestError(f"more than {FILES_LIMIT} bytes of files and input: put them into the image")
        message: protocol.Message = {
            "type": "run",
            "argv": list(argv),
            "env": dict(env or {}),
            "cwd": cwd,
            "stdin": protocol.to_text(stdin),
            "files": {path: protocol.to_text(data) for path, data in contents.items()},
        }
        self._process = Process(self, secrets.token_hex(8), start=len(self.qemu.received("output")))
        self.send(self._process.nonce, message, deadline(RUN_TIMEOUT))
        return self._process

    def qmp(self, command: str, /, **options: object) -> Any:
        """Run a QMP command (QEMU's QMP reference lists them) and return its answer.

        ``vm.qmp("device_add", driver="e1000e", id="nic", bus="rp0")`` plugs a device in,
        ``vm.qmp("device_del", id="nic")`` asks the guest to let it go. A dash in a name is written ``_``.
        """
        return self.qemu.qmp(command, {name.replace("_", "-"): value for name, value in options.items()})

    def save(self, directory: Path) -> Snapshot:
        """Stop the guest, write its state to a new ``directory``, and return it; the guest is not continued.

        The guest must have been started with ``memory_file=directory / MEMORY_FILE`` and be idle, or wait for the
        answer to a call.
        """
        process = self._process
        waiting = process is not None and not process.ended
        length, crc = (process.out_length, process.out_crc) if process is not None and waiting else (0, 0)
        with (directory / _STATE).open("wb") as file:
            self.qemu.save(file)
        snapshot = Snapshot(self.spec, directory, self.release, waiting, length, crc)
        facts = {"release": self.release, "waiting": waiting, "out_length": length, "out_crc": crc}
        (directory / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
        self.close()
        return snapshot

    def close(self) -> None:
        """Kill the guest and wait for QEMU to end."""
        if self._started is not None:
            self._started.kill()

    def send(self, nonce: str, message: protocol.Message, left: Callable[[], float]) -> None:
        """Send one message to process 1 of the guest."""
        frames = protocol.split(nonce, message)
        for frame in frames[:-1]:
            self.qemu.send(frame)
            self.receive(nonce, left, "ack")
        self.qemu.send(frames[-1])

    def receive(self, nonce: str, left: Callable[[], float], *kinds: str) -> protocol.Message:
        """Return the next message, which must be of one of ``kinds`` and carry ``nonce``."""
        try:
            line = self.qemu.take_line(left())
            got, message = protocol.decode(line)
        except protocol.GarbledError as error:
            raise self.give_up(KtestLostError(f"the guest's answer came garbled: {error}")) from error
        except (KtestTimeoutError, KtestLostError) as error:
            raise self.give_up(error) from None
        if got != nonce or message.get("type") not in kinds:
            detail = message.get("reason", message.get("type"))
            raise self.give_up(KtestLostError(f"the guest answered out of turn: {detail}"))
        return message

    def give_up(self, error: _E) -> _E:
        """Kill the guest and return the error with all that came before."""
        self.close()
        error.console = self.qemu.console
        if self._process is not None:
            error.output = self._process.output
        tail = error.console[-_SHOWN:].decode(errors="replace").replace("\r", "").strip()
        if tail:
            error.add_note(f"the guest's console ended in:\n{tail}")  # tracebacks and pytest show it
        return error

    def _boot(self) -> None:
        options = arguments(self.spec, memory_file=self._memory_file, shared=True)
        self._started = Qemu(options, on_data=self._on_data)
        ready = self.receive(protocol.BOOT_NONCE, deadline(self._boot_timeout), "ready")
        self.release = str(ready["release"])

    def _restore(self, snapshot: Snapshot) -> None:
        left = deadline(self._boot_timeout)
        self.release = snapshot.release
        options = arguments(self.spec, memory_file=snapshot.directory / MEMORY_FILE)
        with (snapshot.directory / _STATE).open("rb") as file:
            self._started = Qemu(options, on_data=self._on_data, state=file)
        self._started.restore(left)
        nonce = secrets.token_hex(8)
        if snapshot.waiting:
            self._process = Process(self, nonce, out_length=snapshot.out_length, out_crc=snapshot.out_crc)
        # The guest's clock stood still, and every guest restored from here has the same random pool.
        seed = protocol.to_text(secrets.token_bytes(32))
        self.send(nonce, {"type": "sync", "time": time.time(), "seed": seed}, left)
