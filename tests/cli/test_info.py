"""kmodkit info."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from kmodkit.cli import main
from kmodkit.testing import AppendedSignature, Compression, ModuleBuilder
from tests.commands import network_tree, run
from tests.require import need

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree of network drivers."""
    return network_tree(tmp_path)


@pytest.fixture
def modinfo() -> str:
    """Give the real modinfo; /sbin is not on every user's PATH."""
    found = shutil.which("modinfo") or shutil.which("modinfo", path="/usr/sbin:/sbin")
    return need(found, "modinfo is not there", "kmod") or ""


def test_a_module_is_shown_field_by_field(tree: Path, capsys: Capture) -> None:
    """The file, the fields in the file's order, the parameters."""
    ran = run(capsys, "info", "r8169", "--tree", tree)
    assert (ran.status, ran.err) == (0, "")
    assert ran.lines == [
        f"filename:       {tree}/kernel/net/r8169.ko",
        "description:    RealTek Gigabit",
        "license:        GPL",
        "firmware:       rtl_nic/rtl8168.fw",
        "softdep:        pre: realtek",
        "weakdep:        firmware-helper",
        "alias:          pci:v000010ECd00008168sv*sd*bc*sc*i*",
        "alias:          pci:v000010ECd00008125sv*sd*bc*sc*i*",
        "depends:        mdio-devres,libphy",
        "name:           r8169",
        "vermagic:       6.1.0 SMP",
        "parm:           debug:Verbosity (int)",
    ]


@pytest.mark.parametrize("name", ["firmware-helper", "firmware_helper", "mdio_devres", "fs-xfs"])
def test_a_module_is_found_by_name_or_alias(tree: Path, name: str, capsys: Capture) -> None:
    """With - or _, compressed or not."""
    ran = run(capsys, "info", name, "--tree", tree, "-n")
    file = {"mdio_devres": "mdio_devres.ko.xz", "fs-xfs": "realtek.ko"}.get(name, "firmware-helper.ko")
    assert ran == (0, f"{tree}/kernel/net/{file}\n", "")


def test_a_module_is_found_by_its_file(tree: Path, capsys: Capture) -> None:
    """Then no tree is needed."""
    file = tree / "kernel/net/libphy.ko"
    assert run(capsys, "info", file, "-l") == (0, "GPL\n", "")


def test_what_is_built_in_has_no_file(tree: Path, capsys: Capture) -> None:
    """Its name comes first, as in modinfo."""
    ran = run(capsys, "info", "ptp-core", "--tree", tree)
    assert ran.lines == [
        "name:           ptp_core",
        "filename:       (builtin)",
        "license:        GPL",
        "alias:          cpu:type:x86*",
        "author:         Somebody",
    ]


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (("-F", "alias"), "pci:v000010ECd00008168sv*sd*bc*sc*i*\npci:v000010ECd00008125sv*sd*bc*sc*i*\n"),
        (("-F", "nothing"), ""),
        (("-d",), "RealTek Gigabit\n"),
        (("-l", "-0"), "GPL\0"),
        (("-p",), "debug:Verbosity (int)\n"),
        (("--field", "vermagic"), "6.1.0 SMP\n"),
    ],
)
def test_one_field_may_be_asked_for(tree: Path, words: tuple[str, ...], out: str, capsys: Capture) -> None:
    """Its values alone, a line each or ended by NUL."""
    assert run(capsys, "info", "r8169", "--tree", tree, *words) == (0, out, "")


def test_several_modules_come_one_after_the_other(tree: Path, capsys: Capture) -> None:
    """One that is not there, or cannot be read, makes status 1 and does not stop the others."""
    (tree / "kernel/broken.ko").write_bytes(b"\x7fELF")
    ran = run(capsys, "info", "-F", "name", "--tree", tree, "libphy", "none", "broken", "realtek")
    assert (ran.status, ran.out) == (1, "libphy\nrealtek\n")
    missing, broken = [line for line in ran.err.splitlines() if line.startswith("kmodkit info")]
    assert missing == "kmodkit info: module 'none' does not exist"
    assert broken.startswith(f"kmodkit info: {tree}/kernel/broken.ko: ")


