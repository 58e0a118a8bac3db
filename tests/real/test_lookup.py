"""Lookups and dependencies of whole kernels, beside libc's fnmatch and the real libkmod, modprobe and depmod."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from bench import peers, queries
from kmodkit.core.alias import Pattern
from kmodkit.core.names import normalize_alias, to_bytes
from tests.require import need

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kmodkit import Catalog, Module, ScanResult
    from tests.real.conftest import Depmodded
    from tools.material import Kernel

COUNT = 6000
# Parts of the kernel with aliases that can be no module. libkmod gives them for those aliases and does not know
# them by name; we take the name too, and say that it is built in.
NEVER_MODULES = {"debugfs", "tracefs"}


def patterns_of(catalog: Catalog) -> list[Pattern]:
    """Return the catalog's patterns as the modules write them, each once."""
    aliases = dict.fromkeys(alias for module in catalog if not module.builtin for alias in module.aliases)
    return [Pattern.parse(alias) for alias in aliases]


def ask(catalog: Catalog) -> tuple[list[bytes], list[bytes]]:
    """Return queries that match at least one pattern, and as many that nearly or do not match one."""
    rng = Random(20240801)
    patterns = patterns_of(catalog)
    matching = queries.derived(patterns, COUNT, rng)
    apart = queries.near(matching[: COUNT // 2], rng) + queries.strangers(patterns, COUNT // 2, rng)
    return matching, apart


class Oracle:
    """libc's fnmatch over all patterns of a catalog, both sides normalised."""

    def __init__(self, catalog: Catalog, program: Path, scratch: Path) -> None:
        self.program = program
        self.scratch = scratch
        self.owners: dict[bytes, list[str]] = {}
        for module in catalog:
            for alias in module.aliases if not module.builtin else ():
                self.owners.setdefault(normalize_alias(to_bytes(alias)), []).append(module.name)
        self.patterns = list(self.owners)

    def __call__(self, texts: Sequence[bytes], *mode: str) -> list[set[str]]:
        """Return for each text the modules that fnmatch finds."""
        patterns = peers.write_texts(self.scratch / "patterns", self.patterns)
        asked = peers.write_texts(self.scratch / "queries", map(normalize_alias, texts))
        done = subprocess.run(
            [self.program, patterns, asked, *mode], check=True, stdout=subprocess.PIPE, text=True
        )
        lines = done.stdout.split("\n")[:-1]
        assert len(lines) == len(texts)
        return [
            {name for number in line.split() for name in self.owners[self.patterns[int(number)]]} for line in lines
        ]


@pytest.fixture
def oracle(scanned: ScanResult, build_dir: Path, tmp_path: Path) -> Oracle:
    """The oracle for each kernel in turn."""
    program = peers.compile_c(Path(__file__).with_name("oracle.c"), build_dir)
    return Oracle(scanned.catalog, program, tmp_path)


def found(catalog: Catalog, text: bytes) -> list[str]:
    """Return the names that our lookup gives."""
    return [module.name for module in catalog.lookup(text)]


def test_every_answer_is_that_of_fnmatch(scanned: ScanResult, oracle: Oracle) -> None:
    """Of 12,000 modaliases each finds the modules with a pattern that fnmatch(3) matches, in catalog order."""
    catalog = scanned.catalog
    position = {module.name: number for number, module in enumerate(catalog)}
    matching, apart = ask(catalog)
    answers = oracle([*matching, *apart])
    assert all(answers[:COUNT]), "a derived query matches its own pattern"
    assert sum(not answer for answer in answers[COUNT:]) > COUNT // 3
    for text, answer in zip([*matching, *apart], answers, strict=True):
        assert found(catalog, text) == sorted(answer, key=position.__getitem__), text


def test_every_pattern_is_found_by_a_text_of_its_own(scanned: ScanResult) -> None:
    """Each alias of the kernel leads to the module that has it, for one text made from it."""
    rng = Random(7)
    for module in scanned.catalog:
        for alias in module.aliases if not module.builtin else ():
            text = queries.fill(Pattern.parse(alias), rng)
            assert module in scanned.catalog.lookup(text), (alias, text)


def test_the_oracle_may_leave_out_what_begins_otherwise(scanned: ScanResult, oracle: Oracle) -> None:
    """Asking fnmatch for every single pair gives what the oracle gives by comparing the beginnings first."""
    matching, apart = ask(scanned.catalog)
    texts = [*matching[::200], *apart[::200]]
    assert oracle(texts, "full") == oracle(texts)


# --- the real tools -----------------------------------------------------------------------------------------


def libkmod_of(kernel: Kernel, root: Path, build_dir: Path, launcher: Sequence[str] = ()) -> peers.Libkmod:
    """Return libkmod on the depmod'ed copy of ``kernel`` at ``root``."""
    directory = root / kernel.modules.relative_to(kernel.root)
    found = peers.libkmod(directory, build_dir, launcher)
    return need(found, "the headers of libkmod are not there: install libkmod-dev", "kmod")


def compare(catalog: Catalog, libkmod: peers.Libkmod) -> None:
    """Assert that libkmod and we give the same modules for every query that both take."""
    matching, apart = ask(catalog)
    names = [module.name.encode() for module in catalog if module.name not in NEVER_MODULES]
    # libkmod refuses what has a bracket that is not closed (EINVAL); no device sends one, and we answer.
    asked = [text for text in (*matching, *apart, *names) if b"[" not in text and b"]" not in text]
    assert len(asked) > 2 * COUNT + len(names) - 100
    for text, answer in zip(asked, libkmod.answers(asked), strict=True):
        assert set(as_modprobe(catalog, text)) == set(answer), text


def as_modprobe(catalog: Catalog, text: bytes) -> list[str]:
    """Return what modprobe takes ``text`` for: what is built in only where nothing else matches."""
    resolved = catalog.resolve(text.decode("utf-8", "surrogateescape"))
    loadable = [module.name for module in resolved if not module.builtin]
    return loadable or [module.name for module in resolved]


def test_lookups_are_those_of_libkmod(
    bookworm: Kernel, scan_of: Callable[[Kernel], ScanResult], depmodded: Depmodded, build_dir: Path
) -> None:
    """The machine's libkmod over what its depmod wrote gives the same set for 12,000 modaliases and each name."""
    compare(scan_of(bookworm).catalog, libkmod_of(bookworm, depmodded(bookworm), build_dir))


def test_lookups_are_those_of_libkmod_34(
    trixie: Kernel,
    scan_of: Callable[[Kernel], ScanResult],
    depmodded: Depmodded,
    trixie_tool: Callable[[str], list[str]],
    build_dir: Path,
) -> None:
    """So does trixie's libkmod over what trixie's depmod wrote."""
    loader, option, libraries, *_ = trixie_tool("modprobe")
    root = depmodded(trixie, trixie_tool("depmod"))
    compare(scan_of(trixie).catalog, libkmod_of(trixie, root, build_dir, [loader, option, libraries]))


def test_lookups_are_those_of_modprobe(
    bookworm: Kernel, scan_of: Callable[[Kernel], ScanResult], depmodded: Depmodded, tmp_path: Path
) -> None:
    """`modprobe -R` prints the same modules for the aliases of a typical machine."""
    catalog = scan_of(bookworm).catalog
    root = depmodded(bookworm)
    need(Path("/usr/sbin/modprobe").exists(), "modprobe is not there", "kmod")
    for text in sorted(set(queries.typical_machine()))[::2]:
        options = ["-C", str(tmp_path), "-d", str(root), "-S", bookworm.release, "-qR"]
        argv = ["/usr/sbin/modprobe", *options, text.decode()]
        printed = subprocess.run(argv, check=False, stdout=subprocess.PIPE, text=True).stdout.split()
        assert set(printed) == set(as_modprobe(catalog, text)), text


@pytest.mark.parametrize("name", ["bookworm", "trixie"])
def test_dependencies_are_those_of_modules_dep(
    name: str,
    request: pytest.FixtureRequest,
    scan_of: Callable[[Kernel], ScanResult],
    depmodded: Depmodded,
    trixie_tool: Callable[[str], list[str]],
) -> None:
    """Each module needs what depmod found from the symbols, and comes behind all that it needs."""
    kernel: Kernel = request.getfixturevalue(name)
    catalog = scan_of(kernel).catalog
    root = depmodded(kernel, trixie_tool("depmod") if name == "trixie" else None)
    text = (root / kernel.modules.relative_to(kernel.root) / "modules.dep").read_text()
    listed = {path: set(needs.split()) for path, _, needs in (line.partition(":") for line in text.splitlines())}
    ours = {}
    for module in catalog:
        if module.path is not None:
            needs = catalog.dependencies(module.name)
            ours[module.path] = {need.path for need in needs if not need.builtin}
            check_order([*needs, module])
    assert ours == listed


def check_order(order: Sequence[Module]) -> None:
    """Assert that each module of ``order`` comes once, behind all that it needs."""
    seen: set[str] = set()
    for module in order:
        assert seen.issuperset(module.depends)
        assert module.name not in seen
        seen.add(module.name)
