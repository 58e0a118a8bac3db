"""What a device that a pattern is for would write as its modalias: the shape of each bus's uevent function.

Sources are the kernel's: ``scripts/mod/file2alias.c`` for the patterns, and for the texts the uevent or modalias
function of each bus, such as ``pci_uevent``, ``acpi_device_uevent_modalias`` and ``get_modalias`` of DMI.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kmodkit.core.alias import ANY, STAR, ByteSet, Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

# Digits of the hexadecimal fields of a bus, in their order.
FIELDS: Final[Mapping[bytes, Mapping[bytes, int]]] = {
    b"pci": {b"v": 8, b"d": 8, b"sv": 8, b"sd": 8, b"bc": 2, b"sc": 2, b"i": 2},
    b"usb": {
        b"v": 4, b"p": 4, b"d": 4, b"dc": 2, b"dsc": 2, b"dp": 2, b"ic": 2, b"isc": 2, b"ip": 2, b"in": 2,
    },
    b"hid": {b"b": 4, b"g": 4, b"v": 8, b"p": 8},
    b"hdaudio": {b"v": 8, b"r": 8, b"a": 2},
    b"pcmcia": {b"m": 4, b"c": 4, b"f": 2, b"fn": 2, b"pfn": 2, b"pa": 8, b"pb": 8, b"pc": 8, b"pd": 8},
    b"ieee1394": {b"ven": 8, b"mo": 8, b"sp": 8, b"ver": 8},
    b"sdio": {b"c": 2, b"v": 4, b"d": 4},
    b"virtio": {b"d": 8, b"v": 8},
    b"serio": {b"ty": 2, b"pr": 2, b"id": 2, b"ex": 2},
    b"ssb": {b"v": 4, b"id": 4, b"rev": 2},
    b"bcma": {b"m": 4, b"id": 4, b"rev": 2, b"cl": 2},
    b"sdw": {b"m": 4, b"p": 4, b"v": 2, b"c": 2},
    b"typec": {b"id": 4, b"m": 2},
    b"ssam": {b"d": 2, b"c": 2, b"t": 2, b"i": 2, b"f": 2},
}  # fmt: skip
_FIELD: Final = re.compile(rb"([a-z]+)([0-9A-F]*)\Z")
_DMI: Final = ("bvn", "bvr", "bd", "br", "efr", "svn", "pn", "pvr", "rvn", "rn", "rvr", "cvn", "ct", "cvr", "sku")
_DMI_PIECE: Final = re.compile(r":(bvn|bvr|bd|br|efr|svn|pn|pvr|rvn|rn|rvr|cvn|ct|cvr|sku)([^:]*)")
_VENDORS: Final = ("LENOVO", "Dell Inc.", "HP", "ASUSTeKCOMPUTERINC.", "AcmeWorks")
_ACPI_IDS: Final = (b"PNP0C02", b"INT3403", b"ACPI0011", b"PNP0A08", b"LEN0130")
_NODES: Final = (b"ethernet", b"i2c", b"gpio", b"sensor", b"touchscreen", b"pmic", b"adc")
_COMPATIBLE: Final = (b"acme,widget", b"simple-bus", b"syscon", b"jedec,spi-nor")


def fields(tokens: Pattern, rng: Random, bus: bytes) -> bytes:
    """Fill a pattern of hexadecimal fields: what a star leaves of a field gets digits, of which most are ids."""
    out = b""
    for token in tokens.tokens:
        if isinstance(token, bytes):
            out += token
        elif isinstance(token, ByteSet):
            out += bytes([rng.choice(list(token))])
        elif token is ANY:
            out += rng.choice([b"0", b"1", b"A"])
        else:
            field = _FIELD.search(out.partition(b":")[2])
            left = FIELDS[bus].get(field[1], 0) - len(field[2]) if field else 0
            if left > 0:
                number = rng.choice((0, 1, rng.getrandbits(8), rng.getrandbits(4 * left)))
                out += b"%0*X" % (left, number % 16**left)
    # What a pattern leaves out at its end a device writes.
    _, _, rest = out.partition(b":")
    for name, size in FIELDS[bus].items():
        found = re.match(name + rb"([0-9A-F]*)", rest)
        if found is None and not rest:
            out += name + b"%0*X" % (size, rng.choice((0, 1, rng.getrandbits(4 * size))))
        rest = rest[found.end() :] if found else rest
    return out


def _acpi(pattern: Pattern, rng: Random, _: bytes) -> bytes:
    """``acpi:HID:CID:``, the id that the pattern names among them."""
    wanted = b"".join(token for token in pattern.tokens if isinstance(token, bytes)).removeprefix(b"acpi")
    before = b":" + rng.choice(_ACPI_IDS) if rng.random() < 0.3 else b""
    after = rng.choice(_ACPI_IDS) + b":" if rng.random() < 0.3 else b""
    return b"acpi" + before + wanted + after


def _cpu(pattern: Pattern, rng: Random, _: bytes) -> bytes:
    """``cpu:type:x86,ven0000fam0006mod008E:feature:,0000,0001,...`` with some two hundred features."""
    literals = b"*".join(token if isinstance(token, bytes) else b"" for token in pattern.tokens)
    out = b""
    for name in (b"ven", b"fam", b"mod"):
        found = re.search(name + rb"([0-9A-F]+)", literals)
        out += name + (found[1] if found else b"%04X" % rng.choice((0, 1, 2, 6, 0x17, rng.getrandbits(7))))
    wanted = re.search(rb":feature:\**([0-9A-F]{4})", literals)
    features = {number for number in range(0x260) if rng.random() < 0.33}
    features |= {int(wanted[1], 16)} if wanted else set()
    return (
        b"cpu:type:x86," + out + b":feature:" + b"".join(b",%04X" % number for number in sorted(features)) + b"\n"
    )


def _input(pattern: Pattern, rng: Random, _: bytes) -> bytes:
    """``input:b0011v0001p0001eAB41-e0,1,4,11,14,k71,72,ram4,l0,1,2,sfw``: each kind with the bits that it has."""
    literals = "".join(token.decode("latin-1") if isinstance(token, bytes) else "*" for token in pattern.tokens)
    need = {
        kind: {int(bit, 16) for bit in re.findall(rf"[-*]{kind}\*(?:r\*)?([0-9A-F]+),", literals)} for kind in "ka"
    }
    events = {0, 1} | {int(bit, 16) for bit in re.findall(r"-e\*([0-9A-F]+),", literals)}
    keys = need["k"] | {rng.randrange(0x71, 0x2FF) for _ in range(rng.choice((3, 8, 40)))}
    axes = need["a"] | ({rng.randrange(0x40) for _ in range(3)} if 3 in events else set())
    kinds = {
        "e": events,
        "k": keys,
        "r": set(),
        "a": axes,
        "m": {4},
        "l": {0, 1, 2},
        "s": set(),
        "f": set(),
        "w": set(),
    }
    bits = "".join(kind + "".join(f"{bit:X}," for bit in sorted(bits)) for kind, bits in kinds.items())
    ids = (rng.choice((3, 0x11, 0x18, 0x19)), *(rng.getrandbits(16) for _ in range(3)))
    return ("input:b{:04X}v{:04X}p{:04X}e{:04X}-".format(*ids) + bits).encode()


def _dmi(pattern: Pattern, rng: Random, _: bytes) -> bytes:
    """One line with all that the firmware says of the machine, with the parts that the pattern asks for."""
    literals = "".join(token.decode("latin-1") if isinstance(token, bytes) else "*" for token in pattern.tokens)
    made = {name: f"{name.upper()}{rng.randrange(100)}" for name in _DMI}
    made |= {"bvn": rng.choice(_VENDORS), "svn": rng.choice(_VENDORS), "rvn": rng.choice(_VENDORS)}
    made |= {"bd": "11/20/2020", "br": f"1.{rng.randrange(40)}", "ct": "10"}
    made |= {name: value.replace("*", "") for name, value in _DMI_PIECE.findall(literals.replace("dmi*", "dmi*:"))}
    return ("dmi:" + "".join(f"{name}{made[name]}:" for name in _DMI).replace(" ", "")).encode("latin-1")


def _of(pattern: Pattern, rng: Random, _: bytes) -> bytes:
    """``of:NethernetT(null)Cacme,ethernetCsyscon``: a node's name, its type, what it is compatible with."""
    tokens = pattern.tokens
    out = b""
    for number, token in enumerate(tokens):
        if isinstance(token, bytes):
            out += token
        elif token is STAR and out.endswith(b"N"):
            out += rng.choice(_NODES)
        elif token is STAR and out.endswith(b"T"):
            out += b"(null)"
        elif token is STAR and number == len(tokens) - 1:
            out += rng.choice(_COMPATIBLE)
        else:
            return b""
    return out


