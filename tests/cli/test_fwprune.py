"""kmodkit fwprune: the two outputs, what it says beside them, and what it refuses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from google.protobuf import text_format

from kmodkit import ModuleTree, load_metadata, scan
from kmodkit.cli import fwprune
from kmodkit.errors import FileError, WhenceError
from kmodkit.fsspec import fsspec_pb2
from kmodkit.testing import ModuleBuilder, write_tree
from tests.commands import run

BUILTIN = b"early.firmware=early.bin\0early.firmware=gone.bin\0core.license=GPL\0core.firmware=part.bin\0"
WHENCE = "File: intel/real.bin\nLink: intel/alias.bin -> real.bin\nLink: other.bin -> intel/alias.bin\n"
PATHS = ("intel/real.bin", "wild/a.txt", "wild/b.txt", "early.bin", "part.bin", "unused.bin")
LIST = "".join(f"ext/fw/{path}\n" for path in PATHS) + "\n"


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a build, with all inputs; it is the current one."""
    monkeypatch.chdir(tmp_path)
    firmware: list[tuple[str | bytes, str | bytes]] = [("firmware", "other.bin"), ("firmware", "wild/*.txt")]
    write_tree(
        "mods",
        {
            "kernel/net/wifi-drv.ko": ModuleBuilder("wifi-drv", modinfo=firmware, depends=("core",)),
            "kernel/core.ko": ModuleBuilder("core", compression="xz"),
        },
    )
    Path("builtin.modinfo").write_bytes(BUILTIN)
    Path("fw.list").write_text(LIST)
    Path("WHENCE").write_text(WHENCE)
    return tmp_path


def call(*words: str, whence: bool = True) -> int:
    """Run the verb with the build's inputs and ``words``."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    fwprune.add_arguments(parser)
    given = ["--modinfo", "builtin.modinfo", "--modules", "mods", "--firmware-file-list", "fw.list"]
    given += ["--firmware-whence", "WHENCE"] if whence else []
    return fwprune.run(parser.parse_args([*given, "--out-meta", "out.pb", "--out-fsspec", "out.txt", *words]))


def spec() -> fsspec_pb2.FSSpec:
    """Return what was written, read by protobuf's own reader."""
    return text_format.Parse(Path("out.txt").read_text(), fsspec_pb2.FSSpec())


@pytest.mark.usefixtures("build")
def test_the_fsspec_lists_exactly_the_chosen_files(capsys: pytest.CaptureFixture[str]) -> None:
    """Modules, meta.pb and firmware with their modes and sources, links as WHENCE has them, nothing else."""
    assert call() == 0
    found = spec()
    assert [(file.path, file.source_path, oct(file.mode)) for file in found.file] == [
        ("/lib/firmware/early.bin", "ext/fw/early.bin", "0o444"),
        ("/lib/firmware/intel/real.bin", "ext/fw/intel/real.bin", "0o444"),
        ("/lib/firmware/part.bin", "ext/fw/part.bin", "0o444"),
        ("/lib/firmware/wild/a.txt", "ext/fw/wild/a.txt", "0o444"),
        ("/lib/firmware/wild/b.txt", "ext/fw/wild/b.txt", "0o444"),
        ("/lib/modules/kernel/core.ko.xz", "mods/kernel/core.ko.xz", "0o555"),
        ("/lib/modules/kernel/net/wifi-drv.ko", "mods/kernel/net/wifi-drv.ko", "0o555"),
        ("/lib/modules/meta.pb", "out.pb", "0o444"),
    ]
    assert [(link.path, link.target_path) for link in found.symbolic_link] == [
        ("/lib/firmware/intel/alias.bin", "real.bin"),
        ("/lib/firmware/other.bin", "intel/alias.bin"),
    ]
    assert (len(found.directory), len(found.special_file)) == (0, 0)
    assert capsys.readouterr().out == "out.txt: 2 modules, 1 built in, 5 firmware files, 2 links; 1 missing\n"


@pytest.mark.usefixtures("build")
def test_meta_pb_has_the_modules_and_what_is_built_in() -> None:
    """A file wins over entries of its name in the list, which are then no module's, but their firmware is kept."""
    assert call() == 0
    catalog = load_metadata("out.pb")
    loadable = tuple(module for module in scan(ModuleTree("mods")).catalog if not module.builtin)
    assert catalog.modules[:2] == loadable
    assert [(module.name, module.builtin, module.firmware) for module in catalog.modules[2:]] == [
        ("early", True, ("early.bin", "gone.bin"))
    ]


