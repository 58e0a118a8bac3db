"""The module system calls: what is passed to the kernel and what its answers mean."""

import ctypes
import errno
import os
import pickle
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kmodkit.errors import (
    ArgumentError,
    KmodError,
    LoadError,
    ModuleInUseError,
    ModuleNotLoadedError,
    SyscallError,
    UnloadError,
)
from kmodkit.kernel import syscalls
from kmodkit.kernel.modules import Restrictions
from kmodkit.kernel.syscalls import ModuleFlags, SyscallNumbers, explain, syscall_numbers

if TYPE_CHECKING:
    from collections.abc import Callable

X86_64 = SyscallNumbers(175, 176, 313)
GENERIC = SyscallNumbers(105, 106, 273)


class FakeLibc:
    """Stands for libc: notes the words of each call and answers with the next of a list of errors."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.answers: list[int] = []

    def syscall(self, *words: ctypes.c_long | ctypes.c_char_p) -> int:
        """Note a call; return 0, or -1 with errno set to the next answer."""
        self.calls.append(tuple(word.value for word in words))
        answer = self.answers.pop(0) if self.answers else 0
        if answer:
            ctypes.set_errno(answer)
        return -1 if answer else 0


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> FakeLibc:
    """Put a fake libc and the numbers of x86_64 in place."""
    fake = FakeLibc()
    monkeypatch.setattr(syscalls, "_libc", lambda: fake)
    monkeypatch.setattr(syscalls, "_numbers", lambda: X86_64)
    return fake


def test_finit_module_passes_descriptor_parameters_and_flags(libc: FakeLibc) -> None:
    """The kernel gets the descriptor, the parameters as a C string and the flags, in this order."""
    syscalls.finit_module(5, "debug=1 name=\udcff", ModuleFlags.COMPRESSED_FILE | ModuleFlags.IGNORE_VERMAGIC)
    assert libc.calls == [(313, 5, b"debug=1 name=\xff", 6)]


def test_init_module_passes_image_and_its_length(libc: FakeLibc) -> None:
    """The image may hold NULs, so its length goes with it; any buffer will do."""
    for image in (b"\x7fELF\0tail", bytearray(b"\x7fELF\0tail"), memoryview(b"\x7fELF\0tail")):
        syscalls.init_module(image, b"a=1")
    assert [call[0] for call in libc.calls] == [175] * 3
    assert [call[2:] for call in libc.calls] == [(9, b"a=1")] * 3


def test_delete_module_does_not_wait_by_default(libc: FakeLibc) -> None:
    """Without O_NONBLOCK old kernels would wait for ever for a module in use."""
    syscalls.delete_module("loop")
    syscalls.delete_module(b"loop", flags=os.O_NONBLOCK | os.O_TRUNC)
    assert libc.calls == [(176, b"loop", os.O_NONBLOCK), (176, b"loop", os.O_NONBLOCK | os.O_TRUNC)]


@pytest.mark.parametrize("bad", ["a=1\0b=2", b"\0", "\ud800"])
def test_a_nul_is_refused_before_the_call(libc: FakeLibc, bad: str | bytes) -> None:
    """What a C string cannot carry is a ValueError of ours, and the kernel is not asked."""
    calls: tuple[Callable[[], None], ...] = (
        lambda: syscalls.finit_module(5, bad),
        lambda: syscalls.init_module(b"", bad),
        lambda: syscalls.delete_module(bad),
    )
    for call in calls:
        with pytest.raises(ArgumentError) as caught:
            call()
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, KmodError)
    assert libc.calls == []


def test_a_failed_call_carries_errno_and_operation(libc: FakeLibc) -> None:
    """The error is an OSError with the kernel's number, and survives a trip between processes."""
    libc.answers = [errno.EEXIST]
    with pytest.raises(SyscallError) as caught:
        syscalls.finit_module(5)
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (error.errno, error.operation) == (errno.EEXIST, "finit_module")
    assert isinstance(error, OSError)
    assert str(error) == "finit_module: File exists"


def test_an_interrupted_call_is_made_again(libc: FakeLibc) -> None:
    """A signal that its handler survived does not end a load."""
    libc.answers = [errno.EINTR, errno.EINTR]
    syscalls.finit_module(5)
    assert len(libc.calls) == 3


def test_a_call_that_is_always_interrupted_ends(libc: FakeLibc) -> None:
    """A module whose initialisation answers EINTR is not loaded for ever."""
    libc.answers = [errno.EINTR] * 1000
    with pytest.raises(SyscallError) as caught:
        syscalls.delete_module("loop")
    assert caught.value.errno == errno.EINTR
    assert len(libc.calls) < 20


