"""Mutate real modules, a real meta.pb and depmod's files and read them: a program of its own, to bound its memory.

    python -m tests.real.mutation KIND SEED FIRST LAST FILE...

Each case is a number with a random stream of its own, so that one that fails can be run alone. It may end well
or in a KmodError. Anything else, or more time or memory than allowed, ends the program with status 1 and the
number of the case; else the counts of both outcomes are printed.
"""

from __future__ import annotations

import resource
import signal
import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from kmodkit.core import kmodtext
from kmodkit.core.kmodindex import IndexFile
from kmodkit.core.modcache import decode_cache
from kmodkit.errors import KmodError
from kmodkit.kernel.files import decompress, read_module, read_signed_module
from kmodkit.kernel.opening import compression
from kmodkit.meta.codec import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from kmodkit import ModuleInfo

SECONDS: Final = 10  # of processor time per case, so that other work on the machine does not count; most take 0.01
MEMORY: Final = 1 << 30  # address space of the whole program, the interpreter and protobuf included
UNPACKED: Final = 32 << 20
_EXTREMES: Final = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


class TooSlowError(BaseException):
    """A case took longer than allowed; no ``except Exception`` of the code under test catches it."""


# --- changes ------------------------------------------------------------------------------------------------


def _flip(data: bytearray, start: int, end: int, rng: Random) -> None:
    """Change one to eight bytes between ``start`` and ``end``."""
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(start, end)] = rng.choice((0, 0xFF, rng.randrange(256)))


def _number(data: bytearray, start: int, end: int, rng: Random) -> None:
    """Put an extreme number where a field may be."""
    code = rng.choice(["<H", ">H", "<I", ">I", "<Q", ">Q"])
    size = struct.calcsize(code)
    at = start + rng.randrange(max(1, end - start)) // 2 * 2
    value = rng.choice((*_EXTREMES, len(data), len(data) - 1, rng.randrange(len(data)))) % (1 << 8 * size)
    data[at : at + size] = struct.pack(code, value)


def _cut(data: bytearray, start: int, end: int, rng: Random) -> None:
    """Drop the end of the file."""
    del data[rng.randrange(start, end) :]


def _move(data: bytearray, start: int, end: int, rng: Random) -> None:
    """Copy a piece of the file over another one."""
    size = rng.choice((1, 4, 16, 40, 64, 500))
    source, target = rng.randrange(len(data)), rng.randrange(start, end)
    data[target : target + size] = data[source : source + size]


def _drop(data: bytearray, start: int, end: int, rng: Random) -> None:
    """Take out some bytes, so that all behind them moves."""
    at = rng.randrange(start, end)
    del data[at : at + rng.choice((1, 2, 8, 64))]


def _grow(data: bytearray, start: int, end: int, rng: Random) -> None:
    """Put in some bytes."""
    data[rng.randrange(start, end) : 0] = rng.randbytes(rng.choice((1, 2, 8, 64)))


_CHANGES: Final[tuple[Callable[[bytearray, int, int, Random], None], ...]] = (
    _flip, _flip, _number, _number, _number, _cut, _move, _drop, _grow,
)  # fmt: skip


