"""depmod beside the real ones of kmod 30 and 34: every file byte by byte, every message, every exit status."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from bench import peers, queries
from bench.depmod import copy_tree
from kmodkit.cli import main
from kmodkit.core.alias import Pattern
from kmodkit.depmod import Layout, generate, write_files
from kmodkit.installed import InstalledIndex
from kmodkit.testing import ModuleBuilder, write_tree
from tests.real.test_mutation import mutate
from tests.require import need
from tools import material

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kmodkit import ScanResult
    from tests.real.conftest import Depmodded
    from tools.material import Kernel

INDEX_CASES = 2_500  # of each of twelve kinds of file
KERNELS_OF_30 = ("bookworm-amd64", "bookworm-rt-amd64")
KERNELS_OF_34 = ("bookworm-amd64", "trixie-amd64", "trixie-s390x", "trixie-armhf")


def index_directory(kernel: Kernel, root: Path) -> Path:
    """Return the directory of a kernel's indexes below the root of a copy."""
    return root / kernel.modules.relative_to(kernel.root)


def cached(key: str) -> Kernel:
    """Return a kernel, which need not be one that every run fetches."""
    return need(material.cached_kernel(key), f"{key} is not in the cache: make test fetches it", "kernels")


@pytest.mark.parametrize(
    ("key", "layout"),
    [
        *((key, Layout.CHILDREN_FIRST) for key in KERNELS_OF_30),
        *((key, Layout.PARENTS_FIRST) for key in KERNELS_OF_34),
    ],
)
def test_every_file_of_a_kernel_is_byte_identical(
    key: str, layout: Layout, depmodded: Depmodded, trixie_tool: Callable[[str], list[str]]
) -> None:
    """All that the depmod of the same release writes is written, and nothing else."""
    if key == "bookworm-rt-amd64" and material.cached_kernel(key) is None:
        pytest.skip("bookworm-rt-amd64 is not in the cache: python -m tools.material fetch bookworm-rt-amd64")
    kernel = cached(key)
    if layout is Layout.CHILDREN_FIRST and machine_release() < 30:
        pytest.skip("the machine's depmod is older")
    if layout is Layout.CHILDREN_FIRST and machine_release() >= 34:
        pytest.skip("the machine's depmod writes the newer format")
    root = depmodded(kernel, trixie_tool("depmod") if layout is Layout.PARENTS_FIRST else None)
    directory = index_directory(kernel, root)
    made = generate(directory, layout=layout)
    assert made.messages == ()
    given = {path.name for path in kernel.modules.glob("modules.*")}
    real = {path.name: path.read_bytes() for path in directory.glob("modules.*") if path.name not in given}
    assert made.files.keys() == real.keys()
    assert [name for name, data in made.files.items() if data != real[name]] == []