def _mdio(pattern: Pattern, rng: Random, _: bytes) -> bytes:
    """``mdio:`` and the 32 bits of a PHY's identifier."""
    return b"".join(token if isinstance(token, bytes) else b"%d" % rng.getrandbits(1) for token in pattern.tokens)


def _nothing_more(pattern: Pattern, _rng: Random, _: bytes) -> bytes:
    """Buses whose text ends where the pattern has its star: the name or the id is all that they write."""
    return b"".join(token for token in pattern.tokens if isinstance(token, bytes))


_BUSES: Final[Mapping[bytes, Callable[[Pattern, Random, bytes], bytes]]] = (
    dict.fromkeys(FIELDS, fields)
    | dict.fromkeys([b"pnp", b"platform", b"eisa", b"scsi", b"nd", b"cxl", b"dax"], _nothing_more)
    | {b"acpi": _acpi, b"cpu": _cpu, b"input": _input, b"dmi": _dmi, b"of": _of, b"mdio": _mdio}
)


def device(pattern: Pattern, rng: Random) -> bytes | None:
    """Return what a device that ``pattern`` matches would write, None where its bus is not known here."""
    first = pattern.tokens[0] if pattern.tokens else b""
    bus = re.match(rb"[a-z0-9]*", first)[0] if isinstance(first, bytes) else b""  # type: ignore[index]
    make = _BUSES.get(bus)
    if make is None:
        return None
    text = make(pattern, rng, bus)
    return text if pattern.matches(text) else None


