"""The commands of kmod, beside the real ones: what they print, their exit status and their calls to the kernel."""

from __future__ import annotations

import itertools
import lzma
import os
import platform
import random
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmodkit.cli.options import OptionError, Options
from kmodkit.testing import ModuleBuilder
from tests.modprobes import OURS, SOURCES, Bench, Did, Loaded
from tests.require import need

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.real.conftest import Depmodded
    from tools.material import Kernel

    Tool = Callable[[str], list[str]]


def ours(name: str) -> list[str]:
    """Return the first arguments of our command."""
    return [*OURS[:-1], name]


def machine_tool(name: str) -> list[str]:
    """Return the first arguments of the machine's own tool; /sbin is not on every user's PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    return [need(found, f"{name} is not there", "kmod") or ""]


@pytest.fixture(params=["machine", "trixie"])
def tool(request: pytest.FixtureRequest, trixie_tool: Tool) -> Tool:
    """Each kmod in turn."""
    return machine_tool if request.param == "machine" else trixie_tool


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skip where no mount namespace can be made."""
    program = shutil.which("unshare")
    made = program and subprocess.run([program, "-m", "true"], capture_output=True, check=False).returncode == 0
    need(made, "no mount namespace can be made: unshare of util-linux, as root", "kmod")


@pytest.fixture
def bench(namespaces: None, tmp_path: Path) -> Bench:  # noqa: ARG001
    """A place to run a tool in without effect on this machine."""
    need(shutil.which("strace"), "strace is not there", "kmod")
    return Bench(tmp_path)


# --- words --------------------------------------------------------------------------------------------------

LONG = {
    "all": "a",
    "remove": "r",
    "remove-dependencies": "r",
    "remove-holders": "5",
    "wait=": "w",
    "show-config": "c",
    "showconfig": "c",
    "show-modversions": "4",
    "dump-modversions": "4",
    "show-exports": "6",
    "show": "n",
    "dirname=": "d",
    "dry-run": "n",
}


def asked(words: Sequence[str]) -> list[str]:
    """Return what `Options` makes of words, in the notation of getopt.c."""
    options = Options(words, "arcnw:d:", LONG)
    found: list[str] = []
    try:
        for key, value in options:
            found += (key, value)
    except OptionError as error:
        return [*found, "?", f"tool: {error}\n"]
    return [*found, "--", *options.operands]


def some_words(chance: random.Random) -> list[str]:
    """Return the words of a call, most of which mean something."""

    def long() -> str:
        name = chance.choice([*LONG]).rstrip("=")
        cut = name[: chance.randrange(len(name) + 1)] if chance.random() < 0.5 else name
        return f"--{cut}" + chance.choice(["", "", "", "=", "=x"])

    def short() -> str:
        return "-" + "".join(chance.choices("arcnwdZ:;-", k=chance.randrange(1, 5)))

    def other() -> str:
        return chance.choice(["x", "", "-", "--", "a=b", "---"])

    kinds: list[Callable[[], str]] = [long, short, other]
    return [chance.choice(kinds)() for _ in range(chance.randrange(6))]


def test_words_are_taken_as_getopt_long_takes_them(build_dir: Path) -> None:
    """20,000 calls: the same options, arguments, operands and messages."""
    program = build_dir / "getopt"
    source = Path(__file__).with_name("getopt.c")
    subprocess.run(["cc", "-D_GNU_SOURCE", "-o", program, source], check=True)
    chance = random.Random(5)
    calls = [some_words(chance) for _ in range(20_000)]
    text = "".join(f"{len(words)}\0" + "".join(f"{word}\0" for word in words) for words in calls)
    env = {key: value for key, value in os.environ.items() if key != "POSIXLY_CORRECT"} | {"LC_ALL": "C"}
    out = subprocess.run([program], input=text, capture_output=True, check=True, text=True, env=env).stdout
    answers = out.split("\f\0")[:-1]
    assert len(answers) == len(calls)
    for words, answer in zip(calls, answers, strict=True):
        assert asked(words) == answer.split("\0")[:-1], words


