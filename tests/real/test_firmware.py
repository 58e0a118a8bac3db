"""Firmware of a whole kernel out of Debian's packages, beside modinfo and a plain reading of the file system."""

from __future__ import annotations

import argparse
import errno
import functools
import glob
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf import text_format

from kmodkit.cli import fwprune
from kmodkit.core.whence import parse_whence
from kmodkit.firmware import InstalledFirmware, listed_firmware, resolve_firmware
from kmodkit.fsspec import fsspec_pb2
from tests.require import need
from tools import material

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kmodkit import ScanResult
    from kmodkit.firmware import FirmwareSelection
    from tools.material import Kernel

PACKAGES = ("amd-graphics", "iwlwifi", "realtek", "misc-nonfree", "atheros", "brcm80211")
# Five of different makers, and brcmfmac, which asks with wildcards, for files with blanks in their names too.
MODULES = ("i915", "amdgpu", "iwlwifi", "r8169", "ath10k_pci", "brcmfmac")


@pytest.fixture(scope="session")
def modinfo() -> str:
    """The machine's own modinfo."""
    found = shutil.which("modinfo") or shutil.which("modinfo", path="/usr/sbin:/sbin")
    return need(found, "modinfo is not there: install kmod", "kmod")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with firmware packages unpacked over one another."""
    top = tmp_path_factory.mktemp("firmware") / "root"
    for name in PACKAGES:
        package = material.cached_package("bookworm", "amd64", f"firmware-{name}")
        hint = f"python -m tools.material package bookworm amd64 firmware-{name}"
        there = need(package, f"firmware-{name} is not in the cache: {hint}", "firmware")
        shutil.copytree(there / "lib", top / "lib", symlinks=True, dirs_exist_ok=True, copy_function=link_or_copy)
    return top


def link_or_copy(source: str, target: str) -> None:
    """Make ``target`` without taking space where that can be done."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(source, target)


def asked_for(modinfo: str, *modules: Path) -> list[str]:
    """Return what the real modinfo says that module files ask for."""
    done = subprocess.run([modinfo, "-F", "firmware", *modules], check=True, capture_output=True, text=True)
    return list(dict.fromkeys(done.stdout.splitlines()))


def plain_reading(root: Path, patterns: Iterable[str]) -> tuple[set[str], dict[str, str], set[str]]:
    """Return files, links and patterns that match nothing, by nothing but the shell's globs and readlink."""
    base = root / "lib/firmware"
    files: set[str] = set()
    links: dict[str, str] = {}
    missing: set[str] = set()
    for pattern in patterns:
        found = [name for name in glob.glob(pattern, root_dir=base) if (base / name).is_file()]  # noqa: PTH207
        if not found:
            missing.add(pattern)
        for name in found:
            while (base / name).is_symlink():
                links[name] = str((base / name).readlink())
                name = os.path.normpath(Path(name).parent / links[name])
            files.add(name)
    return files, links, missing


def parts(selection: FirmwareSelection) -> tuple[set[str], dict[str, str], set[str]]:
    """Return a selection in the form of the plain reading."""
    return (
        {file.path for file in selection.files},
        {link.path: link.target for link in selection.links},
        {need.pattern for need in selection.missing},
    )


def tree_lines(root: Path) -> tuple[list[str], str]:
    """Return the paths of all firmware files, and a WHENCE that lists them and the links."""
    base = root / "lib/firmware"
    paths: list[str] = []
    lines: list[str] = []
    blank = "\\ "
    for top, _, names in os.walk(base):
        for name in names:
            path = Path(top, name)
            inner = str(path.relative_to(base)).replace(" ", blank)
            if path.is_symlink():
                lines.append(f"Link: {inner} -> {str(path.readlink()).replace(' ', blank)}")
            else:
                paths.append(str(path))
                lines.append(f"File: {inner}")
    return paths, "\n".join(lines)


