"""kmodkit modinfo; beside the real one in tests/real."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands import network_tree, run

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a root with the modules of release 6.1.0, without indexes."""
    network_tree(tmp_path / "lib/modules")
    return tmp_path


def of(root: Path) -> tuple[object, ...]:
    """Return the options that name a root's modules."""
    return ("-b", root, "-k", "6.1.0")


@pytest.mark.parametrize("name", ["firmware-helper", "firmware_helper", "fs-xfs", "fs_xfs", "mdio-devres"])
def test_a_module_is_found_without_indexes(root: Path, name: str, capsys: Capture) -> None:
    """By name or alias, with - or _, compressed or not."""
    ran = run(capsys, "modinfo", *of(root), "-n", name)
    files = {"fs": "realtek.ko", "md": "mdio_devres.ko.xz", "fi": "firmware-helper.ko"}
    assert ran == (0, f"{root}/lib/modules/6.1.0/kernel/net/{files[name[:2]]}\n", "")


@pytest.mark.parametrize("place", ["lib/modules", "usr/lib/modules"])
def test_modules_below_usr_are_found(tmp_path: Path, place: str, capsys: Capture) -> None:
    """Where lib has none."""
    network_tree(tmp_path / place)
    assert run(capsys, "modinfo", *of(tmp_path), "-l", "libphy").out == "GPL\n"


def test_the_place_is_shown_as_it_was_given(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the working directory in front of a relative one, and nothing made shorter."""
    monkeypatch.chdir(root)
    path = "lib/modules/6.1.0/kernel/net/libphy.ko"
    assert run(capsys, "modinfo", "-n", f"./{path}").out == f"{root}/./{path}\n"
    assert run(capsys, "modinfo", *of(root), "-b", ".", "-n", "libphy").out == f"{root}/./{path}\n"


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (("-l", "libphy", "r8169"), "GPL\nGPL\n"),
        (("-0l", "libphy", "r8169"), "GPL\0GPL\0"),
        (("-p", "r8169"), "debug:Verbosity (int)\n"),
        (("-d", "r8169"), "RealTek Gigabit\n"),
        (("-a", "ptp-core"), "Somebody\n"),
        (("-F", "firmware", "r8169"), "rtl_nic/rtl8168.fw\n"),
        (("-m", "-F", "name", "ptp-core"), "ptp_core\n"),
        (("-n", "ptp-core"), "(builtin)\n"),
        (("--fie", "vermagic", "r8169"), "6.1.0 SMP\n"),
    ],
)
def test_one_field_may_be_asked_for(root: Path, words: tuple[str, ...], out: str, capsys: Capture) -> None:
    """By letters that may be bundled, or long options that may be cut short."""
    assert run(capsys, "modinfo", *of(root), *words) == (0, out, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none",), "Module none not found."),
        (("none.ko",), "Module none.ko not found."),
        (("-m", "fs-xfs"), "Module name fs-xfs not found."),
        (("-k", "1.2.3", "r8169"), "Module r8169 not found."),
    ],
)
def test_a_name_that_is_none_is_status_1(
    root: Path, words: tuple[str, ...], message: str, capsys: Capture
) -> None:
    """And the others are shown all the same; -m takes no aliases."""
    ran = run(capsys, "modinfo", *of(root), "-F", "name", *words)
    assert ran == (1, "", f"modinfo: ERROR: {message}\n")


def test_a_file_that_is_no_module_is_named(root: Path, capsys: Capture) -> None:
    """Its name is shown, as far as that goes, and the next one after it."""
    junk = root / "junk.ko"
    junk.write_bytes(b"junk" * 40)
    good = root / "lib/modules/6.1.0/kernel/net/libphy.ko"
    ran = run(capsys, "modinfo", junk, good)
    assert ran.status == 1
    assert ran.lines[:2] == [f"filename:       {junk}", f"filename:       {good}"]
    assert ran.err.startswith(f"modinfo: ERROR: could not get modinfo from 'junk': {junk}: not an ELF file")
    assert run(capsys, "modinfo", "-n", junk) == (0, f"{junk}\n", "")


def test_json_is_that_of_info(root: Path, capsys: Capture) -> None:
    """One document."""
    ran = run(capsys, "modinfo", *of(root), "--json", "r8169", "none")
    assert ran.status == 1
    assert ran.json == run(capsys, "info", "--tree", root, "--json", "r8169").json


@pytest.mark.parametrize("word", ["-h", "--help", "-V", "--version"])
def test_help_and_version_are_status_0(word: str, capsys: Capture) -> None:
    """On standard output, also with wrong words behind them."""
    ran = run(capsys, "modinfo", "none", word, "-Z")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("kmodkit version " if word[-1] in "Vn" else "Usage:\n\tkmodkit modinfo [options] ")


@pytest.mark.parametrize(
    ("words", "message"),
    [((), "ERROR: missing module or filename."), (("-F",), "option requires an argument -- 'F'")],
)
def test_wrong_words_are_status_1(words: tuple[str, ...], message: str, capsys: Capture) -> None:
    """As with kmod."""
    assert run(capsys, "modinfo", *words) == (1, "", f"modinfo: {message}\n")