# --- lsmod, rmmod, insmod -----------------------------------------------------------------------------------

STATE = [
    Loaded("a", 2, ("b", "c")),
    Loaded("b"),
    Loaded("c", 1),
    Loaded("with_dash"),
    Loaded("coming", 1, (), "coming"),
    Loaded("going", -1, (), "going"),
    Loaded("a_module_with_a_name_that_is_long", 3, tuple(f"holder_{n}" for n in range(40))),
]

# Where our message says more, or the machine's release another thing.
SAYS_OTHERWISE = {("going",)}


def same(first: Did, second: Did) -> None:
    """Assert that two runs did the same and printed the same on standard output."""
    assert (first.status, first.out, first.calls) == (second.status, second.out, second.calls)


RMMOD = [
    *((word,) for word in ("a", "b", "c", "with-dash", "with_dash.ko", "b.ko.xz", "going", "coming", "none")),
    ("-f", "a"),
    ("-f", "going"),
    ("--force", "none", "x.ko"),
    ("a", "b", "none", "b"),
    ("b", "-fv"),
    ("--", "-f"),
    ("-s", "a"),
    (),
]


@pytest.mark.parametrize("words", RMMOD, ids=" ".join)
def test_rmmod(words: tuple[str, ...], bench: Bench, trixie_tool: Tool) -> None:
    """The same calls in the same order, the same status, the same messages."""
    theirs = bench.run(trixie_tool("rmmod"), words, loaded=STATE)
    mine = bench.run(ours("rmmod"), words, loaded=STATE)
    same(mine, theirs)
    if words not in SAYS_OTHERWISE:
        assert mine.err == theirs.err


@pytest.mark.parametrize("error", ["EAGAIN", "EBUSY", "ENOENT", "EPERM", "ENOSYS"])
def test_rmmod_when_the_kernel_refuses(error: str, bench: Bench, trixie_tool: Tool) -> None:
    """Each module is tried, and each failure named twice as kmod does."""
    words = ("b", "with_dash")
    mine = bench.run(ours("rmmod"), words, loaded=STATE, answer=f"error={error}")
    theirs = bench.run(trixie_tool("rmmod"), words, loaded=STATE, answer=f"error={error}")
    assert mine == theirs
    assert len(mine.calls) == 2


@pytest.mark.parametrize("words", [(), ("-v",), ("x",), ("-s", "x")], ids=" ".join)
def test_lsmod(words: tuple[str, ...], bench: Bench, trixie_tool: Tool) -> None:
    """The same table, users in the kernel's order, and the same messages; ``kmod list`` as well."""
    theirs = bench.run(trixie_tool("lsmod"), words, loaded=STATE)
    mine = bench.run(ours("lsmod"), words, loaded=STATE)
    assert mine == theirs
    same(mine, bench.run([*trixie_tool("kmod"), "list"], words, loaded=STATE))
    if not words:
        same(mine, bench.run(machine_tool("lsmod"), words, loaded=STATE))


def test_lsmod_of_a_kernel_without_modules(bench: Bench, trixie_tool: Tool) -> None:
    """Only the heading."""
    mine = bench.run(ours("lsmod"), ())
    assert mine == bench.run(trixie_tool("lsmod"), ())
    assert len(mine.out.splitlines()) == 1


def module_files(directory: Path) -> None:
    """Write the files that the calls below name."""
    builder = ModuleBuilder("plain", license="GPL", vermagic="6.1.0 SMP")
    builder.write(directory / "plain.ko")
    builder = ModuleBuilder("packed", vermagic="6.1.0 SMP", versions={"printk": 7}, compression="xz")
    builder.write(directory / "packed.ko.xz")
    (directory / "junk.ko").write_bytes(b"junk and more")
    (directory / "short.ko").write_bytes(b"junk\n")
    (directory / "empty.ko").write_bytes(b"")
    (directory / "directory").mkdir()


