"""Coldplug over a copy of sysfs."""

import errno
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from kmodkit.errors import ArgumentError, FileError
from kmodkit.kernel import uevents
from kmodkit.kernel.uevents import Triggered, coldplug, new_uuid, read_modaliases, trigger

UUID = "0b5a2c1e-7d34-4f6a-8a51-1f0e2d3c4b5a"


def device(sys: Path, path: str, *, modalias: str | bytes | None = None, uevent: str | None = "") -> Path:
    """Make a device below SYS/devices with the files given, and return its directory."""
    directory = sys / "devices" / path
    directory.mkdir(parents=True, exist_ok=True)
    if modalias is not None:
        data = modalias.encode() if isinstance(modalias, str) else modalias
        (directory / "modalias").write_bytes(data)
    if uevent is not None:
        (directory / "uevent").write_text(uevent)
    return directory


def test_modaliases_come_sorted_parents_first(tmp_path: Path) -> None:
    """Each device gives its path as a uevent would and its modalias without the newline."""
    device(tmp_path, "pci0/0:2", modalias="pci:v2\n")
    device(tmp_path, "pci0/0:1", modalias="pci:v1\n")
    device(tmp_path, "pci0/0:1/usb1", modalias="usb:v1\n")
    device(tmp_path, "isa")
    assert list(read_modaliases(tmp_path)) == [
        ("/devices/pci0/0:1", "pci:v1"),
        ("/devices/pci0/0:1/usb1", "usb:v1"),
        ("/devices/pci0/0:2", "pci:v2"),
    ]


def test_the_root_may_be_a_string_with_a_slash(tmp_path: Path) -> None:
    """Device paths are the same however the root is written."""
    device(tmp_path, "a", modalias="x:\n")
    assert list(read_modaliases(f"{tmp_path}/")) == [("/devices/a", "x:")]


def test_a_device_may_be_called_as_the_attributes_of_power_management_are(tmp_path: Path) -> None:
    """Those are in a directory of every device, which nobody looks into; a device has a uevent file."""
    device(tmp_path, "a/power", uevent=None)
    device(tmp_path, "b/power", modalias="x:1\n")
    device(tmp_path, "b/power/below", modalias="x:2\n")
    assert list(read_modaliases(tmp_path)) == [("/devices/b/power", "x:1"), ("/devices/b/power/below", "x:2")]


def test_an_acpi_device_may_have_two_modaliases(tmp_path: Path) -> None:
    """Each line of a modalias file is one."""
    device(tmp_path, "a", modalias="acpi:VEN0001:\nof:NdevTCvendor,device\n")
    assert [modalias for _, modalias in read_modaliases(tmp_path)] == [
        "acpi:VEN0001:",
        "of:NdevTCvendor,device",
    ]


def test_padding_is_cut_off_and_an_empty_modalias_left_out(tmp_path: Path) -> None:
    """NULs and blanks at the end are no part of a modalias, and nothing is left of an empty one."""
    device(tmp_path, "a", modalias=b"cpu:type:x86\n\0\0")
    device(tmp_path, "b", modalias=b"\n")
    device(tmp_path, "c", modalias=b"")
    assert list(read_modaliases(tmp_path)) == [("/devices/a", "cpu:type:x86")]


def test_the_uevent_file_answers_where_there_is_no_modalias(tmp_path: Path) -> None:
    """MODALIAS= of the uevent file counts only where the modalias file gives nothing."""
    device(tmp_path, "a", uevent="DRIVER=x\nMODALIAS=platform:a\n")
    device(tmp_path, "b", modalias="\n", uevent="MODALIAS=platform:b\nMODALIAS=of:b\n")
    device(tmp_path, "c", modalias="platform:c\n", uevent="MODALIAS=other:c\n")
    device(tmp_path, "d", uevent="OF_MODALIAS=x\nMODALIAS=\n")
    assert list(read_modaliases(tmp_path)) == [
        ("/devices/a", "platform:a"),
        ("/devices/b", "platform:b"),
        ("/devices/b", "of:b"),
        ("/devices/c", "platform:c"),
    ]


