"""The command line as a whole: verbs, help, exit statuses, and what a start costs."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kmodkit
from kmodkit import cli
from kmodkit.cli import TOOLS, VERBS
from kmodkit.testing import ModuleBuilder, write_tree
from tests.commands import NETWORK_CARD, network_tree, run

Capture = pytest.CaptureFixture[str]

HEAVY = {"google.protobuf", "rich", "asn1crypto"}
MODULES_OF = """\
import json, sys
from kmodkit.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_module(verb: str) -> None:
    """With a text for --help, its arguments and what it does."""
    module = importlib.import_module(f"kmodkit.cli.{verb.replace('-', '_')}")
    assert module.__doc__
    assert callable(module.add_arguments)
    assert callable(module.run)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: Capture) -> None:
    """It is the module's docstring, on standard output."""
    ran = run(capsys, verb, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"usage: kmodkit {verb} ")
    assert (importlib.import_module(f"kmodkit.cli.{verb.replace('-', '_')}").__doc__ or "").strip() in ran.out


@pytest.mark.parametrize("verb", VERBS)
def test_wrong_words_are_status_2(verb: str, capsys: Capture) -> None:
    """With the usage on standard error; nothing is abbreviated."""
    for words in (["--no-such-option"], ["--hel"]):
        ran = run(capsys, verb, *words)
        assert (ran.status, ran.out) == (2, "")
        assert f"usage: kmodkit {verb}" in ran.err


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_lists_the_verbs(word: str, capsys: Capture) -> None:
    """Each with a line."""
    ran = run(capsys, word)
    assert (ran.status, ran.err) == (0, "")
    listed = ran.out.partition("verbs:\n")[2].partition("\n\ncommands of kmod:\n")
    for text, verbs in ((listed[0], VERBS), (listed[2], TOOLS)):
        assert [line.split()[0] for line in text.splitlines()] == list(verbs)


@pytest.mark.parametrize("word", ["-V", "--version"])
def test_version(word: str, capsys: Capture) -> None:
    """It is the package's."""
    assert run(capsys, word) == (0, f"kmodkit {kmodkit.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "first"), [((), "usage:"), (("unknown", "x"), "kmodkit: no such verb: unknown")]
)
def test_without_a_verb_the_usage_is_shown(words: tuple[str, ...], first: str, capsys: Capture) -> None:
    """On standard error, with status 2."""
    ran = run(capsys, *words)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(first)
    assert all(verb in ran.err for verb in VERBS)


@pytest.mark.parametrize("words", [("lookup", "x"), ("deps", "x"), ("patterns",), ("index",), ("load", "x")])
def test_a_tree_that_is_not_there_is_named(words: tuple[str, ...], tmp_path: Path, capsys: Capture) -> None:
    """In one line that begins with the command, and status 1."""
    place = [tmp_path / "none"] if words == ("index",) else ["--tree", tmp_path / "none"]
    ran = run(capsys, *words, *place)
    assert ran == (1, "", f"kmodkit {words[0]}: {tmp_path}/none: no such directory\n")


def test_without_a_tree_the_message_says_what_to_give(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the running kernel has none."""
    monkeypatch.setattr("kmodkit.kernel.files._MODULE_DIRS", ("no/such/place",))
    ran = run(capsys, "lookup", "x")
    assert (ran.status, ran.out) == (1, "")
    assert "the running kernel has no module tree here; name one" in ran.err


def test_an_interrupt_is_status_130(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """As shells have it, and without a traceback."""

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    assert run(capsys, "lookup", "x") == (130, "", "")


def test_a_name_that_is_no_text_is_printed_with_escapes(tmp_path: Path, capsys: Capture) -> None:
    """A directory may be called anything."""
    tree = network_tree(tmp_path / os.fsdecode(b"t\xff"))
    ran = run(capsys, "index", tree)
    assert ran.status == 0
    assert ran.out.startswith(f"{tmp_path}/t\\udcff/6.1.0/meta.pb: 5 modules")
    assert run(capsys, "index", tree, "--json").json["tree"] == str(tree)


def test_the_package_runs_as_a_program() -> None:
    """With python -m."""
    done = subprocess.run(
        [sys.executable, "-m", "kmodkit", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"kmodkit {kmodkit.__version__}\n"


@pytest.mark.parametrize("verb", ["patterns", "lookup", "info"])
def test_a_reader_that_goes_away_is_no_error(verb: str, tmp_path: Path) -> None:
    """As `kmodkit patterns | head -1` does: it ends quietly."""
    aliases = [f"pci:v{number:08X}*" for number in range(20_000)]
    tree = write_tree(tmp_path, {"kernel/a.ko": ModuleBuilder("a", aliases=aliases)})
    words = {"patterns": [], "lookup": aliases[:4000], "info": ["a"]}[verb]
    with subprocess.Popen(
        [sys.executable, "-m", "kmodkit", verb, "--tree", tree, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


@pytest.mark.parametrize(
    "words", [("patterns",), ("info", "r8169"), ("index", "-o", "-"), ("deps", "r8169", "--json")]
)
def test_output_that_cannot_be_written_is_an_error(words: tuple[str, ...], tmp_path: Path) -> None:
    """Half of it must not look like all of it."""
    tree = network_tree(tmp_path)
    place = (str(tree),) if words[0] == "index" else ("--tree", str(tree))
    for unbuffered in ("", "1"):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "kmodkit", *words, *place],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
                env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            )
        assert done.returncode == 1
        assert done.stderr == f"kmodkit {words[0]}: standard output: No space left on device\n"


def started(*words: object) -> tuple[set[str], str]:
    """Return the modules that a command loads in an interpreter of its own, and its output."""
    done = subprocess.run(
        [sys.executable, "-c", MODULES_OF, *map(str, words)],
        capture_output=True,
        timeout=60,
        check=True,
        text=True,
    )
    return set(json.loads(done.stderr)), done.stdout


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("lookup", "--help"), ("load", "--help")])
def test_a_start_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    """Each of those libraries would cost 40 ms."""
    modules, _ = started(*words)
    assert not HEAVY & modules
    verbs = {name.rpartition(".")[2] for name in modules if name.startswith("kmodkit.cli.")} & set(VERBS)
    assert verbs == ({words[0]} if words[0] in VERBS else set())


def test_looking_up_in_a_tree_loads_nothing_heavy(tmp_path: Path) -> None:
    """Metadata, signatures and a terminal are what those are for."""
    modules, out = started("lookup", NETWORK_CARD, "--tree", network_tree(tmp_path))
    assert out == "r8169\n"
    assert not HEAVY & modules