INSMOD = [
    ("plain.ko",),
    ("plain.ko", "a=1", "b=x y", 'c="x y"', "d='x y'", "e f", "g h=i j", "k=", "l=x\ty"),
    ("plain.ko", "", "", "a=1", ""),
    ("plain.ko", "a=1", "-f", "b"),
    ("plain.ko", "--", "-f", "--bad"),
    ("-f", "plain.ko"),
    ("-vs", "plain.ko"),
    ("packed.ko.xz", "a=1"),
    ("-f", "packed.ko.xz"),
    ("junk.ko",),
    ("short.ko",),
    ("empty.ko",),
    ("directory",),
    ("none.ko",),
    ("plain",),
    ("-s", "none.ko"),
    ("-",),
    ("",),
    (),
]


@pytest.mark.parametrize("words", INSMOD, ids=" ".join)
def test_insmod(words: tuple[str, ...], bench: Bench, trixie_tool: Tool) -> None:
    """The same calls with the same parameters and flags, the same status and messages."""
    module_files(bench.work)
    assert bench.run(ours("insmod"), words) == bench.run(trixie_tool("insmod"), words)


def test_a_forced_module_is_the_same_in_memory(
    bookworm: Kernel, build_dir: Path, tmp_path: Path, tool: Tool
) -> None:
    """Where the kernel is given an image of a compressed file, it lacks vermagic and versions as kmod's does."""
    preload = build_dir / "image.so"
    source = Path(__file__).with_name("image.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", preload, source, "-ldl"], check=True)
    for place in sorted(bookworm.module_files())[::400]:
        packed = tmp_path / f"{place.name}.xz"
        packed.write_bytes(lzma.compress(place.read_bytes(), check=lzma.CHECK_CRC32, preset=0))
        images = []
        for argv in (ours("insmod"), tool("insmod")):
            image = tmp_path / "image"
            env = {**os.environ, "PYTHONPATH": str(SOURCES), "LD_PRELOAD": str(preload), "IMAGE": str(image)}
            subprocess.run([*argv, "-f", packed], check=True, env=env)
            images.append(image.read_bytes())
            image.unlink()
        assert images[0] == images[1]
        assert images[0] != place.read_bytes()
        packed.unlink()


ERRORS = ["EEXIST", "ENOENT", "EPERM", "ENOSYS", "ENOEXEC", "EKEYREJECTED", "EBUSY", "EINVAL", "ESRCH"]


@pytest.mark.parametrize(("error", "file"), list(itertools.product(ERRORS, ["plain.ko", "packed.ko.xz"])))
def test_insmod_when_the_kernel_refuses(error: str, file: str, bench: Bench, trixie_tool: Tool) -> None:
    """Its answer in kmod's words; where it lacks finit_module the other call is made, as kmod does."""
    module_files(bench.work)
    for options in ((), ("-f",)):
        mine = bench.run(ours("insmod"), (*options, file), answer=f"error={error}")
        assert mine == bench.run(trixie_tool("insmod"), (*options, file), answer=f"error={error}")
        assert mine.status == 1


@pytest.mark.parametrize(
    "words",
    [("rmmod", "-Z"), ("rmmod", "--force=1"), ("insmod", "--v"), ("lsmod", "--none"), ("modinfo", "-F")],
    ids=" ".join,
)
def test_wrong_words(words: tuple[str, ...], bench: Bench, trixie_tool: Tool) -> None:
    """Status 1 and getopt's message."""
    assert bench.run(ours(words[0]), words[1:]) == bench.run(trixie_tool(words[0]), words[1:])


# --- static-nodes -------------------------------------------------------------------------------------------

DEVNAME = """\
# Device nodes to trigger on-demand module loading.
autofs4 autofs c10:235
snd-seq snd/seq c116:1
snd-timer snd/timer c116:33
blk md/a b9:0
bad
bad three x1:2
bad four c1

spaced   out  c1:3
more net/tun c10:200 behind
"""
# A root whose /lib/modules is "$0"/modules, and everything else this machine's.
IN_ROOT = (
    'lib=$(readlink -f /lib) && mount -t tmpfs none "$0/mnt" && mkdir "$0/mnt/up" "$0/mnt/work" && '
    'cp -r "$0/modules" "$0/mnt/up/" && '
    'mount -t overlay none -o "lowerdir=$lib,upperdir=$0/mnt/up,workdir=$0/mnt/work" "$lib" && exec "$@"'
)


