"""Whatever the bytes, a uevent or a listing of modules is read or refused, and nothing else happens."""

from hypothesis import example, given
from hypothesis import strategies as st

from kmodkit.core.procmodules import STATES, LoadedModule, parse_proc_modules
from kmodkit.core.uevent import parse_uevent
from kmodkit.errors import ProcModulesError, UeventError

WORD = st.text(st.characters(exclude_characters="\0=", codec="utf-8"), min_size=1)
VALUE = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
NAME = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
MODULE = st.builds(
    LoadedModule,
    name=NAME,
    size=st.integers(0, 2**64 - 1),
    refcnt=st.none() | st.integers(-1, 2**31 - 1),
    holders=st.lists(NAME).map(tuple),
    state=st.sampled_from(STATES),
    address=st.integers(0, 2**64 - 1),
    taints=st.from_regex(r"[A-Z]{0,5}", fullmatch=True),
    permanent=st.booleans(),
)


def near_misses(seed: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for ``seed`` with a few bytes replaced, cut out or put in."""
    edit = st.tuples(st.integers(0, len(seed)), st.integers(0, 3), st.binary(max_size=3))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        data = seed
        for position, length, replacement in edits:
            data = data[:position] + replacement + data[position + length :]
        return data

    return st.lists(edit, max_size=4).map(apply)


@given(st.binary() | near_misses(b"add@/devices/x\0ACTION=add\0MODALIAS=pci:v0\0SEQNUM=12\0"))
@example(b"@/\0")
@example(b"a@/\0SEQNUM=\xd9\xa1\0")
def test_any_bytes_are_an_event_or_a_uevent_error(data: bytes) -> None:
    """No datagram makes anything but a Uevent or a UeventError whose offset lies in it."""
    try:
        event = parse_uevent(data)
    except UeventError as error:
        assert error.offset is not None
        assert 0 <= error.offset <= len(data)
    else:
        header = f"{event.action}@{event.devpath}".encode("utf-8", "surrogateescape")
        assert data.startswith(header + b"\0")
        assert all(modalias for modalias in event.modaliases)


@given(st.lists(st.tuples(WORD, VALUE)))
def test_every_pair_the_kernel_sends_is_in_env(pairs: list[tuple[str, str]]) -> None:
    """Keys and values come back as they were sent, in order, repeated ones included."""
    pairs = [(key, value) for key, value in pairs if key != "SEQNUM"]
    data = b"add@/devices/x\0" + b"".join(f"{key}={value}\0".encode() for key, value in pairs)
    assert parse_uevent(data).env == tuple(pairs)


@given(st.binary() | near_misses(b"a 1 0 - Live 0x0\nlibphy 23 2 r8169,x, Loading 0xc0 (OE+)\n"))
@example(b"\n")
@example(b"a 1 0 - Live 0x_1\n")
def test_any_bytes_are_a_listing_or_a_procmodules_error(data: bytes) -> None:
    """No text makes anything but modules or an error whose offset begins a line of it."""
    try:
        modules = parse_proc_modules(data)
    except ProcModulesError as error:
        assert error.offset is not None
        assert error.offset == 0 or data[error.offset - 1 : error.offset] == b"\n"
    else:
        assert len(modules) == len(data.removesuffix(b"\n").split(b"\n") if data else ())


def printed(module: LoadedModule) -> str:
    """Return the line the kernel prints for a module."""
    users = "".join(f"{holder}," for holder in module.holders) + ("[permanent]," if module.permanent else "")
    refcnt = "-" if module.refcnt is None else module.refcnt
    sign = {"Live": "", "Loading": "+", "Unloading": "-"}[module.state]
    taints = f" ({module.taints}{sign})" if module.taints else ""
    return f"{module.name} {module.size} {refcnt} {users or '-'} {module.state} {module.address:#x}{taints}\n"


@given(st.lists(MODULE))
def test_what_the_kernel_prints_comes_back(modules: list[LoadedModule]) -> None:
    """Printing modules as the kernel does and reading them gives the same modules."""
    assert parse_proc_modules("".join(map(printed, modules))) == tuple(modules)