def _change(data: bytearray, regions: Sequence[tuple[int, int]], rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start, end = rng.choice(regions)
        end = min(end, len(data))
        start = max(0, min(start, end - 8))
        if end > start:
            rng.choice(_CHANGES)(data, start, end, rng)


def _elf_regions(data: bytes) -> list[tuple[int, int]]:
    """Return where a change to a module is likely to matter, the likeliest more than once."""
    order = "<" if data[5] == 1 else ">"
    if data[4] == 2:
        table, entry, count, names = struct.unpack_from(f"{order}40xQ10xHHH", data)
        where = struct.unpack_from(f"{order}24xQQ", data, table + entry * names)
    else:
        table, entry, count, names = struct.unpack_from(f"{order}32xI10xHHH", data)
        where = struct.unpack_from(f"{order}16xII", data, table + entry * names)
    header = (0, 64)
    sections = (table, table + entry * count)
    text = data.find(b"license=")
    return [
        header, header, sections, sections, sections,
        (where[0], where[0] + where[1]),
        (max(0, text - 200), text + 200),
        (len(data) - 900, len(data)),
        (0, len(data)),
    ]  # fmt: skip


# --- cases --------------------------------------------------------------------------------------------------


def _use(info: ModuleInfo) -> None:
    """Ask for all that there is to be known."""
    for name in dir(type(info)):
        if not name.startswith("_") and isinstance(getattr(type(info), name), property):
            getattr(info, name)
    for key in dict.fromkeys(key for key, _ in info.entries):
        info.get_all(key)


def _module_case(rng: Random, files: Sequence[bytes], scratch: Path) -> None:
    raw = rng.choice(files)
    if compression(raw) and rng.random() < 0.2:
        data = bytearray(raw)
        _change(data, [(0, 32), (len(raw) - 64, len(raw)), (0, len(raw))], rng)
    else:
        plain = decompress(raw)
        data = bytearray(plain)
        _change(data, _elf_regions(plain), rng)
    scratch.write_bytes(data)
    try:
        # The two take different ways, a few pieces of the file and all of it. A bad signature stops only one.
        _use(read_module(scratch, max_size=UNPACKED))
        info, signature = read_signed_module(scratch, max_size=UNPACKED)
        _use(info)
    except KmodError as error:
        assert scratch.name in str(error)
        raise
    if signature is not None:
        signature.details()


def _meta_case(rng: Random, files: Sequence[bytes], _: Path) -> None:
    raw = rng.choice(files)
    data = bytearray(raw)
    _change(data, [(0, len(raw))], rng)
    catalog = decode(bytes(data))
    for text in ("pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00", "usb:v0B95p1790d0100", "of:Nx", ""):
        catalog.lookup(text)
    for module in catalog:
        catalog.closure([module.name], weak=True)
    assert decode(encode(catalog)) == catalog


def _index_case(rng: Random, files: Sequence[bytes], _: Path) -> None:
    raw = rng.choice(files)
    data = bytearray(raw)
    _change(data, [(0, 64), (len(raw) - 200, len(raw)), (0, len(raw)), (0, len(raw))], rng)
    index = IndexFile(bytes(data), source="x.bin")
    # Lookups go other ways than the walk, and one that is refused says nothing of the next.
    for ask in (index.get, index.matches):
        for text in (
            b"",
            b"virtio:d00000001v00001AF4",
            b"symbol:ccw_driver_register",
            b"ccw:t3990m00dt3390dm0C",
            b"qeth",
        ):
            try:
                ask(text)
            except KmodError as error:
                assert "x.bin" in str(error)
    for _item in index.items():
        pass


def _text_case(parse: Callable[[bytes, str | None], object]) -> Callable[[Random, Sequence[bytes], Path], None]:
    def case(rng: Random, files: Sequence[bytes], _: Path) -> None:
        raw = rng.choice(files)
        data = bytearray(raw)
        _change(data, [(0, len(raw))], rng)
        try:
            parse(bytes(data), "modules.x")
        except KmodError as error:
            assert "modules.x" in str(error)
            raise

    return case


def _cache_case(rng: Random, files: Sequence[bytes], _: Path) -> None:
    raw = rng.choice(files)
    data = bytearray(raw)
    _change(data, [(0, 100), (0, len(raw))], rng)
    decode_cache(bytes(data))


_KINDS: Final = {
    "modules": _module_case,
    "meta": _meta_case,
    "index": _index_case,
    "text-dep": _text_case(kmodtext.parse_dep),
    "text-alias": _text_case(kmodtext.parse_alias),
    "text-symbols": _text_case(kmodtext.parse_alias),
    "text-softdep": _text_case(kmodtext.parse_softdep),
    "text-weakdep": _text_case(kmodtext.parse_weakdep),
    "text-devname": _text_case(kmodtext.parse_devname),
    "cache": _cache_case,
}


def _alarm(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlowError


def main(kind: str, seed: str, first: str, last: str, *names: str) -> int:
    """Run the cases from ``first`` up to, not including, ``last``."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _alarm)
    files = [Path(name).read_bytes() for name in names]
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(int(first), int(last)):
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                _KINDS[kind](Random(f"{seed} {number}"), files, Path(scratch, "mutated.ko"))
                outcomes["read"] += 1
            except KmodError:
                outcomes["refused"] += 1
            except BaseException:
                sys.stderr.write(f"case {number} of {kind} {seed}:\n")
                raise
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    sys.stdout.write(f"{outcomes['read']} {outcomes['refused']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