def test_a_signal_handler_that_raises_ends_an_interrupted_call(
    libc: FakeLibc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt from the keyboard stops a load that would otherwise be tried again."""
    libc.answers = [errno.EINTR] * 1000
    original = libc.syscall

    def interrupted(*words: ctypes.c_long | ctypes.c_char_p) -> int:
        signal.raise_signal(signal.SIGINT)
        return original(*words)

    monkeypatch.setattr(libc, "syscall", interrupted)
    with pytest.raises(KeyboardInterrupt):
        syscalls.finit_module(5)


def test_the_real_kernel_answers() -> None:
    """On this machine's own libc and numbers, unloading what is not there is refused by the kernel."""
    with pytest.raises(SyscallError) as caught:
        syscalls.delete_module("kmodkit_no_such_module")
    assert caught.value.errno in (errno.ENOENT, errno.EPERM, errno.ENOSYS)


@pytest.mark.parametrize(
    ("machine", "pointer_size", "expected"),
    [
        ("x86_64", 8, X86_64),
        ("x86_64", 4, (128, 129, 350)),
        ("i686", 4, (128, 129, 350)),
        ("i686", 8, X86_64),
        ("aarch64", 8, GENERIC),
        ("aarch64_be", 8, GENERIC),
        ("aarch64", 4, (128, 129, 379)),
        ("armv7l", 4, (128, 129, 379)),
        ("armv8l", 4, (128, 129, 379)),
        ("armv8l", 8, GENERIC),
        ("riscv64", 8, GENERIC),
        ("riscv32", 4, GENERIC),
        ("loongarch64", 8, GENERIC),
        ("s390x", 8, (128, 129, 344)),
        ("ppc64le", 8, (128, 129, 353)),
        ("ppc64", 4, (128, 129, 353)),
        ("mips", 4, (4128, 4129, 4348)),
        ("mips64", 4, (4128, 4129, 4348)),
        ("mips64", 8, (5168, 5169, 5307)),
        ("parisc64", 4, (128, 129, 333)),
        ("sparc64", 8, (190, 222, 342)),
        ("alpha", 8, (307, 308, 507)),
        ("m68k", 4, (128, 129, 348)),
        ("sh4", 4, (128, 129, 368)),
        ("arc", 4, GENERIC),
    ],
)
def test_call_numbers_of_each_architecture(
    machine: str, pointer_size: int, expected: tuple[int, int, int]
) -> None:
    """The numbers are those of the process's own word size, whatever the kernel's is."""
    assert syscall_numbers(machine, pointer_size) == expected


@pytest.mark.parametrize(
    ("machine", "pointer_size", "multiarch"),
    [
        ("pdp11", 2, ""),
        ("m68k", 8, ""),
        ("", 8, ""),
        ("x86_64", 4, "x86_64-linux-gnux32"),
        ("mips64", 4, "mips64el-linux-gnuabin32"),
    ],
)
def test_an_unknown_machine_is_a_clear_error(machine: str, pointer_size: int, multiarch: str) -> None:
    """No call is guessed at: its number could be another call's."""
    with pytest.raises(SyscallError, match=f"not known for .*{machine}") as caught:
        syscall_numbers(machine, pointer_size, multiarch=multiarch)
    assert caught.value.errno == errno.ENOSYS


FINIT: syscalls.Operation = "finit_module"
INIT: syscalls.Operation = "init_module"
DELETE: syscalls.Operation = "delete_module"
NONE = ModuleFlags.NONE
COMPRESSED = ModuleFlags.COMPRESSED_FILE
FORCED = ModuleFlags.IGNORE_VERMAGIC


@pytest.mark.parametrize(
    ("number", "operation", "flags", "words"),
    [
        (errno.EEXIST, FINIT, NONE, "already loaded"),
        (errno.EBUSY, FINIT, NONE, "another load"),
        (errno.ENOENT, FINIT, NONE, "symbol"),
        (errno.ENOENT, INIT, NONE, "symbol"),
        (errno.ENOEXEC, FINIT, NONE, "vermagic"),
        (errno.EKEYREJECTED, FINIT, NONE, "signature was rejected"),
        (errno.EKEYREJECTED, FINIT, COMPRESSED, "signature was rejected"),
        (errno.EKEYREJECTED, FINIT, FORCED, "count as unsigned"),
        (errno.ENOKEY, FINIT, NONE, "key this kernel does not have"),
        (errno.EBADMSG, FINIT, NONE, "malformed"),
        (errno.ENOPKG, FINIT, NONE, "algorithm"),
        (errno.EACCES, FINIT, NONE, "security policy"),
        (errno.ETXTBSY, FINIT, NONE, "open for writing"),
        (errno.EINVAL, FINIT, NONE, "parameter has a value"),
        (errno.EINVAL, INIT, NONE, "parameter has a value"),
        (errno.EINVAL, FINIT, COMPRESSED, "compressed"),
        (errno.ERANGE, FINIT, NONE, "range"),
        (errno.ENOSPC, FINIT, NONE, "too long"),
        (errno.ENOMEM, FINIT, NONE, "memory"),
        (errno.EFBIG, FINIT, NONE, "too large"),
        (errno.EBADF, FINIT, NONE, "not open for reading"),
        (errno.ENODEV, FINIT, NONE, "no device"),
        (errno.EINTR, FINIT, NONE, "signal"),
        (errno.ENOSYS, FINIT, NONE, "without loadable modules"),
        (errno.EOPNOTSUPP, FINIT, COMPRESSED, "cannot unpack"),
        (errno.EOPNOTSUPP, FINIT, NONE, "initialisation failed: "),
        (errno.ETIMEDOUT, FINIT, NONE, "initialisation failed: "),
        (errno.EAGAIN, DELETE, NONE, "in use"),
        (errno.EWOULDBLOCK, DELETE, NONE, "in use"),
        (errno.ENOENT, DELETE, NONE, "not loaded"),
        (errno.EBUSY, DELETE, NONE, "no exit function"),
        (errno.EINTR, DELETE, NONE, "signal"),
        (errno.ENOSYS, DELETE, NONE, "without unloading"),
        (errno.EIO, DELETE, NONE, "kernel answered: "),
    ],
)
def test_each_answer_in_words(number: int, operation: syscalls.Operation, flags: ModuleFlags, words: str) -> None:
    """Every errno the kernel is known to give says what it means for that call and those flags."""
    assert words in explain(number, operation, "snd", flags=flags)


def test_a_module_in_use_names_its_holders() -> None:
    """Where the users are known, the answer names them."""
    assert explain(errno.EAGAIN, DELETE, "libphy", holders=("r8169", "tg3")) == "it is in use by r8169, tg3"


CAPABILITY = "CAP_SYS_MODULE"
DISABLED = "modules_disabled"
BLACKLIST = "module_blacklist="
LOCKDOWN = "locked down"
POLICY = "policy or filter"
EVERY = {CAPABILITY, DISABLED, BLACKLIST, LOCKDOWN, POLICY}


@pytest.mark.parametrize(
    ("restrictions", "operation", "named"),
    [
        (None, FINIT, EVERY),
        (None, DELETE, {CAPABILITY, DISABLED, POLICY}),
        (Restrictions(), FINIT, EVERY),
        (Restrictions(capable=False), FINIT, {CAPABILITY}),
        (Restrictions(capable=False), DELETE, {CAPABILITY}),
        (Restrictions(capable=True), DELETE, {DISABLED, POLICY}),
        (Restrictions(capable=True, modules_disabled=True), DELETE, {DISABLED}),
        (Restrictions(modules_disabled=True), FINIT, {DISABLED}),
        (Restrictions(blacklist=("snd_pcm",)), FINIT, {BLACKLIST}),
        (Restrictions(blacklist=("snd_pcm",)), DELETE, {CAPABILITY, DISABLED, POLICY}),
        (Restrictions(blacklist=("snd",)), FINIT, EVERY - {BLACKLIST}),
        (Restrictions(locked_down=True), FINIT, {LOCKDOWN}),
        (Restrictions(capable=False, locked_down=True), FINIT, {CAPABILITY, LOCKDOWN}),
        (
            Restrictions(capable=True, modules_disabled=False, blacklist=(), locked_down=False),
            FINIT,
            {POLICY},
        ),
    ],
)
def test_a_refusal_names_what_is_proved_or_all_that_is_possible(
    restrictions: Restrictions | None, operation: syscalls.Operation, named: set[str]
) -> None:
    """EPERM has many causes: those that are found out are named alone, those ruled out never."""
    text = explain(errno.EPERM, operation, "snd-pcm", restrictions=restrictions)
    assert {cause for cause in EVERY if cause in text} == named


def test_a_failed_load_becomes_a_load_error() -> None:
    """The error names the module, keeps the number and says the reason."""
    error = syscalls.load_error(SyscallError(FINIT, errno.ENOEXEC, "Exec format error"), "snd")
    assert isinstance(error, LoadError)
    assert (error.module, error.errno) == ("snd", errno.ENOEXEC)
    assert str(error) == f"cannot load module 'snd': {error.reason}"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, ModuleNotLoadedError),
        (errno.EAGAIN, ModuleInUseError),
        (errno.EBUSY, UnloadError),
        (errno.EPERM, UnloadError),
    ],
)
def test_a_failed_unload_becomes_an_error_of_its_kind(number: int, kind: type[UnloadError]) -> None:
    """In use and not loaded are what callers tell apart; both are UnloadErrors."""
    error = syscalls.unload_error(SyscallError(DELETE, number, "x"), "snd", holders=("snd_pcm",))
    assert type(error) is kind
    assert isinstance(error, LookupError) is (number == errno.ENOENT)
    assert (error.module, error.errno) == ("snd", number)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again)) == (kind, str(error))


def test_importing_the_calls_stays_light() -> None:
    """Nothing is imported for three system calls that takes longer than they do."""
    code = "import sys, kmodkit.kernel.syscalls; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"platform", "subprocess", "logging", "google.protobuf", "dataclasses", "inspect", "socket"}
    assert heavy.isdisjoint(done.stdout.split())
