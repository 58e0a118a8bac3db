"""kmodkit link-tools, and what becomes of a call through a link."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kmodkit.cli import LINK_NAMES
from tests.commands import run
from tests.modprobes import SOURCES

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


def test_a_link_is_made_for_each_command(tmp_path: Path, capsys: Capture) -> None:
    """And named; a second time nothing is to be done."""
    ran = run(capsys, "link-tools", tmp_path, "--target", "kmodkit")
    assert ran == (0, "".join(f"made {tmp_path}/{name} -> kmodkit\n" for name in LINK_NAMES), "")
    assert {path.name: str(path.readlink()) for path in tmp_path.iterdir()} == dict.fromkeys(LINK_NAMES, "kmodkit")
    assert run(capsys, "link-tools", tmp_path, "--target", "kmodkit").out == ran.out.replace("made /", "kept /")


def test_what_is_there_stays(tmp_path: Path, capsys: Capture) -> None:
    """Nothing at all is made where one name is taken; the rest of the message says what to do."""
    (tmp_path / "lsmod").write_text("mine")
    ran = run(capsys, "link-tools", tmp_path, "--target", "kmodkit")
    message = f"kmodkit link-tools: {tmp_path}/lsmod: in the way (--force replaces it)\n"
    assert ran == (1, "", message)
    assert [path.name for path in tmp_path.iterdir()] == ["lsmod"]


def test_force_replaces_files_and_links(tmp_path: Path, capsys: Capture) -> None:
    """But never a directory."""
    (tmp_path / "lsmod").write_text("mine")
    (tmp_path / "kmod").symlink_to("/bin/kmod")
    ran = run(capsys, "link-tools", tmp_path, "--target", "/x/kmodkit", "--force", "--json")
    assert ran.status == 0
    done = {entry["path"].rpartition("/")[2]: entry["done"] for entry in ran.json}
    assert (done["lsmod"], done["kmod"], done["modinfo"]) == ("replaced", "replaced", "made")
    (tmp_path / "lsmod").unlink()
    (tmp_path / "lsmod").mkdir()
    ran = run(capsys, "link-tools", tmp_path, "--target", "/x/kmodkit", "--force")
    assert (ran.status, ran.err) == (1, f"kmodkit link-tools: {tmp_path}/lsmod: a directory\n")


def test_a_directory_is_needed(tmp_path: Path, capsys: Capture) -> None:
    """None is made."""
    ran = run(capsys, "link-tools", tmp_path / "none", "--target", "x")
    assert ran == (1, "", f"kmodkit link-tools: {tmp_path}/none: not a directory\n")


@pytest.fixture
def links(tmp_path: Path, capsys: Capture) -> Path:
    """Give a directory with a script and links to it, as an installer writes them."""
    script = tmp_path / "kmodkit"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom kmodkit.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    assert run(capsys, "link-tools", tmp_path, "--target", "kmodkit").status == 0
    return tmp_path


def call(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a program."""
    env = {**os.environ, "PYTHONPATH": str(SOURCES)}
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, env=env, timeout=60)


@pytest.mark.parametrize("name", ["modinfo", "lsmod", "insmod", "rmmod"])
def test_a_link_is_the_command_of_its_name(links: Path, name: str) -> None:
    """Its help has that name, and wrong words are status 1."""
    done = call(links / name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage:\n\t{name} [options]")
    done = call(links / name, "-Z")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{name}: invalid option -- 'Z'\n")


@pytest.mark.parametrize(
    ("words", "status", "err"),
    [
        (("help", "x"), 0, ""),
        (("-h",), 0, ""),
        ((), 1, "missing command\n"),
        (("modinfo", "x"), 1, "invalid command 'modinfo'\n"),
        (("stat",), 1, "invalid command 'stat'\n"),
    ],
)
def test_kmod_has_commands_of_its_own(links: Path, words: tuple[str, ...], status: int, err: str) -> None:
    """And its help on standard output in any case, as kmod has."""
    done = call(links / "kmod", *words)
    assert (done.returncode, done.stderr) == (status, err)
    assert "\tkmod [options] COMMAND" in done.stdout
    assert "\n  static-nodes " in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (("list", "-h"), 0, "Usage:\n\tkmod [options]\n", ""),
        (("list", "x"), 1, "", "kmod: ERROR: too many arguments provided.\n"),
        (("list", "-Z"), 1, "", "list: invalid option -- 'Z'\n"),
        (("static-nodes", "-h"), 0, "Usage:\n\tkmod static-nodes [options]\n", ""),
        (("static-nodes", "-f"), 1, "", "static-nodes: option requires an argument -- 'f'\n"),
        (("-V", "list"), 0, "kmodkit version ", ""),
        (("-x",), 1, "", "kmod: invalid option -- 'x'\n"),
    ],
)
def test_kmod_hands_words_on(links: Path, words: tuple[str, ...], status: int, out: str, err: str) -> None:
    """The names in messages are kmod's."""
    done = call(links / "kmod", *words)
    assert (done.returncode, done.stderr) == (status, err)
    assert done.stdout.startswith(out)
    assert done.stdout or not out


HEAVY = {"google.protobuf", "rich", "asn1crypto", "argparse"}


@pytest.mark.parametrize("words", [("lsmod",), ("rmmod", "none"), ("insmod", "none"), ("static-nodes",)])
def test_commands_of_kmod_start_light(words: tuple[str, ...]) -> None:
    """With nothing that parses arguments the other verbs' way: that alone would cost 10 ms."""
    code = "import sys; from kmodkit.cli import main; main(sys.argv[1:]); print('|', *sys.modules)"
    done = call(sys.executable, "-c", code, *words)
    assert not HEAVY & set(done.stdout.partition("|")[2].split())
    assert "kmodkit.cli.options" in done.stdout
