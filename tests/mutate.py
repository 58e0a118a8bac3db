"""Damage files in many ways and read them, each case under a limit of time and all under one of memory.

    python -m tests.mutate SEED CASES

runs ``CASES`` over modules made here and their meta.pb in this process, whose address space it limits. A case is a
seed and a number, which are printed when it fails, so that it can be run again alone.
"""

from __future__ import annotations

import dataclasses
import random
import resource
import signal
import sys
from typing import TYPE_CHECKING, Final

from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.elf import Elf
from kmodkit.core.modinfo import ModuleInfo, SoftDeps, modinfo_from_elf
from kmodkit.core.signature import read_signature
from kmodkit.errors import KmodError
from kmodkit.kernel.files import decompress
from kmodkit.meta.codec import decode, encode
from kmodkit.testing import AppendedSignature, ModuleBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

SECONDS: Final = 30
MEMORY: Final = 512 << 20
MAX_UNPACKED: Final = 1 << 22
EXTREMES: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)


class TooSlowError(BaseException):
    """A case took longer than allowed; no ``except Exception`` on the way holds it up."""


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` with one to three kinds of damage done to it."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not out:
            break
        rng.choice(_DAMAGES)(out, rng)
    return bytes(out)


def _flip(out: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _truncate(out: bytearray, rng: random.Random) -> None:
    del out[rng.randrange(len(out)) :]


def _overwrite(out: bytearray, rng: random.Random) -> None:
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(EXTREMES) & ((1 << 8 * size) - 1)
    at = rng.randrange(len(out))
    # Most fields are near the start or the end, and aligned.
    at = rng.choice((at, at % 64, len(out) - 1 - at % 512)) // size * size
    out[max(at, 0) : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _splice(out: bytearray, rng: random.Random) -> None:
    start, end = _range(out, rng)
    at = rng.randrange(len(out))
    out[at : at + end - start] = out[start:end]


def _duplicate(out: bytearray, rng: random.Random) -> None:
    start, end = _range(out, rng)
    out[start:start] = bytes(out[start:end]) * rng.choice((1, 1, 3, 50))


def _remove(out: bytearray, rng: random.Random) -> None:
    start, end = _range(out, rng)
    del out[start:end]


def _junk(out: bytearray, rng: random.Random) -> None:
    start, end = _range(out, rng)
    out[start:end] = rng.randbytes(end - start)


def _range(out: bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(out))
    return start, min(len(out), start + rng.choice((1, 4, 16, 64, 300)))


_DAMAGES: Final[Sequence[Callable[[bytearray, random.Random], None]]] = (
    _flip, _flip, _truncate, _overwrite, _overwrite, _splice, _duplicate, _remove, _junk,
)  # fmt: skip


# --- what is read -------------------------------------------------------------------------------------------


def read_module_data(data: bytes) -> None:
    """Read all there is in the bytes of a module file, as every command together would."""
    plain = decompress(data, max_size=MAX_UNPACKED)
    for part in (_signature, _modinfo, _sections):
        try:
            part(plain)
        except KmodError as error:
            str(error)


def read_metadata(data: bytes) -> None:
    """Read a meta.pb and ask what the commands ask of it."""
    catalog = decode(data)
    catalog.lookup("pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00", builtin=True)
    catalog.pattern_tree().format()
    catalog.cycles()
    for module in catalog.modules[:8]:
        try:
            catalog.closure([module.name], weak=True)
        except KmodError as error:
            str(error)


def _signature(data: bytes) -> None:
    signature = read_signature(lambda offset, size: data[offset : offset + size], len(data))
    if signature is not None:
        signature.details()


def _modinfo(data: bytes) -> None:
    info = modinfo_from_elf(Elf.from_bytes(data), "x.ko")
    for name in dir(ModuleInfo):
        if not name.startswith("_"):
            getattr(info, name)
    catalog = Catalog((Module.from_info(info),))
    catalog.lookup("pci:v00008086d00001591", builtin=True)


def _sections(data: bytes) -> None:
    elf = Elf.from_bytes(data)
    for _, section in elf.sections():
        elf.contents(section, limit=MAX_UNPACKED)


def run(
    read: Callable[[bytes], None],
    samples: Sequence[bytes],
    *,
    seed: int,
    cases: Iterable[int],
    seconds: int = SECONDS,
) -> int:
    """Mutate one of ``samples`` for each number in ``cases`` and read it; return how many ended in a KmodError.

    Anything else, or a case that takes longer than ``seconds``, is an AssertionError that names the case. Only for
    the main thread of a process, as an alarm signal keeps the time.
    """

    def too_slow(*_: object) -> None:
        raise TooSlowError

    refused = 0
    before = signal.signal(signal.SIGALRM, too_slow)
    try:
        for case in cases:
            # Of text, as the hash of a tuple is not the same in every process.
            rng = random.Random(f"{seed} {case}")
            data = mutated(rng.choice(samples), rng)
            signal.alarm(seconds)
            try:
                read(data)
            except KmodError as error:
                refused += 1
                str(error)
            except BaseException as error:
                raise AssertionError(f"seed {seed} case {case}: {error!r}") from error
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    return refused


# --- samples ------------------------------------------------------------------------------------------------


def sample_modules(pkcs7: bytes = b"\x30\x03\x02\x01\x05") -> list[bytes]:
    """Return modules of each class and byte order, signed in each way, and packed in each way."""
    base = ModuleBuilder(
        "ice",
        modinfo=[("author", "A"), ("parm", "debug:level (int)"), ("parmtype", "debug:int"), ("weakdep", "x y")],
        license="GPL v2",
        firmware=["intel/ice/ddp/ice.pkg"],
        softdeps=["pre: crc32c post: z"],
        aliases=[f"pci:v00008086d0000{number:04X}sv*sd*bc*sc*i*" for number in range(8)] + ["x[a-c]*[!d]\\*"],
        depends=["gnss", "i40e"],
        undefined=["printk"],
        exports={"ice_call": 0x1234},
        versions={"printk": 0x5678},
        sections={".rela.modinfo": bytes(48), ".bss": b""},
        signature=pkcs7,
    )
    legacy = AppendedSignature(blob=b"bare", kind=1, algorithm=1, digest=4, signer=b"Signer", key_id=b"key")
    kinds = [
        base,
        dataclasses.replace(base, byteorder="big", signature=legacy),
        dataclasses.replace(base, bits=32, signature=None),
        dataclasses.replace(base, bits=32, byteorder="big"),
        *(dataclasses.replace(base, compression=kind) for kind in ("gz", "xz", "zst")),
    ]
    return [module.build() for module in kinds]


def sample_metadata() -> list[bytes]:
    """Return meta.pb files with everything in them that the format has."""
    aliases = tuple(f"pci:v00008086d0000{number:04X}sv*sd*bc*sc*i*" for number in range(20))
    catalog = Catalog(
        (
            Module("ice", "k/ice.ko", ("gnss", "gone"), SoftDeps(("x",), ("y",)), ("w",), aliases, ("a.bin",)),
            Module("gnss", "k/gnss.ko", (), aliases=("b[1-9A-F]*?", "\udcff*", "[!a]")),
            Module("odd", "k/odd.ko", ("gnss", "ice"), aliases=("z*", "a*", "[ab][cd][ef][gh][ij][kl][mn]")),
            Module("core", aliases=("cpu:*",)),
        )
    )
    return [encode(catalog), encode(Catalog(catalog.modules[:1]))]


def main(seed: int, cases: int) -> int:
    """Run ``cases``, two in three of them over modules, within `MEMORY` bytes of address space."""
    samples = sample_modules(sys.stdin.buffer.read())
    metadata = sample_metadata()
    for data in samples:  # whatever is loaded by need is loaded now
        read_module_data(data)
    used = _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    refused = run(read_module_data, samples, seed=seed, cases=range(cases * 2 // 3))
    refused += run(read_metadata, metadata, seed=seed, cases=range(cases * 2 // 3, cases))
    sys.stdout.write(f"{refused}\n")
    return 0


def _address_space() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
