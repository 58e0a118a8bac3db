"""For code that runs in a guest: ask the host for something.

``qmp("device_add", driver="e1000e", id="nic", bus="rp0")`` plugs a device into the machine the caller runs in.
"""

from __future__ import annotations

import json
import os
from typing import Any


class GuestCallError(RuntimeError):
    """The host refused, or there is no host: the program does not run as the command of a ktest guest."""


def in_guest() -> bool:
    """Tell whether this process is the command of a ktest guest, or a child of it."""
    return "KTEST_CALL_FD" in os.environ and "KTEST_REPLY_FD" in os.environ


def call(body: dict[str, Any]) -> Any:
    """Make one call to the host and return its answer. One thread at a time may call.

    Raises GuestCallError where there is no host.
    """
    if not in_guest():
        raise GuestCallError("not in a ktest guest")
    request = json.dumps(body).encode() + b"\n"
    out = int(os.environ["KTEST_CALL_FD"])
    while request:
        request = request[os.write(out, request) :]
    answer = b""
    while not answer.endswith(b"\n"):
        piece = os.read(int(os.environ["KTEST_REPLY_FD"]), 65536)
        if not piece:
            raise GuestCallError("the host is gone")
        answer += piece
    return json.loads(answer)


def qmp(command: str, /, **arguments: object) -> Any:
    """Run a QMP command on the machine this process runs in; a dash in a name is written ``_``.

    Raises GuestCallError with QEMU's words where it refuses.
    """
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    answer = call({"op": "qmp", "command": command, "arguments": named})
    if "error" in answer:
        raise GuestCallError(answer["error"])
    return answer["return"]
