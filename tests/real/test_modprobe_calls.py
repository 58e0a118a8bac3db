"""Our modprobe beside kmod's, case by case: what is printed, the status, and the module calls and commands.

Both run over one made-up root that the real depmod has indexed, and over made-up loaded states. They are compared
with kmod 34.2, and some with 30 where that is installed.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmodkit.testing import ModuleBuilder
from tests.modprobes import OURS, SOURCES, Bench, Loaded, namespaces
from tests.require import need
from tools import material

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.modprobes import Did

RELEASE = "6.9.0"

MODULES = [
    ModuleBuilder(
        "base",
        exports={"base_sym": 0x1234, "other_sym": 5},
        modinfo=[("parm", "debug:How much to say"), ("parmtype", "debug:int"), ("parmtype", "other:charp")],
    ),
    ModuleBuilder("mid", undefined=["base_sym"], exports={"mid_sym": 7}, versions={"base_sym": 0x1234}),
    ModuleBuilder("top-mod", undefined=["mid_sym", "other_sym"], aliases=["pci:v00001234d*", "foo-alias"]),
    ModuleBuilder("alone"),
    ModuleBuilder("twin_a", aliases=["twin:*"]),
    ModuleBuilder("twin_b", aliases=["twin:*"]),
    ModuleBuilder("black", aliases=["pci:v0000BEEFd*"]),
    ModuleBuilder("black2", aliases=["pci:v0000BEEFd*"], undefined=["base_sym"]),
    ModuleBuilder("soft", softdeps=["pre: alone nosuch post: twin_a"]),
    ModuleBuilder("ring_a", softdeps=["pre: ring_b"]),
    ModuleBuilder("ring_b", softdeps=["pre: ring_a"]),
    ModuleBuilder("weak", weakdeps=["alone"]),
    ModuleBuilder("inst"),
    ModuleBuilder("rem"),
    ModuleBuilder("inst_dep", exports={"inst_sym": 1}),
    ModuleBuilder("need_inst", undefined=["inst_sym"]),
    ModuleBuilder("zipped", compression="xz"),
]

CONFIGS = {
    "none": "",
    "a": """\
alias al-one base
alias al-pat* mid
alias multi alone
alias multi base
blacklist black
options base debug=1
options base\tdebug=2\tother="a b"\t
options al_one fromalias=1
install inst echo INSTALL $CMDLINE_OPTS $MODPROBE_MODULE
remove rem echo REMOVE $MODPROBE_MODULE
softdep mid pre: alone post: twin_b twin_a
weakdep mid a b
install onlyname    /bin/true  -x
""",
    "b": """\
options twin_x opt2=1
options twin:x opt3=1
options twin_a own=1
options foo-* f=1
options foo_alias g=1
install inst_dep echo I:inst_dep:$CMDLINE_OPTS:$MODPROBE_MODULE; exit 3
install alias-inst echo I:alias-inst
install fails /bin/false
alias al-inst alias-inst
alias al-fails fails
alias al-nosuch nosuch
alias base alone
alias fnm[a-z]x base
alias wi?d mid
alias al-bi built_in
alias al-black black
alias chain1 chain2
alias chain2 base
blacklist black
blacklist mid
softdep need_inst pre: inst_dep
softdep alone pre: base
softdep twin_b pre: nosuch1 black built_in inst_dep
install glob* echo GLOB
install inst echo "$MODPROBE_OPTIONS:$MODPROBE_MODULE"
softdep virt pre: base post: alone
install virt echo VIRT
softdep virt2 pre: base
""",
    "c": """\
install alo* echo INST
softdep twin_* pre: weak
remove bas* echo RM
blacklist top*
options mi* q=1
softdep virt pre: nosuch
install virt echo VIRT
install zipped echo ZIP $CMDLINE_OPTS ${CMDLINE_OPTS} "$CMDLINE_OPTS"
softdep zipped pre: nosuch
options zipped zz=1
softdep inst pre: alone
softdep inst post: twin_a
install inst echo ONE
install inst echo TWO
alias weak nosuchx
alias weak weak
softdep need_inst post: need_inst
alias bl black
blacklist black
softdep ring_a pre: bl black post: pci:v0000BEEFdx
""",
    "d": """\