def test_the_command_writes_the_same_with_two_processes_and_a_cache(
    bookworm: Kernel, depmodded: Depmodded, trixie_tool: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """As a program of its own, which forks where it may: first, with nothing to do, and after damage to a file."""
    directory = index_directory(bookworm, root := depmodded(bookworm, trixie_tool("depmod")))
    out = index_directory(bookworm, tmp_path / "out")
    for damage in ("", "", "modules.alias.bin", "modules.dep"):
        if damage:
            (out / damage).write_bytes(b"damaged")
        words = [
            "-b",
            str(root),
            "-o",
            str(tmp_path / "out"),
            "-C",
            "/dev/null",
            "--incremental",
            bookworm.release,
        ]
        done = subprocess.run(
            [sys.executable, "-m", "kmodkit", "depmod", *words], capture_output=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        given = {path.name for path in bookworm.modules.glob("modules.*")}
        real = {path.name: path.read_bytes() for path in directory.glob("modules.*") if path.name not in given}
        assert [name for name, data in real.items() if (out / name).read_bytes() != data] == []


def test_runs_that_go_on_write_what_depmod_does(
    bookworm: Kernel, depmodded: Depmodded, trixie_tool: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """Modules from outside of the kernel come, change and go, some of them in need of the kernel's."""
    root = depmodded(bookworm, trixie_tool("depmod"))
    # Beside it, as links reach no other file system.
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        copy = copy_tree(root, Path(scratch, "root"))
        directory = index_directory(bookworm, copy)
        extra = directory / "updates/dkms"
        extra.mkdir(parents=True)
        steps: list[dict[str, ModuleBuilder | None]] = [
            {},
            {
                "zfs": ModuleBuilder(
                    "zfs", aliases=["fs-zfs", "devname:zfs", "char-major-10-249"], softdeps=["pre: spl"]
                )
            },
            {"e1000e": ModuleBuilder("e1000e", aliases=["pci:v00008086d*sv*sd*bc*sc*i*"], undefined=["printk"])},
            {
                "mine": ModuleBuilder(
                    "mine", undefined=["mdiobus_register", "usb_register_driver"], weakdeps=["snd"]
                )
            },
            {"mine": ModuleBuilder("mine", undefined=["ptp_clock_register"]), "zfs": None},
            {"mine": None},
        ]
        for number, step in enumerate(steps):
            for name, module in step.items():
                if module is None:
                    (extra / f"{name}.ko").unlink()
                else:
                    module.write(extra)
            time.sleep(0.1)
            found = generate(directory, cache=tmp_path / "cache", previous=directory)
            # A second e1000e takes the first one's place, in the midst of all.
            assert (found.changed is not None) is (number not in (0, 2))
            write_files(directory, found.files)
            ours = {name: (directory / name).read_bytes() for name in found.files}
            assert ours == found.files
            words = ["-b", str(copy), "-C", "/dev/null", bookworm.release]
            subprocess.run([*trixie_tool("depmod"), *words], check=True)
            assert [name for name, data in ours.items() if (directory / name).read_bytes() != data] == []


def machine_release() -> int:
    """Return the release of the machine's kmod."""
    tool = need(material.machine_depmod(), "depmod is not there", "kmod")
    text = subprocess.run([tool, "--version"], check=True, capture_output=True, text=True).stdout
    return int(text.split()[2].partition(".")[0])


# --- synthetic trees ----------------------------------------------------------------------------------------

RELEASE = "6.99.0"
A = ModuleBuilder("a", exports={"a1": 0x11, "a2": 0x12}, undefined=["printk"], aliases=["pci:v1*", "x-[a-b]-c"])
B = ModuleBuilder("b", exports={"b1": 1}, undefined=["a1", "c1"], softdeps=["pre: a"], weakdeps=["q"])
C = ModuleBuilder("c", exports={"c1": 0x33}, aliases=["pci:v1*"])
THREE = {"kernel/a.ko": A, "kernel/b.ko": B, "kernel/c.ko": C}
NEW = ModuleBuilder("a", aliases=["new"])
SYSTEM_MAP = b"0000 T foo\n0000 R __ksymtab_printk\n00 R __ksymtab_c1\n"
SYMVERS = b"0x00000005\tprintk\tvmlinux\tEXPORT_SYMBOL\n0x1\tother\tdrivers/x\tE\nshort line\n"
NEEDY = ModuleBuilder(
    "d", undefined=["nosuch", "printk", "a1"], versions={"printk": 6, "a1": 0x11, "module_layout": 9}
)


def ring(*pairs: str) -> dict[str, ModuleBuilder]:
    """Return modules of which the first of each pair needs the second."""
    return {
        f"kernel/{one}.ko": ModuleBuilder(one, exports={f"{one}1": 1}, undefined=[f"{other}1"])
        for one, other in map(tuple, pairs)
    }


@dataclass(frozen=True)
class Case:
    """A tree and a call: ``@`` in words is the root. ``files`` are written below that, None removes one."""

    name: str
    modules: Mapping[str, ModuleBuilder] = field(default_factory=lambda: THREE)
    words: tuple[str, ...] = ()
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    order: Sequence[str] | None = None
    builtin: Sequence[str] = ()
    builtin_aliases: Sequence[str] = ()
    status: int = 0


def in_tree(name: str) -> str:
    """Return the path of a file of the tree."""
    return f"lib/modules/{RELEASE}/{name}"


def configured(name: str, text: str, modules: Mapping[str, ModuleBuilder], **more: bytes) -> Case:
    """Return a case with a depmod.d."""
    return Case(name, modules, ("-C", "@/conf"), {"conf/x.conf": text.encode(), **more})


CASES = [
    Case("plain", builtin=("kernel/z-z.ko", "kernel/y.ko"), builtin_aliases=("y-1", "y_1", "y[-]-", "q]")),
    Case("show", words=("-n",)),
    Case("verbose", words=("-v",)),
    Case("warn", {**THREE, "kernel/d.ko": ModuleBuilder("d", aliases=["x-1", "x_1", "x-1"])}, ("-w",)),
    Case("no built-ins", files={in_tree("modules.builtin"): None, in_tree("modules.builtin.modinfo"): None}),
    Case("no order", files={in_tree("modules.order"): None}),
    Case("an order with repeats", order=["kernel/c.ko", "kernel/b.ko", "gone.ko", "kernel/c.ko"]),
    Case("more repeats than modules", order=[*["kernel/b.ko"] * 4, "kernel/c.ko", "kernel/b.ko", "gone.ko"]),
    Case("an order that is cut short", files={in_tree("modules.order"): b"kernel/c.ko\nkernel/b.k"}),
    Case("two in a cycle", ring("ab", "ba"), status=1),
    Case("three in a cycle", ring("ab", "bc", "ca", "da"), status=1),
    Case("two cycles", ring("ab", "ba", "cd", "dc", "ec"), status=1),
    Case("its own cycle", ring("aa"), status=1),
    Case(
        "brackets", {"kernel/a.ko": ModuleBuilder("a", aliases=["x[a", "y]b", "z[-]-", "w[a]b]", "q[[a]-", "[]-"])}
    ),
    Case(
        "device nodes",
        {
            "kernel/a.ko": ModuleBuilder("a", aliases=["devname:foo/bar", "char-major-10-*"]),
            "kernel/b.ko": ModuleBuilder("b", aliases=["char-major-10-200", "devname:tun"]),
            "kernel/c.ko": ModuleBuilder("c", aliases=["devname:x", "block-major-7-3x", "char-major-1-2"]),
        },
    ),
    Case(
        "compressed",
        {
            "kernel/a.ko": ModuleBuilder("a", compression="zst", exports={"q": 1}),
            "kernel/b.ko": ModuleBuilder("b", compression="xz", undefined=["q"]),
        },
    ),
    Case("updates", {**THREE, "updates/a.ko": NEW}),
    configured("a search order", "search extra built-in\n", {**THREE, "extra/a.ko": NEW}),
    configured("another search order", "search built-in extra\n", {**THREE, "extra/a.ko": NEW}),
    configured(
        "overrides",
        "override a 6\\.9.* zz\noverride a * nothere\noverride c ^5 zz\n",
        {**THREE, "zz/a.ko": NEW, "zz/c.ko": ModuleBuilder("c", aliases=["not"])},
    ),
    configured("exclusions", "exclude zz source\n", {**THREE, "zz/d.ko": ModuleBuilder("d")}),
    configured(
        "bad lines",
        "# x\nfoo bar\noverride a\n \nsearch \\\n updates\nexternal x\nbar\\\nbaz\nmake_map_files no\n",
        THREE,
    ),
    configured("an external directory that is not there", "search external\nexternal 6.* /no/such\n", THREE),
    Case("-e alone", words=("-e",)),
    Case("-e -F", {**THREE, "kernel/d.ko": NEEDY}, ("-e", "-F", "@/map"), {"map": SYSTEM_MAP}),
    Case("-e -E", {**THREE, "kernel/d.ko": NEEDY}, ("-e", "-E", "@/symvers"), {"symvers": SYMVERS}),
    Case("-E", {**THREE, "kernel/d.ko": NEEDY}, ("-E", "@/symvers"), {"symvers": SYMVERS}),
    Case(
        "-P",
        {
            "kernel/a.ko": ModuleBuilder("a", exports={"_a1": 1, "b": 2}),
            "kernel/b.ko": ModuleBuilder("b", undefined=["a1"]),
            "kernel/c.ko": ModuleBuilder("c", undefined=["_b"]),
            "kernel/d.ko": ModuleBuilder("d", undefined=[".b"]),
        },
        ("-P", "_"),
    ),
    Case("-o", words=("-o", "@/out")),
    Case("-m", words=("-m", "//lib/../lib/modules")),
    Case("-A without indexes", words=("-A",)),
    Case("-A -n", words=("-A", "-n")),
    Case("-a and a file", words=("-a", RELEASE, "/no/such.ko")),
    Case("some files", words=(RELEASE, f"@/{in_tree('kernel/b.ko')}", f"@/{in_tree('kernel/a.ko')}")),
    Case("a file with a relative path", words=(RELEASE, "kernel/a.ko"), status=1),
    Case("a file that is not there", words=(RELEASE, "/no/such.ko"), status=1),
    Case(
        "dots and dashes in names",
        {
            "kernel/foo.bar.ko": ModuleBuilder("foo"),
            "kernel/x-y.ko": ModuleBuilder("x_y", exports={"s": 1}),
            "kernel/z.ko": ModuleBuilder("z", undefined=["s"]),
        },
        builtin=("kernel/q-r.ko", "kernel/s.t.ko"),
    ),
    Case("a bad list of built-ins", builtin=("/x/y.ko", "kernel/y.ko")),
    Case(
        "a symbol of two modules",
        {
            "kernel/a.ko": ModuleBuilder("a", exports={"s": 1}),
            "kernel/b.ko": ModuleBuilder("b", exports={"s": 1}),
            "kernel/c.ko": ModuleBuilder("c", undefined=["s"]),
        },
        ("-w",),
    ),
    Case(
        "odd entries of .modinfo",
        {
            "kernel/a.ko": ModuleBuilder(
                "a", sections={".modinfo": b"\0\0alias=x\0none\0alias=\0=y\0alias\0softdep\0weakdep=q r\0alias=z"}
            )
        },
    ),
    Case(
        "big-endian and 32 bits",
        {
            "kernel/a.ko": ModuleBuilder("a", bits=32, byteorder="big", exports={"s": 1}),
            "kernel/b.ko": ModuleBuilder("b", bits=64, byteorder="big", undefined=["s"]),
            "kernel/c.ko": ModuleBuilder("c", bits=32, undefined=["s"]),
        },
    ),
    Case(
        "versions without symbols",
        {
            "kernel/a.ko": ModuleBuilder("a", exports={"s": 1}),
            "kernel/b.ko": ModuleBuilder("b", versions={"s": 1, "module_layout": 4, "t": 5}),
        },
    ),
    Case("build and source", {"build/a.ko": A, "kernel/source/c.ko": C, "kernel/x/b.ko": B}),
    Case("no modules", {}),
]


def prepare(case: Case, root: Path) -> list[str]:
    """Write a case's tree and return the words of its call."""
    builtin = {path: [("alias", alias) for alias in case.builtin_aliases] for path in case.builtin}
    write_tree(root / "lib/modules" / RELEASE, case.modules, order=case.order, builtin=builtin)
    for name, data in case.files.items():
        path = root / name
        if data is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    words = [word.replace("@", str(root)) for word in case.words]
    config = [] if "-C" in words else ["-C", "/dev/null"]
    return ["-b", str(root), *config, *words, *([] if RELEASE in words else [RELEASE])]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_output_messages_and_status_are_those_of_depmod(
    case: Case, tmp_path: Path, trixie_tool: Callable[[str], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    """For the same tree and the same words: what is written, printed and said, and the exit status."""
    outcomes = []
    for name in ("real", "ours"):
        root = tmp_path / name
        words = prepare(case, root)
        capfd.readouterr()
        if name == "real":
            status = subprocess.run([*trixie_tool("depmod"), *words], check=False).returncode
        else:
            status = main(["depmod", *words])
        said = [text.replace(str(root), "@") for text in capfd.readouterr()]
        files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("modules.*")}
        outcomes.append((status, *said, files))
    assert outcomes[1] == outcomes[0]
    assert outcomes[0][0] == case.status


@pytest.mark.parametrize("words", [["-P", "ab"], ["six"], ["--nothing"], ["-E", "/no/such", RELEASE], ["-b"]])
def test_wrong_words_are_refused_alike(
    words: list[str], trixie_tool: Callable[[str], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    """The same message and the same status."""
    real = subprocess.run([*trixie_tool("depmod"), *words], check=False, capture_output=True, text=True)
    capfd.readouterr()
    assert (main(["depmod", *words]), *capfd.readouterr()) == (real.returncode, real.stdout, real.stderr)


@pytest.mark.parametrize("data", [b"junk" * 30, b"", b"\x7fELF" + bytes(200)])
def test_a_broken_module_changes_the_reason_alone(
    data: bytes, tmp_path: Path, trixie_tool: Callable[[str], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Depmod gives the errno of its parser; we say what is wrong. The files and the status are the same."""
    case = Case("broken", files={in_tree("kernel/b.ko"): data})
    found = []
    for name in ("real", "ours"):
        words = prepare(case, tmp_path / name)
        capfd.readouterr()
        tool = trixie_tool("depmod") if name == "real" else [sys.executable, "-m", "kmodkit", "depmod"]
        status = subprocess.run([*tool, *words], check=False).returncode
        said = capfd.readouterr().err.replace(str(tmp_path / name), "@")
        files = {path.name: path.read_bytes() for path in (tmp_path / name).rglob("modules.*")}
        found.append((status, files, said.rpartition(": ")[0]))
    assert found[0] == found[1]
    assert found[0][2] == f"depmod: ERROR: failed to load symbols from @/{in_tree('kernel/b.ko')}"


# --- lookups ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["bookworm-amd64", "trixie-amd64"])
def test_lookups_in_an_index_are_those_of_libkmod(key: str, depmodded: Depmodded, build_dir: Path) -> None:
    """Of 10,000 modaliases each gives the modules that libkmod gives, in its order."""
    kernel = cached(key)
    directory = index_directory(kernel, depmodded(kernel))
    libkmod = need(peers.libkmod(directory, build_dir), "libkmod's headers are not there: libkmod-dev", "kmod")
    index = InstalledIndex.open(directory)
    rng = Random(34)
    patterns = [Pattern.parse(alias) for alias, _ in index.aliases()]
    matching = queries.derived(patterns, 4000, rng)
    texts = [*matching, *queries.near(matching, rng), *queries.strangers(patterns, 2000, rng)]
    names = set(index.names())
    compared = 0
    for text, answer in zip(texts, libkmod.answers(texts), strict=True):
        # libkmod takes the name of a module for that module first, what no loadable one has for a built-in alias,
        # and refuses brackets that do not match: none of that is a lookup in this index.
        if answer[:1] == ("!",) or text.decode("latin-1").replace("-", "_") in names:
            continue
        found = index.lookup(text)
        if found or not index.lookup_builtin(text):
            assert found == tuple(dict.fromkeys(answer)), text
            compared += 1
    assert compared > 9900


def test_the_catalog_of_an_index_is_that_of_a_scan(
    kernel: Kernel,
    depmodded: Depmodded,
    scan_of: Callable[[Kernel], ScanResult],
    trixie_tool: Callable[[str], list[str]],
) -> None:
    """The same modules, order, paths, aliases, soft and weak dependencies, and the same closures."""
    catalog = InstalledIndex.open(index_directory(kernel, depmodded(kernel, trixie_tool("depmod")))).catalog()
    scanned = scan_of(kernel).catalog
    loadable = [module for module in scanned if not module.builtin]
    assert [module.name for module in catalog if not module.builtin] == [module.name for module in loadable]
    for module in loadable:
        found = catalog[module.name]
        assert (found.path, found.aliases, found.softdeps, found.weakdeps) == (
            module.path, module.aliases, module.softdeps, module.weakdeps,
        )  # fmt: skip
        assert {need.name for need in catalog.dependencies(module.name) if not need.builtin} == {
            need.name for need in scanned.dependencies(module.name) if not need.builtin
        }


# --- damage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dep", "alias", "symbols", "builtin", "builtin.alias"])
def test_damaged_binary_indexes(name: str, s390x: Kernel, tmp_path: Path) -> None:
    """Reading one in every way ends, and well or in a KmodError with the offset."""
    files = []
    for layout in Layout:
        # A part of a kernel, so that many cases are quick; the nodes are those of all sizes.
        path = tmp_path / f"{layout.value}.bin"
        path.write_bytes(part_of(s390x, layout)[f"modules.{name}.bin"])
        files.append(path)
    read, refused = mutate("index", name, INDEX_CASES, files)
    assert min(read, refused) > INDEX_CASES / 50


@pytest.mark.parametrize("name", ["dep", "alias", "symbols", "softdep", "weakdep", "devname"])
def test_damaged_text_files(name: str, s390x: Kernel, tmp_path: Path) -> None:
    """The same for the text files, of which the name says the format."""
    path = tmp_path / f"modules.{name}"
    extra = {"weakdep": b"weakdep a b c\n", "devname": b"fuse fuse c10:229\n"}.get(name, b"")
    path.write_bytes(part_of(s390x, Layout.PARENTS_FIRST)[f"modules.{name}"] + extra)
    read, refused = mutate(f"text-{name}", name, INDEX_CASES, [path])
    assert read > INDEX_CASES / 50 and refused > INDEX_CASES / 500


def test_a_damaged_cache(s390x: Kernel, tmp_path: Path) -> None:
    """A cache that is not whole is refused, so that it is made anew."""
    path = tmp_path / "cache"
    generate(s390x.modules, paths=part_paths(s390x), cache=path)
    _, refused = mutate("cache", "cache", INDEX_CASES, [path])
    assert refused > INDEX_CASES * 9 / 10


def part_paths(kernel: Kernel) -> list[str]:
    """Return the paths of some modules."""
    return [str(path) for path in sorted(kernel.module_files())[::25]]


def part_of(kernel: Kernel, layout: Layout) -> Mapping[str, bytes]:
    """Return depmod's files of some modules of a kernel."""
    return generate(kernel.modules, paths=part_paths(kernel), layout=layout).files
