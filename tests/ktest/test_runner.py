"""Commands in real guests: status, output, time-outs, panics, modules, devices, snapshots."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kmodkit.errors import KtestError, KtestLostError, KtestTimeoutError
from kmodkit.ktest.machine import Machine
from kmodkit.ktest.runner import Setup, module_files, prepare, run, start

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real

LOAD = """
import ctypes, glob, os, sys
def load(name):
    path, = glob.glob(f"/lib/modules/{os.uname().release}/**/{name}.ko*", recursive=True)
    descriptor = os.open(path, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(313, descriptor, b"", 4 if path.endswith(".xz") else 0) and ctypes.get_errno()
print([line.split()[0] for line in open("/proc/modules")])
print([load(name) for name in sys.argv[1:]])
print(sorted(line.split()[0] for line in open("/proc/modules")))
"""
LISTEN = """
import socket
with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as events:
    events.bind((0, 1))
    print("listening")
    while b"MODALIAS=pci:v00008086d000010D3" not in events.recv(65536):
        pass
print("seen")
"""
PANIC = "open('/proc/sysrq-trigger', 'w').write('c')"


def python(code: str, *words: str) -> list[str]:
    """Return a command that runs ``code`` without the time ``site`` takes."""
    return ["python3", "-u", "-I", "-S", "-c", code, *words]


@pytest.fixture
def guest(setup_: Setup) -> Iterator[Machine]:
    """A guest from the snapshot."""
    with start(setup_) as machine:
        yield machine


def test_cold_boot_runs_a_command(setup_: Setup) -> None:
    """Its status and output come back as they are."""
    done = run(python("print('out'); raise SystemExit(7)"), setup_, cold=True)
    assert (done.status, done.output) == (7, b"out\n")


def test_restored_guest_runs_a_command(guest: Machine) -> None:
    """Starting it takes well under a second, which is what snapshots are for."""
    assert guest.boot_seconds < 1
    assert guest.run(python("import os; print(os.uname().release)")).output.decode().strip() == guest.release


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["no-such-program"], 127),
        (["/etc/ktest.json"], 126),
        (python("import os; os.kill(os.getpid(), 9)"), 137),
        (python("raise SystemExit(255)"), 255),
    ],
)
def test_status_is_as_a_shell_gives_it(guest: Machine, argv: list[str], status: int) -> None:
    """For a command that cannot be run, and one that a signal ended."""
    assert guest.run(argv).status == status


def test_input_files_and_environment_reach_the_command(guest: Machine) -> None:
    """More of it than one frame holds."""
    code = "import os, sys; print(len(sys.stdin.buffer.read()), open('/d/f').read(), os.environ['A'], os.getcwd())"
    done = guest.run(python(code), stdin=os.urandom(40_000), files={"/d/f": b"file"}, env={"A": "b"}, cwd="/d")
    assert done.output == b"40000 file b /d\n"
    with pytest.raises(KtestError, match="put them into the image"):
        guest.run(["true"], stdin=bytes(2 << 20))


def test_commands_follow_each_other(guest: Machine) -> None:
    """Each has its own output; there is one at a time."""
    assert [guest.run(python(f"print({number})")).output for number in range(3)] == [b"0\n", b"1\n", b"2\n"]
    process = guest.start(python("import time; time.sleep(60)"))
    with pytest.raises(KtestError, match="running"):
        guest.start(["true"])
    process.signal()
    assert process.wait().status == 137


def test_modules_asked_for_are_there_and_load(guest: Machine) -> None:
    """With those they depend on; nothing is loaded before."""
    lines = guest.run(["python3", "-I", "-c", LOAD, "libphy", "mdio_devres", "r8169"]).output.decode().splitlines()
    assert lines == ["[]", "[0, 0, 0]", "['libphy', 'mdio_devres', 'r8169']"]


def test_each_restored_guest_is_pristine(setup_: Setup) -> None:
    """What one does, no other sees: not a module, not a file."""
    for _ in range(2):
        with start(setup_) as machine:
            lines = machine.run(["python3", "-I", "-c", LOAD, "dummy"], files={"/here": b""}).output.decode()
            assert lines.splitlines() == ["[]", "[0]", "['dummy']"]


def test_clock_is_right_and_randomness_differs_after_a_restore(setup_: Setup) -> None:
    """Both stood still in the snapshot."""
    seen = []
    for _ in range(2):
        with start(setup_) as machine:
            words = machine.run(python("import os, time; print(time.time(), os.urandom(8).hex())")).output.split()
        assert abs(float(words[0]) - time.time()) < 30
        seen.append(words[1])
    assert seen[0] != seen[1]


def test_time_out_is_an_error_with_what_came_before(guest: Machine) -> None:
    """And the guest is gone."""
    with pytest.raises(KtestTimeoutError) as caught:
        guest.run(python("print('before'); import time; time.sleep(600)"), timeout=5)
    assert caught.value.output == b"before\n"
    with pytest.raises(KtestError):
        guest.run(["true"])


def test_panic_is_lost_not_done(guest: Machine) -> None:
    """The error has the reason and the kernel's log."""
    with pytest.raises(KtestLostError, match="kernel panic: sysrq triggered crash") as caught:
        guest.run(python(f"print('before'); {PANIC}"))
    assert b"Kernel panic" in caught.value.console
    assert "Kernel panic - not syncing: sysrq triggered crash" in caught.value.__notes__[0]
    assert caught.value.output == b"before\n"


@pytest.mark.parametrize(
    "code", ["open('/dev/ttyS1', 'w').write('KT1 0 0 0 {}\\n')", "open('/dev/ttyS2', 'w').write('x')"]
)
def test_garbled_channel_is_lost(guest: Machine, code: str) -> None:
    """A status or an output that something else wrote into is not believed."""
    with pytest.raises(KtestLostError, match="garbled"):
        guest.run(python(f"{code}; print(1)"))


def test_plugged_in_device_is_seen(guest: Machine) -> None:
    """As a uevent, within seconds."""
    process = guest.start(["python3", "-u", "-I", "-c", LISTEN])
    process.wait_output(b"listening\n")
    guest.qmp("device_add", driver="e1000e", id="nic", bus="rp0")
    assert process.wait(30).output.endswith(b"seen\n")
    with pytest.raises(KtestError, match="refuses device_add"):
        guest.qmp("device_add", driver="no-such-device")


def test_command_can_ask_for_a_device(guest: Machine) -> None:
    """Through `kmodkit.ktest.guest`."""
    code = (
        "from kmodkit.ktest.guest import GuestCallError, qmp\n"
        "print(qmp('query-status')['status'])\n"
        "try: qmp('no-such-command')\n"
        "except GuestCallError as error: print('refused')\n"
    )
    assert guest.run(["python3", "-c", code]).output == b"running\nrefused\n"


def test_emulated_devices_are_there_at_boot(setup_: Setup) -> None:
    """A sound card too, without any sound."""
    code = "import glob; print(sorted(open(f).read().strip() for f in glob.glob('/sys/bus/pci/devices/*/device')))"
    devices = ("e1000e", "intel-hda", "hda-duplex")
    output = run(python(code), replace(setup_, devices=devices), cold=True).output
    assert b"0x10d3" in output
    assert b"0x2668" in output


def test_refused_device_is_an_error_with_the_words_of_qemu(setup_: Setup) -> None:
    """Not a lost guest: there was none."""
    with pytest.raises(KtestError, match="no-such-device") as caught:
        run(["true"], replace(setup_, devices=("no-such-device",)), cold=True)
    assert not isinstance(caught.value, KtestLostError)


def test_guests_at_the_same_time_do_not_meet(setup_: Setup) -> None:
    """Each has channels of its own."""
    outputs: dict[int, bytes] = {}

    def one(number: int) -> None:
        outputs[number] = run(python(f"print({number})"), setup_).output

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {number: f"{number}\n".encode() for number in range(3)}


def test_no_process_is_left_when_the_block_is_left(setup_: Setup) -> None:
    """However it is left."""
    machine = start(setup_)
    with pytest.raises(KeyboardInterrupt), machine:
        pid = machine.qemu.pid
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_boot_that_takes_too_long_is_a_time_out(setup_: Setup) -> None:
    """And nothing is left of it."""
    with pytest.raises(KtestTimeoutError), Machine(prepare(setup_), boot_timeout=0.5):
        pass


def test_whole_tree_or_single_files_can_be_asked_for(setup_: Setup) -> None:
    """Names bring what they need, files come alone."""
    from kmodkit.ktest.kernels import find_kernel

    kernel = find_kernel(setup_.kernel)
    assert kernel.modules is not None
    closure = module_files(kernel, ("r8169",))
    assert {path.name.partition(".")[0] for path in closure} >= {"r8169", "libphy", "mdio_devres"}
    file = next(path for path in closure if path.name.startswith("r8169"))
    assert module_files(kernel, (str(kernel.modules / file),)) == (file,)
    assert len(module_files(kernel, ("*",))) > 3000
    with pytest.raises(KtestError, match="nosuch"):
        module_files(kernel, ("nosuch",))