def test_json_has_the_fields_of_each(tree: Path, capsys: Capture) -> None:
    """Fields as lists in the file's order, parameters apart, no signature as null."""
    module, builtin = run(capsys, "info", "r8169", "ptp_core", "--tree", tree, "--json").json
    assert module["name"] == "r8169"
    assert module["filename"] == f"{tree}/kernel/net/r8169.ko"
    assert module["fields"]["firmware"] == ["rtl_nic/rtl8168.fw"]
    assert len(module["fields"]["alias"]) == 2
    assert module["parameters"] == [{"name": "debug", "type": "int", "description": "Verbosity"}]
    assert module["signature"] is None
    assert (builtin["name"], builtin["filename"]) == ("ptp_core", None)


def test_json_of_nothing_is_an_empty_list(tree: Path, capsys: Capture) -> None:
    """One document, whatever was found."""
    ran = run(capsys, "info", "none", "--tree", tree, "--json")
    assert (ran.status, ran.json) == (1, [])


def test_a_signature_that_cannot_be_read_is_a_warning(tmp_path: Path, capsys: Capture) -> None:
    """The rest is shown all the same."""
    signature = AppendedSignature(blob=b"junk", size=1 << 20)
    file = ModuleBuilder("a", license="GPL", signature=signature).write(tmp_path)
    ran = run(capsys, "info", file, "-l")
    assert (ran.status, ran.out) == (0, "GPL\n")
    assert ran.err.startswith("kmodkit: warning: ")


def test_bytes_that_are_no_text_come_out_as_they_are(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As modinfo does, so that a pipe sees the file's bytes."""
    file = ModuleBuilder("a", modinfo=[("author", b"J\xfcrgen")]).write(tmp_path)
    assert main(["info", str(file), "-a"]) == 0
    assert capfdbinary.readouterr().out == b"J\xfcrgen\n"


@pytest.mark.parametrize("words", [(), ("-a", "-d", "x")])
def test_wrong_words_are_status_2(words: tuple[str, ...], capsys: Capture) -> None:
    """A module is needed, and at most one field."""
    assert run(capsys, "info", *words).status == 2


SYNTHETIC = [
    ModuleBuilder("plain"),
    ModuleBuilder("snd-hyphen", license="GPL v2", depends=["a", "b-c"], vermagic="6.1.0 SMP preempt"),
    ModuleBuilder("strange", modinfo=[("author", "A = B"), ("description", "two\nlines"), ("version", "")]),
    ModuleBuilder("latin", modinfo=[("author", b"J\xfcrgen")]),
    ModuleBuilder("small", bits=32, machine=3, firmware=["x.bin"], aliases=["pci:*"]),
    ModuleBuilder("many", softdeps=["pre: a post: b"], aliases=[f"usb:v{n:04X}*" for n in range(300)]),
    ModuleBuilder(
        "params",
        modinfo=[
            ("parm", "debug:Verbosity"),
            ("parmtype", "debug:int"),
            ("parm", "untyped:No type"),
            ("parmtype", "undescribed:bool"),
            ("parm", "late:With: colons (and brackets)"),
            ("parmtype", "late:array of uint"),
        ],
    ),
]


@pytest.mark.parametrize("compression", [None, "xz"])
@pytest.mark.parametrize(
    "options", [(), ("-0",), ("-F", "alias"), ("-p",), ("-F", "parmtype"), ("-0", "-F", "author")]
)
def test_the_text_is_that_of_modinfo(
    options: tuple[str, ...],
    compression: Compression | None,
    tmp_path: Path,
    modinfo: str,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Byte for byte, for modules of every kind."""
    version = subprocess.run([modinfo, "--version"], capture_output=True, timeout=60, check=True).stdout
    if compression and f"+{compression.upper()}".encode() not in version:
        pytest.skip(f"this modinfo reads no .{compression}")
    files = []
    for module in SYNTHETIC:
        file = tmp_path / f"{module.name}.ko{'.' + compression if compression else ''}"
        module.compression = compression
        files.append(str(module.write(file)))
    theirs = subprocess.run([modinfo, *options, *files], capture_output=True, timeout=60, check=True).stdout
    capfdbinary.readouterr()
    assert main(["info", *options, *files]) == 0
    assert capfdbinary.readouterr().out == theirs