@pytest.mark.parametrize("name", MODULES)
def test_the_files_of_a_module_are_those_of_a_plain_reading(
    name: str, bookworm: Kernel, scan_of: Callable[[Kernel], ScanResult], root: Path, modinfo: str
) -> None:
    """Files, links and what is not there; each file is read where it is and names the module."""
    module = scan_of(bookworm).catalog[name]
    assert module.path is not None
    asked = asked_for(modinfo, bookworm.modules / module.path)
    assert sorted(module.firmware) == sorted(asked)
    selection = resolve_firmware([module], InstalledFirmware(str(root), release=bookworm.release))
    assert parts(selection) == plain_reading(root, asked)
    assert selection.files
    for file in selection.files:
        assert file.source == str(root / "lib/firmware" / file.path)
        assert {need.module for need in file.needs} == {name}


def test_the_firmware_of_all_modules_is_that_of_a_plain_reading(
    bookworm: Kernel, scan_of: Callable[[Kernel], ScanResult], root: Path, modinfo: str
) -> None:
    """Two thousand names and patterns at once; nothing of the packages is lost on the way."""
    catalog = scan_of(bookworm).catalog
    selection = resolve_firmware(catalog, InstalledFirmware(str(root), release=bookworm.release))
    assert parts(selection) == plain_reading(root, asked_for(modinfo, *bookworm.module_files()))
    assert len(selection.files) > 1000
    assert selection.links


def test_a_list_with_a_whence_gives_what_the_installed_tree_gives(
    bookworm: Kernel, scan_of: Callable[[Kernel], ScanResult], root: Path
) -> None:
    """The same files below other prefixes, and the same links, now known from WHENCE alone."""
    catalog = scan_of(bookworm).catalog
    paths, text = tree_lines(root)
    whence = parse_whence(text)
    assert (len(whence.files), len(whence.links)) == (len(paths), len(text.splitlines()) - len(paths))
    # A bare list cannot tell b.bin from a/b.bin where a module asks for b.bin, so only exact names are compared.
    there = {file.name for file in whence.files} | {link.path for link in whence.links}
    listed = resolve_firmware(catalog, listed_firmware(paths, whence))
    by_prefix = str(root / "lib/firmware") + "/"
    exact = {file.path for file in listed.files if file.source == by_prefix + file.path}
    files, links, missing = parts(resolve_firmware(catalog, InstalledFirmware(str(root))))
    assert exact == files
    assert {link.path: link.target for link in listed.links} == links
    assert {need.pattern for need in listed.missing} <= missing
    assert not missing & there


def test_fwprune_on_a_real_kernel_lists_what_a_plain_reading_finds(
    bookworm: Kernel, root: Path, modinfo: str, tmp_path: Path
) -> None:
    """Every module, every file, every link, once; sources are there; twice the same bytes."""
    paths, text = tree_lines(root)
    (tmp_path / "list").write_text("\n".join(paths))
    (tmp_path / "WHENCE").write_text(text)
    call = functools.partial(fwprune_call, bookworm, tmp_path)
    assert call("a.txt") == call("b.txt") == 0
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()
    spec = text_format.Parse((tmp_path / "a.txt").read_text(), fsspec_pb2.FSSpec())
    modules = {f"/lib/modules/{path.relative_to(bookworm.modules)}" for path in bookworm.module_files()}
    files, links, _ = plain_reading(root, asked_for(modinfo, *bookworm.module_files()))
    found = {file.path for file in spec.file}
    assert len(found) == len(spec.file)
    assert {path for path in found if path.startswith("/lib/modules/")} == modules | {"/lib/modules/meta.pb"}
    assert {f"/lib/firmware/{path}" for path in files} <= found
    assert {link.path: link.target_path for link in spec.symbolic_link} == {
        f"/lib/firmware/{path}": target for path, target in links.items()
    }
    assert all(Path(file.source_path).is_file() for file in spec.file)


def fwprune_call(kernel: Kernel, folder: Path, output: str) -> int:
    """Run the verb on a kernel with the list and WHENCE in ``folder``."""
    parser = argparse.ArgumentParser()
    fwprune.add_arguments(parser)
    words = {
        "modinfo": kernel.modules / "modules.builtin.modinfo",
        "modules": kernel.modules,
        "firmware-file-list": folder / "list",
        "firmware-whence": folder / "WHENCE",
        "out-meta": folder / "meta.pb",
        "out-fsspec": folder / output,
    }
    return fwprune.run(
        parser.parse_args([word for name, path in words.items() for word in (f"--{name}", str(path))])
    )
