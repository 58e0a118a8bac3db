"""One datagram of the kernel to one event."""

import pytest

from kmodkit.core.uevent import Uevent, parse_uevent, strip_modalias
from kmodkit.errors import FormatError, UeventError

USB = "/devices/pci0000:00/0000:00:04.0/usb1/1-1/1-1:1.0"
USB_MODALIAS = "usb:v0627p0001d0000dc00dsc00dp00ic03isc00ip00in00"


def datagram(header: str, *entries: str) -> bytes:
    """Return a datagram as the kernel lays it out: every string ends in a NUL."""
    return b"".join(text.encode("utf-8", "surrogateescape") + b"\0" for text in (header, *entries))


HOTPLUG = datagram(
    f"add@{USB}",
    "ACTION=add",
    f"DEVPATH={USB}",
    "SUBSYSTEM=usb",
    "DEVTYPE=usb_interface",
    "PRODUCT=627/1/0",
    "TYPE=0/0/0",
    "INTERFACE=3/0/0",
    f"MODALIAS={USB_MODALIAS}",
    "SEQNUM=1873",
)


def test_a_hotplug_event_is_read_whole() -> None:
    """The event of a USB interface gives its action, device, bus, modalias, number and every variable."""
    event = parse_uevent(HOTPLUG)
    assert event == Uevent(
        action="add",
        devpath=USB,
        subsystem="usb",
        modaliases=(USB_MODALIAS,),
        seqnum=1873,
        synth_uuid=None,
        env=(
            ("ACTION", "add"),
            ("DEVPATH", USB),
            ("SUBSYSTEM", "usb"),
            ("DEVTYPE", "usb_interface"),
            ("PRODUCT", "627/1/0"),
            ("TYPE", "0/0/0"),
            ("INTERFACE", "3/0/0"),
            ("MODALIAS", USB_MODALIAS),
            ("SEQNUM", "1873"),
        ),
    )
    assert event.modalias == USB_MODALIAS
    assert event.get("PRODUCT") == "627/1/0"
    assert event.get("DRIVER") is None
    assert event.get("DRIVER", "none") == "none"
    assert hash(event) == hash(parse_uevent(HOTPLUG))


def test_an_asked_for_event_carries_its_uuid_and_marker() -> None:
    """SYNTH_UUID and SYNTH_ARG_* tell our own events from the kernel's."""
    uuid = "fe4d7c9d-b8c6-4a70-9ef1-3d8a58d18eed"
    event = parse_uevent(
        datagram("add@/devices/x", f"SYNTH_UUID={uuid}", "SYNTH_ARG_KMODKIT=1", "SYNTH_ARG_RUN=7", "SEQNUM=2")
    )
    assert event.synth_uuid == uuid
    assert event.synth_args == (("KMODKIT", "1"), ("RUN", "7"))


def test_an_event_asked_for_without_a_uuid_says_zero() -> None:
    """The kernel sends SYNTH_UUID=0 for a plain write to a uevent file."""
    assert parse_uevent(datagram("add@/devices/x", "SYNTH_UUID=0")).synth_uuid == "0"


def test_an_acpi_device_may_have_two_modaliases() -> None:
    """A device with ACPI and device-tree names sends MODALIAS twice, and both count."""
    event = parse_uevent(
        datagram(
            "add@/devices/LNXSYSTM:00/PRP0001:00",
            "MODALIAS=acpi:VEN0001:",
            "MODALIAS=of:NdevTCvendor,device",
        )
    )
    assert event.modaliases == ("acpi:VEN0001:", "of:NdevTCvendor,device")
    assert event.modalias == "acpi:VEN0001:"


def test_an_empty_modalias_is_none() -> None:
    """A device that names no identity has no modalias, not an empty one."""
    event = parse_uevent(datagram("add@/devices/x", "MODALIAS="))
    assert event.modaliases == ()
    assert event.modalias is None