# What of a text another device of the bus writes otherwise: the digits of ids, and of names the numbers.
_IDS: Final[Mapping[bytes, re.Pattern[bytes]]] = dict.fromkeys(
    [*FIELDS, b"pnp", b"eisa", b"wmi", b"acpi", b"vmbus", b"ishtp"], re.compile(rb"[0-9A-F]")
) | {
    b"mdio": re.compile(rb"[01]"),
    b"cpu": re.compile(rb"(?<=[nmd])[0-9A-F]{4}"),
    b"input": re.compile(rb"(?<=[bvpe])[0-9A-F]{4}"),
    b"dmi": re.compile(rb"(?<=[a-z])[0-9A-Z]"),
}
_NUMBER: Final = re.compile(rb"[0-9]")


def stranger(text: bytes, rng: Random) -> bytes:
    """Return ``text`` as a device of another vendor or model writes it: of the same shape, with other ids."""
    bus, colon, rest = text.partition(b":")

    def other(found: re.Match[bytes]) -> bytes:
        old = found[0]
        if bus == b"mdio":
            return b"%d" % rng.getrandbits(1)
        return b"%0*X" % (len(old), rng.getrandbits(4 * len(old))) if bus in _IDS else b"%d" % rng.randrange(10)

    changed = _IDS.get(bus, _NUMBER).sub(other, rest)
    return bus + colon + (changed if changed != rest else rest + b"x")