@pytest.mark.usefixtures("build")
def test_what_is_missing_and_what_is_built_in_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """With the module that asks; neither is an error."""
    assert call(whence=False) == 0
    said = capsys.readouterr().err.splitlines()
    assert said == [
        *(
            f"kmodkit: warning: {module} is built in and asks for firmware {name!r}, "
            "maybe before file systems are there"
            for module, name in (("core", "part.bin"), ("early", "early.bin"), ("early", "gone.bin"))
        ),
        "kmodkit: warning: no firmware 'gone.bin', which module early asks for",
        "kmodkit: warning: no firmware 'other.bin', which module wifi_drv asks for",
    ]


@pytest.mark.usefixtures("build")
def test_the_summary_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers, and what is missing."""
    assert call("--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "meta": "out.pb",
        "fsspec": "out.txt",
        "modules": 2,
        "builtin": 1,
        "firmware": 5,
        "links": 2,
        "missing": [{"module": "early", "firmware": "gone.bin"}],
    }


@pytest.mark.usefixtures("build")
def test_strict_fails_on_missing_firmware_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Each missing file is named with its module."""
    assert call("--strict") == 1
    assert capsys.readouterr().err == "kmodkit fwprune: no firmware 'gone.bin', which module early asks for\n"
    assert not Path("out.pb").exists()
    assert not Path("out.txt").exists()
    Path("builtin.modinfo").write_bytes(BUILTIN.replace(b"gone.bin", b"part.bin"))
    assert call("--strict") == 0


def test_a_module_that_cannot_be_read_is_left_out(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, the rest is written, and the status is 1; strict writes nothing."""
    (build / "mods/kernel/bad.ko").write_bytes(b"junk")
    assert call("--strict") == 1
    assert not Path("out.txt").exists()
    assert "bad.ko" in capsys.readouterr().err
    assert call() == 1
    assert "skipped mods/kernel/bad.ko" in capsys.readouterr().err
    assert len(load_metadata("out.pb")) == 3
    assert not any("bad" in file.path for file in spec().file)


def test_a_kernel_with_everything_built_in_has_no_modules(build: Path) -> None:
    """An empty directory is no error, one that is not there is."""
    (build / "empty").mkdir()
    assert call("--modules", "empty") == 0
    assert [module.name for module in load_metadata("out.pb")] == ["early", "core"]
    assert [file.path for file in spec().file if "/modules/" in file.path] == ["/lib/modules/meta.pb"]
    with pytest.raises(FileError, match="nothing"):
        call("--modules", "nothing")


@pytest.mark.usefixtures("build")
def test_one_dash_is_enough() -> None:
    """Build rules made for the first tool of this name call it so."""
    assert call() == 0
    before = Path("out.txt").read_bytes(), Path("out.pb").read_bytes()
    assert (
        call("-firmware-whence", "WHENCE", "-modules=mods", "-out-meta", "out.pb", "-out-fsspec=second.txt") == 0
    )
    assert (Path("second.txt").read_bytes(), Path("out.pb").read_bytes()) == before


def test_the_order_of_the_list_is_of_no_consequence(build: Path) -> None:
    """The same bytes."""
    assert call() == 0
    before = Path("out.txt").read_bytes()
    (build / "fw.list").write_text("\r\n".join(reversed(LIST.split("\n"))))
    assert call() == 0
    assert Path("out.txt").read_bytes() == before


def test_inputs_that_cannot_be_read_are_errors(build: Path) -> None:
    """They name the file."""
    (build / "WHENCE").write_text("Link: a\n")
    with pytest.raises(WhenceError, match="WHENCE: "):
        call()
    (build / "fw.list").unlink()
    with pytest.raises(FileError, match=r"fw\.list"):
        call()


@pytest.mark.usefixtures("build")
def test_the_command_takes_one_dash_and_two(capsys: pytest.CaptureFixture[str]) -> None:
    """Build rules of the tool of this name give one; errors end in status 1 with the file's name."""
    words = ["-modinfo", "builtin.modinfo", "-modules", "mods", "-firmware-file-list", "fw.list"]
    outputs = ["--out-meta", "out.pb", "--out-fsspec", "out.txt"]
    assert run(capsys, "fwprune", *words, *outputs).status == 0
    assert Path("out.txt").exists()
    failed = run(capsys, "fwprune", *words, "-firmware-whence", "none", *outputs)
    assert (failed.status, "none" in failed.err) == (1, True)
    assert run(capsys, "fwprune", *words).status == 2