def test_the_newline_behind_a_cpu_modalias_is_cut_off() -> None:
    """The cpu bus ends its MODALIAS in a newline; env keeps what was sent."""
    event = parse_uevent(datagram("add@/devices/system/cpu/cpu0", "MODALIAS=cpu:type:x86,ven0000\n"))
    assert event.modalias == "cpu:type:x86,ven0000"
    assert event.get("MODALIAS") == "cpu:type:x86,ven0000\n"


@pytest.mark.parametrize(("padded", "bare"), [(b"a\n", b"a"), (b"a \t\r\n\0", b"a"), (b" a", b" a"), (b"\n", b"")])
def test_only_the_end_of_a_modalias_is_stripped(padded: bytes, bare: bytes) -> None:
    """Blanks in front or within belong to the modalias."""
    assert strip_modalias(padded) == bare


def test_a_value_may_hold_equals_signs_and_newlines() -> None:
    """An entry is split at its first equals sign only."""
    event = parse_uevent(datagram("change@/devices/x", "PAIRS=a=b\nc=d", "EMPTY="))
    assert event.env == (("PAIRS", "a=b\nc=d"), ("EMPTY", ""))


def test_an_entry_without_a_key_is_left_out() -> None:
    """What is no key=value takes nothing else with it."""
    event = parse_uevent(datagram("add@/devices/x", "junk", "", "=value", "SEQNUM=1"))
    assert event.env == (("SEQNUM", "1"),)


def test_the_first_of_repeated_keys_counts() -> None:
    """A repeated SUBSYSTEM does not replace the first one, and both stay in env."""
    event = parse_uevent(datagram("add@/devices/x", "SUBSYSTEM=pci", "SUBSYSTEM=usb"))
    assert event.subsystem == "pci"
    assert len(event.env) == 2


def test_a_header_alone_is_an_event() -> None:
    """Without variables there is an action and a device, and the rest is None."""
    event = parse_uevent(b"remove@/module/loop\0")
    assert (event.action, event.devpath) == ("remove", "/module/loop")
    assert (event.subsystem, event.seqnum, event.synth_uuid, event.env) == (None, None, None, ())


def test_a_device_path_may_hold_at_signs() -> None:
    """Only the first "@/" divides, as for device-tree nodes with unit addresses."""
    event = parse_uevent(b"add@/devices/soc@/serial@7e201000\0")
    assert (event.action, event.devpath) == ("add", "/devices/soc@/serial@7e201000")


def test_bytes_that_are_not_utf8_survive() -> None:
    """A value of any bytes comes back unchanged through surrogate escapes."""
    event = parse_uevent(b"add@/devices/x\0NAME=\xff\xfe\0")
    assert (event.get("NAME") or "").encode("utf-8", "surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        (b"", "action@/devpath", 0),
        (b"\0", "action@/devpath", 0),
        (b"add\0ACTION=add@/devices/x\0", "action@/devpath", 0),
        (b"add@devices/x\0", "action@/devpath", 0),
        (b"@/devices/x\0", "action@/devpath", 0),
        (b"libudev\0\xfe\xed\xca\xfe add@/devices/x\0", "udev's own format", 0),
        (b"add@/devices/x", "cut off", 14),
        (HOTPLUG[:-1], "cut off", len(HOTPLUG) - 1),
        (HOTPLUG[:100], "cut off", 100),
        (b"add@/x\0A=b\0SEQNUM=12x\0", "SEQNUM", 11),
        (b"add@/x\0SEQNUM=\0", "SEQNUM", 7),
        (b"add@/x\0SEQNUM=" + b"9" * 5000 + b"\0", "SEQNUM", 7),
    ],
)
def test_what_is_no_event_is_refused_with_an_offset(data: bytes, reason: str, offset: int) -> None:
    """The error says what is wrong and where in the datagram."""
    with pytest.raises(UeventError, match=reason) as caught:
        parse_uevent(data)
    assert caught.value.offset == offset
    assert isinstance(caught.value, FormatError)
