"""Choosing from a whole kernel, beside a plain reading of depmod's files and of paths."""

from __future__ import annotations

import re
import subprocess
import tarfile
from typing import TYPE_CHECKING

from kmodkit.core.names import name_from_path
from tests.commands import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from kmodkit import ScanResult
    from tests.real.conftest import Depmodded
    from tools.material import Kernel

RULES = ["drivers/net/ethernet/", "!drivers/net/ethernet/intel/", "e1000e", "-re:/(tulip|sfc)/"]


def dependencies(tree: Path) -> dict[str, list[str]]:
    """Return what the real depmod says: paths by path."""
    lines = (tree / "modules.dep").read_text().splitlines()
    return {path: needs.split() for path, _, needs in (line.partition(":") for line in lines)}


def test_rules_choose_what_paths_and_modules_dep_say(
    bookworm: Kernel, scan_of: Callable[[Kernel], ScanResult], depmodded: Depmodded
) -> None:
    """The last match decides, and hard dependencies come with it."""
    needs = dependencies(depmodded(bookworm) / "lib/modules" / bookworm.release)
    ethernet = "kernel/drivers/net/ethernet/"
    wanted = {
        path
        for path in needs
        if (path.startswith(ethernet) and not path.startswith(f"{ethernet}intel/")) or path.endswith("/e1000e.ko")
    }
    wanted = {path for path in wanted if "/tulip/" not in path and "/sfc/" not in path}
    assert len(wanted) > 50
    expected = wanted | {need for path in wanted for need in needs[path]}
    selection = scan_of(bookworm).catalog.select(rules=RULES, soft=False, weak=False)
    assert {module.path for module in selection.modules} == expected
    for chosen in selection.chosen:
        assert (len(chosen.chain) == 1) == (chosen.module.path in wanted)
        assert chosen.chain[-1].module == chosen.module.name
        assert {reason.kind for reason in chosen.chain[1:]} <= {"needs"}


def test_a_vendor_is_all_its_aliases_and_those_of_any_vendor(
    bookworm: Kernel, scan_of: Callable[[Kernel], ScanResult]
) -> None:
    """What a plain regular expression over the alias texts finds."""
    catalog = scan_of(bookworm).catalog
    vendor = re.compile(r"pci:v(00008086|\*)d")
    expected = {m.name for m in catalog if not m.builtin and any(map(vendor.match, m.aliases))}
    selection = catalog.select(modaliases=["pci:v00008086d*"], soft=False, weak=False)
    assert {c.module.name for c in selection.chosen if c.chain[-1].kind == "modalias"} == expected
    assert {"e1000e", "i915", "xhci_pci"} <= expected


def test_modules_go_into_a_tar_as_they_are(
    trixie: Kernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All drivers of a kind, the same bytes as in the package, and nothing is called missing that is there."""
    output = tmp_path / "all.tar"
    words = ["image", "--tree", trixie.modules, "--rule=drivers/net/wireless/", "--no-firmware", "--json"]
    ran = run(capsys, *words, "-o", output)
    assert (ran.status, ran.json["unmatched"], ran.json["broken"]) == (0, [], {})
    top = f"usr/lib/modules/{trixie.release}/"
    with tarfile.open(output) as archive:
        stored = {m.name.removeprefix(top): m for m in archive if m.isfile() and ".ko" in m.name}
        files = {str(path.relative_to(trixie.modules)) for path in trixie.module_files()}
        wireless = {path for path in files if "/drivers/net/wireless/" in path}
        assert len(wireless) > 50
        assert wireless <= set(stored) < files
        for path in sorted(stored)[::20]:
            member = archive.extractfile(stored[path])
            assert member is not None
            assert member.read() == (trixie.modules / path).read_bytes()


def test_the_real_modprobe_finds_its_way_in_an_image(
    bookworm: Kernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the indexes that are in it: the module and what it needs, by name and for a device."""
    output = tmp_path / "root"
    assert run(capsys, "image", "--tree", bookworm.modules, "r8169", "-o", output, "--prefix", "lib").status == 0
    for target in ("r8169", "pci:v000010ECd00008168sv00001043sd000085AAbc02sc00i00"):
        words = ["modprobe", "-d", str(output), "-S", bookworm.release, "--show-depends", target]
        shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        names = list(dict.fromkeys(name_from_path(line.split()[1]) for line in shown.splitlines()))
        assert names == ["libphy", "mdio_devres", "realtek", "r8169"]