def test_bytes_that_are_not_utf8_survive(tmp_path: Path) -> None:
    """A modalias of any bytes comes back through surrogate escapes."""
    device(tmp_path, "a", modalias=b"x:\xff\n")
    ((_, modalias),) = read_modaliases(tmp_path)
    assert modalias.encode("utf-8", "surrogateescape") == b"x:\xff"


def test_symlinks_are_not_followed(tmp_path: Path) -> None:
    """Neither a link to a directory nor one to a file is a device's own."""
    directory = device(tmp_path, "a", modalias="a:\n")
    (directory / "loop").symlink_to(directory)
    (device(tmp_path, "b") / "modalias").symlink_to(directory / "modalias")
    assert list(read_modaliases(tmp_path)) == [("/devices/a", "a:")]


def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that vanishes between listing and reading takes no other with it."""
    gone = device(tmp_path, "a", modalias="a:\n")
    device(tmp_path, "b", modalias="b:\n")
    walk = uevents._walk

    def walk_then_vanish(sys: str) -> object:
        for step in walk(sys):
            if step[1] == "/devices/a":
                (gone / "modalias").unlink()
                (gone / "uevent").unlink()
            yield step

    monkeypatch.setattr(uevents, "_walk", walk_then_vanish)
    assert list(read_modaliases(tmp_path)) == [("/devices/b", "b:")]


def test_a_directory_that_vanishes_is_passed_over(tmp_path: Path) -> None:
    """A device removed while the walk is under way is not there any more, and that is all."""
    device(tmp_path, "a", modalias="a:\n")
    gone = device(tmp_path, "b", modalias="b:\n")
    device(tmp_path, "c", modalias="c:\n")
    walk = read_modaliases(tmp_path)
    assert next(walk) == ("/devices/a", "a:")
    gone.rename(tmp_path / "elsewhere")
    assert list(walk) == [("/devices/c", "c:")]


@pytest.mark.parametrize("walk", [read_modaliases, coldplug])
def test_a_system_without_sysfs_is_an_error(tmp_path: Path, walk: Callable[[Path], Iterable[object]]) -> None:
    """No devices directory must not look like no devices."""
    with pytest.raises(FileError) as caught:
        list(walk(tmp_path))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, f"{tmp_path}/devices")


def test_a_trigger_writes_action_uuid_and_marker(tmp_path: Path) -> None:
    """The request is one line in the form the kernel documents."""
    file = device(tmp_path, "a") / "uevent"
    trigger(file, "change", uuid=UUID, KMODKIT="1", run="7b")
    assert file.read_text() == f"change {UUID} KMODKIT=1 run=7b"


def test_a_plain_trigger_writes_the_action_alone(tmp_path: Path) -> None:
    """Without a UUID nothing but the action is written."""
    file = device(tmp_path, "a") / "uevent"
    trigger(file)
    assert file.read_text() == "add"


@pytest.mark.parametrize(
    ("action", "uuid", "marker"),
    [
        ("", UUID, {}),
        ("add x", UUID, {}),
        ("ADD", UUID, {}),
        ("add", None, {"A": "1"}),
        ("add", "", {}),
        ("add", "0", {}),
        ("add", UUID[:-1], {}),
        ("add", UUID + "\n", {}),
        ("add", UUID.replace("0", "g"), {}),
        ("add", UUID.replace("0", "\u0660"), {}),
        ("add", UUID, {"A": ""}),
        ("add", UUID, {"": "1"}),
        ("add", UUID, {"A_B": "1"}),
        ("add", UUID, {"A": "1 B=2"}),
        ("add", UUID, {"A": "1-2"}),
        ("add", UUID, {"A": "\u00e9"}),
    ],
)
def test_what_the_kernel_would_not_take_is_not_written(
    tmp_path: Path, action: str, uuid: str | None, marker: dict[str, str]
) -> None:
    """Keys and values are alphanumeric only, and nothing can be slipped into a request."""
    file = device(tmp_path, "a", uevent="untouched") / "uevent"
    with pytest.raises(ArgumentError):
        trigger(file, action, uuid=uuid, **marker)
    with pytest.raises(ArgumentError):
        coldplug(tmp_path, action, uuid=uuid, **marker)
    assert file.read_text() == "untouched"


def test_a_trigger_creates_no_file(tmp_path: Path) -> None:
    """A device that went away is an error, not a new file."""
    with pytest.raises(FileError) as caught:
        trigger(tmp_path / "uevent")
    assert caught.value.errno == errno.ENOENT
    assert not (tmp_path / "uevent").exists()


def test_new_uuids_have_the_form_the_kernel_takes() -> None:
    """They are random, of version 4, and differ."""
    made = {new_uuid() for _ in range(50)}
    assert len(made) == 50
    assert all(
        re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", u) for u in made
    )


def test_coldplug_writes_to_every_uevent_file(tmp_path: Path) -> None:
    """Devices without a uevent file are no devices; the others are asked in order, parents first."""
    files = [device(tmp_path, path) / "uevent" for path in ("b", "a", "a/x")]
    device(tmp_path, "a/power", uevent=None)
    done = list(coldplug(tmp_path, uuid=UUID, KMODKIT="1"))
    assert done == [Triggered("/devices/a"), Triggered("/devices/a/x"), Triggered("/devices/b")]
    assert [file.read_text() for file in files] == [f"add {UUID} KMODKIT=1"] * 3


def test_coldplug_writes_as_it_is_iterated(tmp_path: Path) -> None:
    """A listener can take the events of one device before the next one is asked."""
    first, second = device(tmp_path, "a") / "uevent", device(tmp_path, "b") / "uevent"
    walk = coldplug(tmp_path)
    next(walk)
    assert (first.read_text(), second.read_text()) == ("add", "")


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, *, path: str = "", arguments: bool = False) -> None:
    """Have writes fail: to paths with ``path`` in them, or those of requests with arguments only."""
    write = uevents._write

    def refusing(target: str, request: bytes) -> None:
        if path in target and (not arguments or b" " in request):
            raise FileError(number, os.strerror(number), target)
        write(target, request)

    monkeypatch.setattr(uevents, "_write", refusing)


def test_one_failed_write_is_reported_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk goes on behind a device that cannot answer."""
    file = device(tmp_path, "a") / "uevent"
    device(tmp_path, "b")
    last = device(tmp_path, "c") / "uevent"
    refuse(monkeypatch, errno.ENODEV, path="/b/")
    done = list(coldplug(tmp_path, uuid=UUID))
    assert [(result.devpath, result.error and result.error.errno) for result in done] == [
        ("/devices/a", None),
        ("/devices/b", errno.ENODEV),
        ("/devices/c", None),
    ]
    assert file.read_text() == last.read_text() == f"add {UUID}"


def test_a_kernel_that_takes_no_arguments_is_asked_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EINVAL for a request with arguments is answered with a plain one."""
    files = [device(tmp_path, path) / "uevent" for path in "ab"]
    refuse(monkeypatch, errno.EINVAL, arguments=True)
    assert all(result.error is None for result in coldplug(tmp_path, uuid=UUID, A="1"))
    assert [file.read_text() for file in files] == ["add", "add"]


def test_a_device_without_events_does_not_cost_the_others_their_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EINVAL for the plain request too is that device's own, and the next one gets the arguments."""
    device(tmp_path, "a")
    last = device(tmp_path, "b") / "uevent"
    refuse(monkeypatch, errno.EINVAL, path="/a/")
    errors = [result.error and result.error.errno for result in coldplug(tmp_path, uuid=UUID)]
    assert errors == [errno.EINVAL, None]
    assert last.read_text() == f"add {UUID}"