def in_root(work: Path, argv: Sequence[str]) -> tuple[int, str, str]:
    """Run a command where /lib/modules is ``work/modules``; return its status and what it printed."""
    (work / "mnt").mkdir(exist_ok=True)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", IN_ROOT, str(work), *argv],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCES), "LC_ALL": "C"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("form", ["human", "tmpfiles", "devname"])
def test_static_nodes(form: str, tool: Tool, tmp_path: Path) -> None:
    """Every format, and the same messages for entries that are bad."""
    tree = tmp_path / "modules" / platform.release()
    tree.mkdir(parents=True)
    (tree / "modules.devname").write_text(DEVNAME)
    words = ["static-nodes", "-f", form]
    mine = in_root(tmp_path, [*OURS[:-1], *words])
    assert mine == in_root(tmp_path, [*tool("kmod"), *words])
    assert mine[0] == 1
    made = tmp_path / "made"
    for argv in (OURS[:-1], tool("kmod")):
        assert in_root(tmp_path, [*argv, *words, "-o", str(made / argv[0][1:])])[0] == 1
        assert (made / argv[0][1:]).read_text() == mine[1]


@pytest.mark.usefixtures("namespaces")
def test_static_nodes_of_a_real_kernel(bookworm: Kernel, depmodded: Depmodded, tool: Tool, tmp_path: Path) -> None:
    """What depmod wrote for it, with status 0; and without the file a warning."""
    tree = tmp_path / "modules" / platform.release()
    tree.mkdir(parents=True)
    words = ["static-nodes", "-f", "tmpfiles"]
    assert in_root(tmp_path, [*OURS[:-1], *words]) == in_root(tmp_path, [*tool("kmod"), *words])
    root = depmodded(bookworm)
    (tree / "modules.devname").write_bytes(
        (root / bookworm.modules.relative_to(bookworm.root) / "modules.devname").read_bytes()
    )
    mine = in_root(tmp_path, [*OURS[:-1], *words])
    assert mine == in_root(tmp_path, [*tool("kmod"), *words])
    assert mine[0] == 0
    assert "c! /dev/fuse 0600 - - - 10:229\n" in mine[1]


# --- modinfo ------------------------------------------------------------------------------------------------

NAMES = [
    ("none",),
    ("none", "libphy", "-F", "name"),
    ("-F", "name", "crc32"),
    ("-n", "crc32"),
    ("-m", "-n", "crc32"),
    ("-m0", "crc32"),
    ("-nm", "libphy"),
    ("-nm", "libphy.ko"),
    ("-nm", "snd-hda-intel"),
    ("-nm", "none"),
    ("-nm", "pci:v000010ECd00008168sv00001043sd000085AAbc02sc00i00"),
    ("-n", "pci:v000010ECd00008168sv00001043sd000085AAbc02sc00i00"),
    ("-n", "pci:*"),
    ("-n", "fs-ext4", "fs_ext4"),
    ("-n", "symbol:phy_start"),
    ("-n", "snd-hda-intel", "usb-common"),
    ("-n", "libphy.ko"),
    ("-n", "libphy.x", "libphy x", ""),
    ("-n", "debugfs", "ext4"),
    ("acpi",),
    ("-F", "name", "vt"),
    ("e1000e",),
    ("-0", "e1000e", "ext4"),
    ("-p", "e1000e"),
    ("-0p", "e1000e"),
    ("-F", "parmtype", "e1000e"),
    ("-F", "signer", "e1000e"),
    ("-F", "NAME", "e1000e"),
    ("-F", "", "e1000e"),
    ("-adlF", "vermagic", "e1000e"),
    ("-F", "vermagic", "-l", "e1000e"),
    ("--auth", "--nu", "e1000e"),
    ("--fi", "e1000e"),
    ("-k", "1.2.3", "e1000e"),
    ("-b", "/none", "e1000e"),
]


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_modinfo_by_name(words: tuple[str, ...], bookworm: Kernel, depmodded: Depmodded, tool: Tool) -> None:
    """From the indexes of depmod: names, aliases of one or many modules, symbols, what is built in, nothing."""
    options = ("-b", str(depmodded(bookworm)), "-k", bookworm.release)
    env = {**os.environ, "PYTHONPATH": str(SOURCES), "LC_ALL": "C"}
    done = [
        subprocess.run([*argv, *options, *words], capture_output=True, check=False, env=env)
        for argv in (ours("modinfo"), tool("modinfo"))
    ]
    assert done[0].stdout == done[1].stdout
    assert done[0].returncode == done[1].returncode
    # How getopt names the command is up to how it was called.
    assert done[0].stderr.rpartition(b"modinfo: ")[2] == done[1].stderr.rpartition(b"modinfo: ")[2]


