"""Modaliases to ask for: made from a kernel's own patterns, from a seed, the same in every run.

Most are what a device would write (`bench.devices`). Some are of no shape that any kernel writes: what a star
stands for is then a word, or a piece of syntax that could mislead a lookup.

The real-kernel tests ask the same questions as the benches, so what is measured is also checked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bench import devices
from kmodkit.core.alias import ANY, STAR, ByteSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from kmodkit.core.alias import Pattern

_FIELD_NAME: Final = re.compile(rb"[a-z]+\Z")
_WORDS: Final = (b"", b"x", b"0", b"eth0", b"PNP0C02", b"acme,widget", b"acme,widget_2", b"LENOVO", b"0010:0020")
# What a lookup could stumble over: separators, wildcards as text, both dashes, bytes above ASCII, long runs.
_ODD: Final = (
    b":", b"*", b"?", b"-", b"_", b" ", b"/", b"\\", b",", b"\x01", b"\xff", b"\xc3\xa9", b"dc", b"sv0", b"A" * 40,
    b"of:NxT(null)Cy", b"in*",
)  # fmt: skip


def fill(pattern: Pattern, rng: Random, *, odd: float = 0.0) -> bytes:
    """Return a text that ``pattern`` matches; ``odd`` is the share of wildcards filled as no device would."""
    out = b""
    for token in pattern.tokens:
        if isinstance(token, bytes):
            out += token
        elif isinstance(token, ByteSet):
            out += bytes([rng.choice(list(token) or [0x30])])
        elif token is ANY:
            out += bytes([rng.choice(b"019AFaz") if rng.random() >= odd else rng.randrange(1, 256)])
        elif token is STAR:
            out += rng.choice(_ODD) if rng.random() < odd else _plausible(out, rng)
    return out


def _plausible(before: bytes, rng: Random) -> bytes:
    """Return what a device would say behind ``before``."""
    bus, _, rest = before.partition(b":")
    name = _FIELD_NAME.search(rest)
    width = devices.FIELDS.get(bus, {}).get(name[0]) if name else None
    if width is None:
        # Behind the last field of a known bus there is nothing more.
        return b"" if bus in devices.FIELDS and rest else rng.choice(_WORDS)
    return b"%0*X" % (width, rng.choice((0, 1, rng.getrandbits(8), rng.getrandbits(4 * width))) % 16**width)


def derived(patterns: Sequence[Pattern], count: int, rng: Random, *, odd: float = 0.2) -> list[bytes]:
    """Return ``count`` texts of which each matches at least one of ``patterns``.

    Twice the share ``odd`` of them are filled without regard to the bus, ``odd`` of their wildcards oddly.
    """
    out = []
    for pattern in spread(patterns, count, rng):
        text = devices.device(pattern, rng) if rng.random() >= 2 * odd else None
        out.append(fill(pattern, rng, odd=odd) if text is None else text)
    return out


def spread(patterns: Sequence[Pattern], count: int, rng: Random) -> list[Pattern]:
    """Return ``count`` of ``patterns``, each as often as any other, give or take one."""
    whole, rest = divmod(count, len(patterns))
    return [*patterns] * whole + rng.sample(patterns, rest)


def _replace(text: bytearray, at: int, rng: Random) -> None:
    text[at : at + 1] = rng.choice(_ODD)


def _digit(text: bytearray, at: int, rng: Random) -> None:
    text[at] = rng.choice(b"0123456789ABCDEF")


def _drop(text: bytearray, at: int, _: Random) -> None:
    del text[at]


def _insert(text: bytearray, at: int, rng: Random) -> None:
    text.insert(at, rng.randrange(1, 256))


def _other_case(text: bytearray, at: int, _: Random) -> None:
    text[at : at + 1] = text[at : at + 1].swapcase()


def _cut(text: bytearray, at: int, _: Random) -> None:
    del text[at:]


def _behead(text: bytearray, at: int, _: Random) -> None:
    del text[: at % 4 + 1]


def _twice(text: bytearray, at: int, _: Random) -> None:
    text += text[at:]


def _dashes(text: bytearray, _at: int, _: Random) -> None:
    text[:] = text.translate(bytes.maketrans(b"-_", b"_-"))


_CHANGES: Final[tuple[Callable[[bytearray, int, Random], None], ...]] = (
    _replace, _digit, _digit, _digit, _drop, _insert, _other_case, _cut, _behead, _twice, _dashes,
)  # fmt: skip


def near(texts: Iterable[bytes], rng: Random) -> list[bytes]:
    """Return each of ``texts`` with one or two changes: most then match less than before, or nothing."""
    out = []
    for text in texts:
        changed = bytearray(text)
        for _ in range(rng.choice((1, 1, 2))):
            if changed:
                rng.choice(_CHANGES)(changed, rng.randrange(len(changed)), rng)
        out.append(bytes(changed).replace(b"\0", b"0"))
    return out


def strangers(patterns: Sequence[Pattern], count: int, rng: Random) -> list[bytes]:
    """Return ``count`` texts of devices nobody has a driver for, on the buses of ``patterns``.

    They are those of real patterns with other ids; a few may match all the same.
    """
    return [devices.stranger(text, rng) for text in derived(patterns, count, rng, odd=0.0)]


# --- one machine --------------------------------------------------------------------------------------------

_PCI: Final = (
    "8086:9B61 0600", "8086:9B41 0300", "8086:1903 1180", "8086:02F9 1180", "8086:02ED 0C03", "8086:02EF 0500",
    "8086:02F0 0280", "8086:02E8 0C80", "8086:02E9 0C80", "8086:02E0 0780", "8086:02D3 0106", "8086:02B0 0604",
    "8086:02B4 0604", "8086:02BC 0604", "8086:0284 0601", "8086:02C8 0403", "8086:02A3 0C05", "8086:02A4 0C80",
    "8086:0D4F 0200", "144D:A808 0108", "8086:15D3 0604", "8086:15D2 0880", "8086:15D4 0C03", "10EC:525A FF00",
    "10EC:8168 0200", "10DE:1F97 0300", "10DE:10FA 0403", "1AF4:1000 0200", "1AF4:1001 0100", "14E4:16A1 0200",
)  # fmt: skip
_USB: Final = (
    "1D6B:0002 09 090000", "1D6B:0003 09 090000", "8087:0026 E0 E00101", "04F2:B67C EF 0E0100",
    "046D:C52B 00 030101", "046D:C52B 00 030102", "06CB:00BD FF FF0000", "0BDA:8153 00 FFFF00",
    "0781:5581 00 080650", "05E3:0610 09 090002",
)  # fmt: skip
_ACPI: Final = (
    "PNP0C0A", "PNP0C0C", "PNP0C0D", "PNP0C0E", "PNP0C0F", "PNP0C14", "PNP0C02", "PNP0103", "PNP0100", "PNP0200",
    "PNP0B00", "PNP0303", "PNP0F13:PNP0F03", "PNP0A08:PNP0A03", "PNP0C09", "ACPI0003", "ACPI0007", "ACPI000C",
    "LNXVIDEO", "LNXPOWER", "LNXTHERM", "LNXCPU", "LNXSYBUS", "LNXSYSTM", "INT33A1:PNP0D80", "INT340E", "INT3403",
    "INT3400", "INT0E0C", "INTC6000", "LEN0268", "LEN0100", "SMB0001", "USBC000:PNP0CA0", "ELAN0670:PNP0C50",
    "MSFT0101:MSFT0101", "INT3F0D:PNP0C02", "PRP0001",
)  # fmt: skip
_PLATFORM: Final = (
    "pcspkr", "alarmtimer", "i8042", "serial8250", "rtc_cmos", "coretemp", "thinkpad_acpi", "intel_rapl_msr",
    "efi-framebuffer", "microcode", "reg-dummy", "regulatory", "iTCO_wdt", "gpio-keys", "dell-smbios", "efivars",
)  # fmt: skip
_OTHER: Final = (
    "serio:ty06pr00id00ex00", "serio:ty01pr00id00ex00", "scsi:t-0x00", "scsi:t-0x05", "mei::8e6a6715:01:",
    "hdaudio:v10EC0257r00100001a01", "hdaudio:v8086280Br00100000a01", "wmi:8D9DDCBC-A997-11DA-B012-B622A1EF5492",
    "hid:b0003g0001v0000046Dp0000C52B", "hid:b0018g0004v000004F3p000030A4", "i2c:ELAN0670:00", "i2c:ee1004",
    "spi:spidev", "virtio:d00000001v00001AF4", "tbsvc:kxdomainp00000001v00000001r00000001",
    "typec:idFF01m00000001",
    "ieee1394:ven0000D1D1mo00000001sp0000A02Dver00000100", "of:NethernetT(null)Cacme,ethernet",
    "mdio:00000000000000011100110010010001", "sdio:c00v02D0d4356", "pnp:dPNP0501", "fs-ext4", "net-pf-10", "rtc:",
    "nvmem:", "cec:", "mmc:block", "rmi:b", "usb-type-c", "intel_vsec.telemetry", "auxbus:none",
)  # fmt: skip
_DMI: Final = (
    "dmi:bvnLENOVO:bvrN2QET30W(1.24):bd11/20/2020:br1.24:efr1.12:svnLENOVO:pn20QVCTO1WW:pvrThinkPadX1Extreme2nd:"
    "rvnLENOVO:rn20QVCTO1WW:rvrSDK0Q55756WIN:cvnLENOVO:ct10:cvrNone:skuLENOVO_MT_20QV_BU_Think_FM_ThinkPad:"
)


def typical_machine() -> list[bytes]:
    """Return 300 different modalias lines, in the mix in which the sysfs of a laptop shows them."""
    lines = []
    for number, device in enumerate(_PCI * 3):
        ids, cls = device.split()
        vendor, product = ids.split(":")
        lines.append(
            f"pci:v0000{vendor}d0000{product}sv000017AAsd0000{0x2292 + number:04X}"
            f"bc{cls[:2]}sc{cls[2:]}i{number % 3:02X}"
        )
    for number, device in enumerate(_USB * 4):
        ids, dc, interface = device.split()
        vendor, product = ids.split(":")
        ic, isc, ip = interface[:2], interface[2:4], interface[4:]
        lines.append(f"usb:v{vendor}p{product}d{number:04}dc{dc}dsc00dp01ic{ic}isc{isc}ip{ip}in{number % 4:02X}")
    lines += [f"acpi:{ids}:" for ids in _ACPI]
    lines += [f"platform:{name}" for name in _PLATFORM]
    lines += _OTHER
    features = "".join(f",{number:04X}" for number in range(0x1A0) if number % 7 not in (3, 5))
    lines.append(f"cpu:type:x86,ven0000fam0006mod008E:feature:{features}")
    keys = "".join(f"{key:X}," for key in (*range(0x71, 0x75), *range(0x80, 0xA0, 3), 0xD4, 0xE3))
    lines += [f"input:b0011v{number:04X}p0001eAB41-e0,1,4,11,14,k{keys}ram4,l0,1,2,sfw" for number in range(30)]
    lines.append(_DMI)
    lines += [f"platform:acme-widget.{number}" for number in range(300 - len(lines))]
    return [line.encode() for line in lines]
