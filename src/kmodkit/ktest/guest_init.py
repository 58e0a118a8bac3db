"""Process 1 of the guest: mount the basics, then do what the host asks over the control channel.

ttyS0 is the kernel's console and this process's standard error, ttyS1 the control channel (see `protocol`),
ttyS2 the output of the command. Messages from the host:

``run``
    ``argv``, ``env``, ``cwd``, ``stdin`` and ``files`` (base64): start a command. The answer is ``result`` with
    ``status`` (128 + N for signal N) and with the length and checksum of all output since the start.
``reply``
    ``body``: the answer to a ``call`` that the command made (see `kmodkit.ktest.guest`).
``signal``
    ``number``: send a signal to the command's process group.
``sync``
    ``time`` and ``seed``: set the clock and stir the random pool, both stale after a restore.
``part``
    A piece of a long message; all but the last are acknowledged by ``ack``.

The file runs in a bare interpreter (``-I -S``): it uses the standard library and `protocol` only. If it fails,
the kernel panics, which the host sees as a lost run.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import sys
import termios
import time
import tty
import zlib

import protocol  # type: ignore[import-not-found,unused-ignore]  # a sibling, alone in the guest

MOUNTS = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),  # noqa: S108 - the usual mount point, not a temporary file
    ("tmpfs", "/run"),
    ("debugfs", "/sys/kernel/debug"),
)
OPTIONAL_MOUNTS = frozenset({"devpts", "debugfs"})
CONFIG = "/etc/ktest.json"
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
CHUNK = 65536
PIPE_SIZE = 65536


def mount_all() -> None:
    """Mount the file systems every program expects."""
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, target in MOUNTS:
        try:
            os.makedirs(target, exist_ok=True)  # noqa: PTH103 - pathlib would cost 0.1 s at each boot
        except OSError:
            continue  # sysfs has no directory for a file system the kernel was built without
        if libc.mount(kind.encode(), target.encode(), kind.encode(), 0, None) and kind not in OPTIONAL_MOUNTS:
            raise OSError(ctypes.get_errno(), f"cannot mount {kind}", target)


def open_serial(path: str) -> int:
    """Return a descriptor of a serial line that passes bytes unchanged."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    tty.setraw(fd)
    attributes = termios.tcgetattr(fd)
    attributes[2] |= termios.CLOCAL
    attributes[4] = attributes[5] = termios.B115200
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    return fd


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Lines:
    """Cuts what a descriptor gives into lines."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._rest = b""

    def read(self) -> list[bytes] | None:
        """Return the lines completed by one read; None at the end of the file."""
        data = os.read(self.fd, CHUNK)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


class Command:
    """A command under way: its process, its pipes, and the tally of its output."""

    def __init__(self, message: dict[str, object], config: dict[str, object]) -> None:
        out_read, out_write = os.pipe()
        call_read, call_write = os.pipe()
        reply_read, reply_write = os.pipe()
        stdin = os.memfd_create("stdin")
        write_all(stdin, protocol.to_bytes(message.get("stdin", "")))
        os.lseek(stdin, 0, os.SEEK_SET)
        env = {**config["env"], **message["env"]}  # type: ignore[dict-item]
        env["KTEST_CALL_FD"], env["KTEST_REPLY_FD"] = str(call_write), str(reply_read)
        self.pid = os.fork()
        if not self.pid:
            start(message, env, (stdin, out_write, out_write), (call_write, reply_read))
        for fd in (stdin, out_write, call_write, reply_read):
            os.close(fd)
        os.set_blocking(out_read, False)
        self.output = out_read
        self.calls = Lines(call_read)
        self.reply = reply_write
        self.process = os.pidfd_open(self.pid)
        self.ended = False
        self.length = 0
        self.crc = 0

    def close(self) -> None:
        """Close every descriptor."""
        for fd in (self.output, self.calls.fd, self.reply, self.process):
            os.close(fd)


def start(
    message: dict[str, object], env: dict[str, str], stdio: tuple[int, int, int], kept: tuple[int, ...]
) -> None:
    """Become the command, in the child; never returns. 127: no such program, 126: it cannot be run."""
    status = 126
    try:
        os.setsid()
        for target, fd in enumerate(stdio):
            os.dup2(fd, target)
        for fd in kept:
            os.set_inheritable(fd, True)  # noqa: FBT003 - the call takes no keywords
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        argv = message["argv"]
        os.chdir(str(message.get("cwd") or "/"))
        os.execvpe(argv[0], argv, env)  # type: ignore[index,arg-type]  # noqa: S606
    except FileNotFoundError as error:
        status = 127
        os.write(2, f"ktest: {error}\n".encode())
    except BaseException as error:  # noqa: BLE001, RUF100 - the child must not fall back into the parent's loop
        os.write(2, f"ktest: {error}\n".encode())
    finally:
        os._exit(status)


class Agent:
    """The loop that serves the host."""

    def __init__(self, config: dict[str, object]) -> None:
        self.config = config
        self.control = Lines(open_serial("/dev/ttyS1"))
        self.output = open_serial("/dev/ttyS2")
        self.nonce = protocol.BOOT_NONCE
        self.command: Command | None = None
        self.parts: list[bytes] = []
        self.poll = select.poll()
        self.poll.register(self.control.fd, select.POLLIN)

    def send(self, **message: object) -> None:
        """Send one frame."""
        write_all(self.control.fd, protocol.encode(self.nonce, message))

    def serve(self) -> None:
        """Announce the guest and serve for ever."""
        self.send(type="ready", release=os.uname().release, uptime=time.monotonic())
        while True:
            for fd, _ in self.poll.poll():
                self.ready(fd)

    def ready(self, fd: int) -> None:
        """Handle one readable descriptor."""
        command = self.command
        if fd == self.control.fd:
            for line in self.control.read() or ():
                self.receive(line)
        elif command is None:
            return  # the command ended while an earlier descriptor of the same round was served
        elif fd == command.output:
            self.pass_output(command)
        elif fd == command.calls.fd:
            self.pass_calls(command)
        elif fd == command.process:
            self.finish(command)

    def receive(self, line: bytes) -> None:
        """Handle one line of the host; tell it of one that came garbled."""
        try:
            self.nonce, message = protocol.decode(line)
            if message["type"] == "part":
                self.parts.append(protocol.to_bytes(message["data"]))
                if not message["last"]:
                    self.send(type="ack")
                    return
                message, self.parts = protocol.join(self.parts), []
            getattr(self, f"do_{message['type']}")(message)
        except Exception as error:  # noqa: BLE001, RUF100 - reported; losing process 1 would hide the reason
            self.send(type="rejected", reason=f"{type(error).__name__}: {error}")

    def do_run(self, message: dict[str, object]) -> None:
        """Write the files and start the command."""
        if self.command is not None:
            raise RuntimeError("a command is running")
        files = message.get("files") or {}
        for path, text in files.items():  # type: ignore[attr-defined]
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - as above
            with open(path, "wb") as file:
                file.write(protocol.to_bytes(text))
        self.command = Command(message, self.config)
        for fd in (self.command.output, self.command.calls.fd, self.command.process):
            self.poll.register(fd, select.POLLIN)

    def do_reply(self, message: dict[str, object]) -> None:
        """Pass the host's answer on to the command."""
        if self.command is not None:
            write_all(self.command.reply, json.dumps(message["body"]).encode() + b"\n")

    def do_signal(self, message: dict[str, object]) -> None:
        """Signal the command's process group."""
        if self.command is not None:
            number = int(str(message["number"]))
            try:
                os.killpg(self.command.pid, number)
            except ProcessLookupError:  # the child has not come to make its group yet
                os.kill(self.command.pid, number)

    def do_sync(self, message: dict[str, object]) -> None:
        """Set the clock and stir the random pool; failures are harmless."""
        seed = protocol.to_bytes(message["seed"])
        with contextlib.suppress(OSError):
            time.clock_settime(time.CLOCK_REALTIME, float(str(message["time"])))
        random = os.open("/dev/urandom", os.O_WRONLY)
        with contextlib.suppress(OSError):
            fcntl.ioctl(random, RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
            fcntl.ioctl(random, RNDRESEEDCRNG)
        os.close(random)

    def pass_output(self, command: Command) -> bool:
        """Copy what the command has written; False when there is no more for now."""
        try:
            data = os.read(command.output, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            command.ended = True
            self.poll.unregister(command.output)
            return False
        command.length += len(data)
        command.crc = zlib.crc32(data, command.crc)
        write_all(self.output, data)
        return True

    def drain(self, command: Command) -> dict[str, object]:
        """Copy all output there is, wait until it is sent, and return its tally."""
        # Twice what a pipe holds, not until it is empty: a left-over child may go on writing for ever.
        for _ in range(2 * PIPE_SIZE // CHUNK):
            if command.ended or not self.pass_output(command):
                break
        termios.tcdrain(self.output)
        return {"out_length": command.length, "out_crc": command.crc}

    def pass_calls(self, command: Command) -> None:
        """Pass calls of the command on to the host."""
        lines = command.calls.read()
        if lines is None:
            self.poll.unregister(command.calls.fd)
        for line in lines or ():
            self.send(type="call", body=json.loads(line), **self.drain(command))

    def finish(self, command: Command) -> None:
        """Report the end of the command; its left-over children run on."""
        self.command = None
        _, status = os.waitpid(command.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        tally = self.drain(command)
        for fd in (command.output, command.calls.fd, command.process):
            with contextlib.suppress(KeyError):  # its end was seen before
                self.poll.unregister(fd)
        command.close()
        self.send(type="result", status=code if code >= 0 else 128 - code, **tally)
        reap()


def reap() -> None:
    """Collect orphans that have ended: process 1 inherits them."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    """Run as process 1."""
    mount_all()
    with open(CONFIG, encoding="utf-8") as file:
        config = json.load(file)
    os.chdir("/")
    Agent(config).serve()


if __name__ == "__main__":
    sys.exit("this file is process 1 of a ktest guest")