softdep top_mod pre: twin_a weak post: twin_b alone nosuch
softdep twin_b post: weak
remove inst_dep echo RM $MODPROBE_MODULE $CMDLINE_OPTS; exit 7
remove virt echo RMVIRT
softdep rem pre: alone
remove rem echo REM
""",
}

BUSY = (
    Loaded("base", 2, ("mid", "top_mod")),
    Loaded("mid", 1, ("top_mod",)),
    Loaded("top_mod"),
    Loaded("alone"),
    Loaded("twin_a"),
    Loaded("twin_b", 1),
    Loaded("soft"),
    Loaded("rem"),
    Loaded("need_inst"),
    Loaded("inst_dep", 1, ("need_inst",)),
)
IDLE_NAMES = "base mid top_mod alone twin_a twin_b soft inst rem need_inst inst_dep weak black2"
IDLE = (
    *map(Loaded, IDLE_NAMES.split()),
    Loaded("zipped", 1),
    Loaded("black", state="going"),
    Loaded("ring_a", state="coming"),
)
HELD = (
    Loaded("base", 1, ("mid",)),
    Loaded("mid", 2, ("top_mod", "black2")),
    Loaded("top_mod"),
    Loaded("black2"),
    Loaded("alone", 3),
)
RING = (Loaded("ring_a"), Loaded("ring_b"))

STATES: dict[str, Sequence[Loaded]] = {"": (), "busy": BUSY, "idle": IDLE, "held": HELD, "ring": RING}


@dataclass(frozen=True, slots=True)
class Case:
    """A call: its words, its configuration, what is loaded, and what the kernel answers."""

    words: str
    config: str = "a"
    state: str = ""
    answer: str = "retval=0"
    cmdline: str = ""
    options: str | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.config, self.state, self.answer.partition("error=")[2], self.words)))


LOADS = """
alone
base
top-mod
top_mod
pci:v00001234dxyz
-v foo-alias
-v al-one
-v al-pat-x
-v multi
-v twin:x
-v symbol:base_sym
symbol:nosuch
-v base x=1 y
base -v debug=1
-v -- base -x
-a base alone
-a -v base nosuch alone
-v soft
-v ring_a
-v weak
nosuch
-q nosuch
-v inst o=1 p=2
-v inst
-v -i inst o=1
-v onlyname a
-b black
black
pci:v0000BEEFdx
-b black2
-a -b black2 base
-v zipped
-f base
--force-vermagic base
--force-modversion base
built_in
bialias:foo
--first-time built_in
--first-time base
-v mid 'a=b c' d 'e="x y"' ''
-w 10 base
--wa 3 -n base
"""
SHOWS = """
-n top-mod
-nv top-mod
-D top-mod
-D inst
-D built_in
-D nosuch
-D soft
-n -v inst q=1
-D base x=1
-D pci:v0000BEEFdx
-D -b black
-Dq top_mod
-qv -n base
-vq -n base
-R pci:v0000BEEFdx
-R pci:v0000BEEFd[x
-R pci:v0000BEEFd-x
-R multi
-R al-one
-R nosuch
-R built-in
-R onlyname
-R base nosuch
-a -R base nosuch multi
-a -D base multi
-nv -a base top-mod
-c
-c extra
--showconfig
"""
WRONG = """
-a
-q
-Z base
--nosuch base
--fo base
-w x base
-w base
-d
--dirname
--all=x
"""
CONFIGURED = """
-v twin:x
-v twin:y
-v foo-alias
-v need_inst
-v inst_dep
-v al-inst
fails
al-fails
-v al-nosuch
-v base
-v fnmbx
-v wi-d
-v al-bi
-D al-bi
-v al-black
chain1
-v chain2
-v -b top-mod
-b -D mid
-v twin_b
globx
glob*
-v inst
-qv inst
-f inst
-nv virt
-v virt a=1
virt2
-i -v virt
-v -i need_inst
-i -a inst base
"""
PATTERNS = """
-v alone
-v twin_a
-rnv base
-b top-mod
-v mid
-v virt
-v zipped a=1
-v inst
-i -v inst
-v weak
-D weak
-v need_inst
-v ring_a
-bv ring_a
-D ring_a
"""
REMOVALS = """
-r top-mod
-rv top-mod
-rnv top-mod
-rv mid
-rv base
-rv alone
-rv twin_b
-rv nosuch
-rqv nosuch
-rv zipped
-r --first-time zipped
-rv built_in
-rv soft
-rv --remove-holders base
-rv --remove-holders twin_b
-rv --remove-dependencies mid
-rv rem
-riv rem
-rv alone twin_a
-rav alone nosuch twin_a
-rv alone nosuch twin_a
-rv al-one
-rv pci:v00001234dx
-rv twin:x
-rv need_inst
-rfv alone
-rv multi
-rv -w 50 twin_b
-rDv top-mod
-rD top-mod
-rR base
-rav soft twin_a
-rav mid twin_a
-rav twin_b built_in nosuch
-v base
--first-time base
-nv base
-D base
"""
UNUSED = """
-rv top-mod
-rvi top-mod
-rv mid
-rv rem
-rv virt
-r virt2
-rv inst_dep
-rav inst_dep alone
-rv need_inst
-rfv --remove-holders base
-rv black
-v black
"""
ERRORS = """
mid
--first-time alone
-a alone twin_a
zipped
soft
-q alone
"""


def cases(lines: str, config: str = "a", state: str = "", answer: str = "retval=0") -> list[Case]:
    """Return the cases of a table, one a line."""
    return [Case(line, config, state, answer) for line in lines.strip().split("\n")]


CASES = [
    *cases(LOADS),
    *cases(SHOWS),
    *cases(WRONG),
    *cases(CONFIGURED, "b"),
    *cases(PATTERNS, "c"),
    *cases(REMOVALS, "a", "busy"),
    *cases(UNUSED, "d", "idle"),
    *cases("-rv --remove-holders base\n-rv --remove-holders alone\n-rv base mid\n-r black2", "d", "held"),
    *(
        case
        for name in ("EAGAIN", "EPERM")
        for case in cases("-rv top-mod\n-rv alone twin_a", "d", "idle", f"error={name}")
    ),
    *(case for name in ("ENOENT", "EPERM", "EEXIST", "EINVAL") for case in cases(ERRORS, answer=f"error={name}")),
    Case("zipped", answer="error=EKEYREJECTED"),
    Case("-n base", options="-v"),
    Case("inst", "b", options="-v"),
    Case("-n base", options='-v "unterminated'),
    Case("base", options="--bogus"),
]


@dataclass(frozen=True, slots=True)
class World:
    """The root and the configurations that cases run in."""

    root: Path
    bench: Bench

    def did(self, tool: Sequence[str], case: Case) -> Did:
        """Return what a tool does in a case."""
        words = [
            "-d",
            str(self.root),
            "-S",
            RELEASE,
            "-C",
            str(self.bench.work / case.config),
            *shlex.split(case.words),
        ]
        return self.bench.run(
            tool,
            words,
            loaded=STATES[case.state],
            cmdline=case.cmdline,
            answer=case.answer,
            env=None if case.options is None else {"MODPROBE_OPTIONS": case.options},
        )


@functools.cache
def real_tool(name: str = "modprobe") -> list[str]:
    """Return the first arguments of a command that runs a tool of kmod 34.2."""
    found = material.cached_trixie_tool(name)
    return need(found, "trixie's kmod is not in the cache: make test fetches it", "kmod")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A root with modules and the real depmod's indexes."""
    namespaces()
    work = tmp_path_factory.mktemp("modprobe")
    root = work / "root"
    kernel = root / "usr/lib/modules" / RELEASE / "kernel"
    kernel.mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    for module in MODULES:
        module.write(kernel)
    tree = kernel.parent
    (tree / "modules.order").write_text("".join(f"kernel/{module.filename}\n" for module in MODULES))
    (tree / "modules.builtin").write_text("kernel/bi/built_in.ko\nkernel/bi/built-two.ko\n")
    (tree / "modules.builtin.modinfo").write_bytes(b"built_in.alias=bialias:*\0built_in.license=GPL\0")
    subprocess.run([*real_tool("depmod"), "-C", "/dev/null", "-b", str(root), RELEASE], check=True)
    for name, text in CONFIGS.items():
        (work / name).mkdir()
        (work / name / "x.conf").write_text(text)
    return World(root, Bench(work))


def messages(did: Did) -> list[str]:
    """Return the lines on standard error, but for our own warnings about parameters, which kmod lacks."""
    return [line for line in did.err.splitlines() if "lists no parameter" not in line]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_we_do_what_kmod_does(world: World, case: Case) -> None:
    """Output, messages, exit status and calls are those of kmod 34.2."""
    real = world.did(real_tool(), case)
    ours = world.did(OURS, case)
    assert (ours.status, ours.out, ours.calls) == (real.status, real.out, real.calls)
    assert messages(ours) == messages(real)


@pytest.mark.parametrize("case", CASES[::6], ids=str)
def test_kmod_30_agrees(world: World, case: Case) -> None:
    """What Debian's kmod 30 does is the same, but for the weakdep lines it does not know."""
    tool = need(material.machine_depmod(), "kmod is not installed", "kmod").with_name("modprobe")
    if "kmod version 30" not in subprocess.run([tool, "-V"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("the kmod of this machine is not 30")
    real = world.did([str(tool)], case)
    ours = world.did(OURS, case)
    out = "".join(line for line in ours.out.splitlines(keepends=True) if not line.startswith("weakdep "))
    assert (ours.status, out, ours.calls) == (real.status, real.out, real.calls)


def ours(world: World, words: str, config: str = "a", **options: str) -> Did:
    """Run ours alone."""
    return world.did(OURS, Case(words, config, **options))


def test_a_file_is_loaded_by_its_path(world: World) -> None:
    """With what the index says it needs."""
    path = world.root / "lib/modules" / RELEASE / "kernel/mid.ko"
    for words in (
        f"-v {path} a=1",
        f"-D {path}",
        f"-R {path}",
        f"-r {path}",
        "/nonexistent.ko",
        "./nonexistent.ko",
    ):
        case = Case(words, "none")
        real, mine = world.did(real_tool(), case), world.did(OURS, case)
        assert (mine.status, mine.out, mine.calls, messages(mine)) == (
            real.status,
            real.out,
            real.calls,
            messages(real),
        )


def test_symbols_of_a_file_are_shown(world: World) -> None:
    """Those needed and those exported, with their checksums."""
    kernel = world.root / "lib/modules" / RELEASE / "kernel"
    for words in (
        f"--show-modversions {kernel}/mid.ko",
        f"--dump-modversions {kernel}/base.ko",
        f"--show-exports {kernel}/base.ko",
        f"--show-exports {kernel}/zipped.ko.xz",
        "--show-exports /nonexistent",
        f"--show-exports {kernel.parent}/modules.dep",
    ):
        case = Case(words, "none")
        real, mine = world.did(real_tool(), case), world.did(OURS, case)
        assert (mine.status, mine.out, messages(mine)) == (real.status, real.out, messages(real))


def test_modules_outside_of_the_tree_are_loaded_from_there(world: World, tmp_path: Path) -> None:
    """depmod.d's external directories are in the index by their full path."""
    outside = tmp_path / "outside"
    outside.mkdir()
    ModuleBuilder("outer", undefined=["base_sym"]).write(outside)
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", str(world.root), str(root)], check=True)
    (tmp_path / "depmod.conf").write_text(f"search external built-in\nexternal * {outside}\n")
    words = ["-C", str(tmp_path / "depmod.conf"), "-b", str(root), RELEASE]
    subprocess.run([*real_tool("depmod"), *words], check=True)
    other = World(root, world.bench)
    case = Case("-v outer", "none")
    real, mine = other.did(real_tool(), case), other.did(OURS, case)
    assert str(outside / "outer.ko") in mine.out
    assert (mine.status, mine.out, mine.calls) == (real.status, real.out, real.calls)


def test_a_tree_without_indexes_has_no_modules(world: World, tmp_path: Path) -> None:
    """That is no error of its own."""
    empty = World(tmp_path, world.bench)
    for words in ("base", "-R base", "-D base", "-r base", "-c"):
        case = Case(words, "none")
        real, mine = empty.did(real_tool(), case), empty.did(OURS, case)
        assert (mine.status, mine.out, messages(mine)) == (real.status, real.out, messages(real))


# --- where we differ ----------------------------------------------------------------------------------------


def test_a_ring_of_soft_dependencies_ends_when_it_is_unloaded(world: World) -> None:
    """Kmod's own follows it until its stack is used up, where the modules stay loaded."""
    case = Case("-rv ring_a", "a", "ring")
    done = world.did(OURS, case)
    assert done.status == 0
    assert done.out == "rmmod ring_a\nrmmod ring_b\n"


def test_waiting_in_vain_is_a_failure(world: World) -> None:
    """Kmod tries as long, and then ends with status 0."""
    done = world.did(OURS, Case("-r -w 20 zipped", "a", "idle", "error=EAGAIN"))
    assert done.status == 1
    assert "could not remove 'zipped': Resource temporarily unavailable" in done.err
    assert len(done.calls) > 2
    assert set(done.calls) == {'delete_module("zipped", O_NONBLOCK)'}


def test_an_unknown_parameter_is_named(world: World) -> None:
    """The kernel would take it and write a line to its log."""
    done = ours(world, "base debug=1 dbug=2", "none")
    assert done.status == 0
    assert done.err == "modprobe: WARNING: Module base lists no parameter 'dbug'\n"
    assert ours(world, "-q base dbug=2", "none").err == ""


def test_an_unknown_parameter_can_be_an_error(world: World) -> None:
    """Nothing is loaded then, but what was before it."""
    done = ours(world, "--strict-params mid dbug=2", "none")
    assert done.status == 1
    assert done.err.startswith("modprobe: ERROR: Module mid lists no parameter 'dbug'\n")
    assert [call for call in done.calls if "mid.ko" in call] == []


def test_the_command_line_of_the_kernel_counts_last() -> None:
    """It adds options and blacklists, where no other root is asked for."""
    namespaces()
    cmdline = 'quiet base.debug=1 "base.other=a b" x-y.z-a=1 a.b.c=1 modprobe.blacklist=a,b-c,,'
    with tempfile.TemporaryDirectory() as directory:
        words = ["-S", "0", "-C", "/dev/null", "-c"]
        real, mine = (Bench(Path(directory)).run(tool, words, cmdline=cmdline) for tool in (real_tool(), OURS))
    assert 'options base other="a b"' in mine.out
    assert (mine.status, mine.out) == (real.status, real.out)


def test_the_command_line_of_this_kernel_says_nothing_of_another_root(world: World) -> None:
    """Kmod takes it for that, too."""
    case = Case("-D base", "none", cmdline="base.debug=9")
    assert "debug=9" in world.did(real_tool(), case).out
    assert "debug=9" not in world.did(OURS, case).out


def test_what_is_done_is_shown_as_json(world: World) -> None:
    """One document: each step with its parameters, and each error."""
    done = ours(world, "--json -n top-mod")
    steps = json.loads(done.out)
    assert [step["name"] for step in steps] == ["base", "alone", "mid", "twin_b", "twin_a", "top_mod"]
    assert steps[0]["action"] == "insmod"
    assert steps[0]["params"].startswith("debug=1 debug=2")
    failed = ours(world, "--json nosuch")
    assert failed.status == 1
    assert json.loads(failed.out)[0]["error"].startswith("Module nosuch not found")


def test_the_configuration_is_shown_as_json(world: World) -> None:
    """Every entry says where it stands."""
    config = json.loads(ours(world, "-c --json").out)
    path = str(world.bench.work / "a" / "x.conf")
    assert config["aliases"][0] == {
        "pattern": "al_one",
        "module": "base",
        "origin": {"path": path, "line": 1},
    }
    assert [soft["pre"] for soft in config["softdeps"] if soft["module"] == "mid"] == [["alone"]]


def test_an_explanation_names_the_line_of_each_reason(world: World) -> None:
    """Alias, blacklist, options, soft dependency and install line."""
    path = world.bench.work / "a" / "x.conf"
    text = ours(world, "--explain al-one").out
    assert f"al-one: alias line, means base ({path}:1)" in text
    assert f"because parameters 'fromalias=1' ({path}:8)" in text
    assert f"nothing is done: black is blacklisted ({path}:5)" in ours(world, "--explain pci:v0000BEEFdx").out
    assert f"because it is to come before mid ({path}:11)" in ours(world, "--explain mid").out
    assert f"an install line replaces loading it ({path}:9)" in ours(world, "--explain inst").out


def test_an_explanation_as_json_has_the_same(world: World) -> None:
    """Origins are a path and a line."""
    value = json.loads(ours(world, "--explain --json top-mod").out)
    (module,) = value["modules"]
    assert [step["name"] for step in module["steps"]] == ["base", "alone", "mid", "twin_b", "twin_a", "top_mod"]
    assert module["steps"][0]["because"][0]["text"] == "mid needs it"
    assert module["steps"][0]["because"][1]["origin"]["line"] == 6


def test_an_explanation_of_nothing_says_so(world: World) -> None:
    """Its status is 1."""
    done = ours(world, "--explain nosuch")
    assert (done.status, done.calls) == (1, ())
    assert "nosuch: no module" in done.out


def test_blacklisted_modules_are_found_among_all_that_are_needed(world: World) -> None:
    """Status 1 says that there is one."""
    path = world.bench.work / "b" / "x.conf"
    done = ours(world, "--blacklisted top-mod", "b")
    assert (done.status, done.out) == (1, f"mid ({path}:20)\n")
    assert ours(world, "--blacklisted twin_a", "b").status == 0


def test_a_dry_run_imports_nothing_heavy(world: World) -> None:
    """Start-up is what a modprobe costs."""
    code = (
        "import sys; from kmodkit.cli import main; main(sys.argv[1:]);"
        "print(*sorted({'google', 'rich', 'asn1crypto', 'subprocess', 'argparse', 'logging'} & set(sys.modules)))"
    )
    words = ["modprobe", "-d", str(world.root), "-S", RELEASE, "-C", "/dev/null", "-n", "top-mod"]
    env = {**os.environ, "PYTHONPATH": str(SOURCES)}
    done = subprocess.run([OURS[0], "-c", code, *words], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "\n"
