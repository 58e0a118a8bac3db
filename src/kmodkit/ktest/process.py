"""A command in a guest: its output, its calls to the host, and its end."""

from __future__ import annotations

import signal
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kmodkit.errors import KtestError, KtestLostError, KtestTimeoutError
from kmodkit.ktest.qemu import deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmodkit.ktest import protocol
    from kmodkit.ktest.machine import Machine

RUN_TIMEOUT: Final = 60.0
"""Seconds a command may take where its caller does not say."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: ``status`` as a shell gives it (128 + N for signal N, 127 for no such program).

    ``output`` is standard output and error as they came, ``console`` the guest kernel's log, ``seconds`` the
    time from sending the command to the last of its answer.
    """

    status: int
    output: bytes
    console: bytes
    seconds: float


class Process:
    """A command under way, made by `Machine.start`.

    ``start`` is where its output begins in the output channel; ``out_length`` and ``out_crc`` are the tally of
    what it wrote before this machine was restored.
    """

    def __init__(
        self, machine: Machine, nonce: str, *, start: int = 0, out_length: int = 0, out_crc: int = 0
    ) -> None:
        self.nonce = nonce
        self.ended = False
        self.out_length = out_length
        self.out_crc = out_crc
        self._machine = machine
        self._start = start
        self._before = (out_length, out_crc)
        self._begun = time.monotonic()

    @property
    def output(self) -> bytes:
        """What has come of the command's output so far, in this machine."""
        return self._machine.qemu.received("output", self._start)

    def wait(self, timeout: float = RUN_TIMEOUT) -> Completed:
        """Wait for the end, at most ``timeout`` seconds from now, answering the command's QMP calls."""
        left = deadline(timeout)
        while not isinstance(event := self.next(left()), Completed):
            self.reply({"error": "nobody answers such a call here"})
        return event

    def wait_output(self, text: bytes, timeout: float = RUN_TIMEOUT) -> bytes:
        """Wait until ``text`` is in the output, and return the output so far."""
        try:
            self._machine.qemu.wait(lambda: text in self.output, timeout, what=f"no output {text!r}")
        except (KtestTimeoutError, KtestLostError) as error:
            raise self._machine.give_up(error) from None
        return self.output

    def next(self, timeout: float) -> Completed | dict[str, Any]:
        """Return the next call of the command that is not for QMP, or its end.

        A call is answered by `reply`; see `kmodkit.ktest.guest` for the guest's side.
        """
        left = deadline(timeout)
        while True:
            message = self._machine.receive(self.nonce, left, "call", "result")
            self._check_output(message, left)
            if message["type"] == "result":
                self.ended = True
                seconds = time.monotonic() - self._begun
                return Completed(int(str(message["status"])), self.output, self._machine.console, seconds)
            body = message["body"]
            if not isinstance(body, dict):
                raise self._machine.give_up(KtestLostError("the guest made a call that is no object"))
            if body.get("op") != "qmp":
                return body
            self.reply(self._qmp(body))

    def reply(self, body: object) -> None:
        """Answer the call that `next` returned."""
        self._send({"type": "reply", "body": body})

    def signal(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the command and its children."""
        self._send({"type": "signal", "number": int(number)})

    def _send(self, message: protocol.Message) -> None:
        self._machine.send(self.nonce, message, deadline(RUN_TIMEOUT))

    def _qmp(self, body: dict[str, Any]) -> dict[str, object]:
        try:
            return {"return": self._machine.qemu.qmp(body["command"], body["arguments"])}
        except KtestLostError:
            raise
        except KtestError as error:
            return {"error": error.reason}

    def _check_output(self, message: protocol.Message, left: Callable[[], float]) -> None:
        """Wait for the output that the message tells of; it comes over another channel."""
        length, crc = int(str(message["out_length"])), int(str(message["out_crc"]))
        earlier, earlier_crc = self._before
        try:
            self._machine.qemu.wait(
                lambda: len(self.output) >= length - earlier, left(), what="the output did not all arrive"
            )
        except (KtestTimeoutError, KtestLostError) as error:
            raise self._machine.give_up(error) from None
        output = self.output
        # More than the tally is no fault while the command runs on.
        extra = len(output) > length - earlier and message["type"] == "result"
        if extra or zlib.crc32(output[: length - earlier], earlier_crc) != crc:
            raise self._machine.give_up(KtestLostError("the output came garbled"))
        self.out_length, self.out_crc = length, crc