def test_info_gives_modinfos_answer(bookworm: Kernel, depmodded: Depmodded, tool: Tool) -> None:
    """An alias of two modules means both, although something built in has that name."""
    root = str(depmodded(bookworm))
    tree = f"{root}/lib/modules/{bookworm.release}"
    env = {**os.environ, "PYTHONPATH": str(SOURCES)}
    found = subprocess.run(
        [*ours("info"), "--tree", tree, "-n", "crc32"], capture_output=True, check=True, env=env, text=True
    ).stdout
    theirs = [*tool("modinfo"), "-b", root, "-k", bookworm.release, "-n", "crc32"]
    assert found == subprocess.run(theirs, capture_output=True, check=True, text=True).stdout
    assert len(found.splitlines()) == 2


FIELDS = [(), ("-0",), *((f"-{letter}",) for letter in "adlpn"), ("-0", "-F", "alias"), ("-F", "sig_id"), ("-m",)]


# The newer kmod prints the same of them; once is enough, for this is 4,000 modules each time.
EVERY = [*(("machine", options) for options in FIELDS), ("trixie", ())]


@pytest.mark.parametrize(("tool", "options"), EVERY, indirect=["tool"])
def test_modinfo_of_every_module(
    options: tuple[str, ...], bookworm: Kernel, depmodded: Depmodded, tool: Tool
) -> None:
    """By name, from the indexes, with each option: byte for byte."""
    root = depmodded(bookworm)
    names = sorted(file.name.removesuffix(".ko") for file in bookworm.module_files())
    words = ["-b", str(root), "-k", bookworm.release, *options, *names]
    env = {**os.environ, "PYTHONPATH": str(SOURCES)}
    mine, theirs = (
        subprocess.run([*argv, *words], stdout=subprocess.PIPE, check=True, env=env).stdout
        for argv in (ours("modinfo"), tool("modinfo"))
    )
    assert mine == theirs
    assert mine


@pytest.mark.parametrize("options", [(), ("-0",), ("-p",), ("-F", "alias"), ("-n",)], ids=" ".join)
def test_modinfo_of_compressed_modules(
    options: tuple[str, ...], trixie: Kernel, depmodded: Depmodded, trixie_tool: Tool
) -> None:
    """Every 25th, by name and by file."""
    root = depmodded(trixie, trixie_tool("depmod"))
    files = sorted(trixie.module_files())[::25]
    words = ["-b", str(root), "-k", trixie.release, *options]
    env = {**os.environ, "PYTHONPATH": str(SOURCES)}
    for names in ([file.name.removesuffix(".ko.xz") for file in files], list(map(str, files))):
        mine, theirs = (
            subprocess.run([*argv, *words, *names], stdout=subprocess.PIPE, check=True, env=env).stdout
            for argv in (ours("modinfo"), trixie_tool("modinfo"))
        )
        assert mine == theirs
        assert mine
