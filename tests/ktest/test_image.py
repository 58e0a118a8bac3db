"""What is in a guest's image, and when it is made anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kmodkit.core.cpio import Entry, unpack
from kmodkit.errors import KtestError
from kmodkit.ktest.cache import cached, prune
from kmodkit.ktest.image import ImageSpec, build
from kmodkit.ktest.interpreter import Interpreter, loadable, shared_libraries


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of this file's own."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of one module, in a directory of others."""
    (tmp_path / "site/mine").mkdir(parents=True)
    (tmp_path / "site/mine/__init__.py").write_text("x = 1\n")
    (tmp_path / "site/other.py").write_text("")
    return tmp_path / "site/mine"


def entries(spec: ImageSpec, cache: Path) -> dict[str, Entry]:
    """Return what is in the image of ``spec``."""
    return {entry.name: entry for entry in unpack(build(spec, root=cache).path.read_bytes())}


def test_package_is_at_the_path_it_has_here(package: Path, cache: Path) -> None:
    """With byte code, without its neighbours, and with its parent on the guest's sys.path."""
    found = entries(ImageSpec(python_path=(package,)), cache)
    name = str(package).lstrip("/")
    tag = sys.implementation.cache_tag
    assert found[f"{name}/__init__.py"].data == b"x = 1\n"
    assert f"{name}/__pycache__/__init__.{tag}.pyc" in found
    assert f"{package.parent}/other.py".lstrip("/") not in found
    assert f'"PYTHONPATH": "{package.parent}"'.encode() in found["etc/ktest.json"].data


def test_interpreter_is_whole_and_pruned(cache: Path) -> None:
    """What a test needs is there, what is large and needless is not."""
    found = entries(ImageSpec(), cache)
    python = Interpreter.query()
    stdlib = str(python.stdlib[0]).lstrip("/")
    assert {"init", "dev/console", "dev/urandom", "lib", str(python.executable).lstrip("/")} <= found.keys()
    assert f"{stdlib}/json/__init__.py" in found
    assert not any(name.startswith((f"{stdlib}/test/", f"{stdlib}/site-packages/")) for name in found)
    assert any(name.rpartition("/")[2].startswith("libc.so") for name in found)
    assert found["init"].data.startswith(b"#!" + bytes(python.executable))


def test_modules_lie_under_the_kernels_release(tmp_path: Path, cache: Path) -> None:
    """Wherever their tree is here; the lists of built-in modules come with them."""
    (tmp_path / "kernel").mkdir()
    for name in ("kernel/a.ko", "kernel/b.ko", "modules.builtin"):
        (tmp_path / name).write_text(name)
    spec = ImageSpec(modules_root=tmp_path, release="6.1", modules=(Path("kernel/a.ko"),))
    found = entries(spec, cache)
    assert found["usr/lib/modules/6.1/kernel/a.ko"].data == b"kernel/a.ko"
    assert "usr/lib/modules/6.1/modules.builtin" in found
    assert "usr/lib/modules/6.1/kernel/b.ko" not in found


def test_files_go_where_they_are_asked_for(tmp_path: Path, cache: Path) -> None:
    """A directory with all that is in it."""
    (tmp_path / "d/sub").mkdir(parents=True)
    (tmp_path / "d/sub/f").write_text("1")
    found = entries(ImageSpec(files=((tmp_path / "d", "/bin/d"), (tmp_path / "d/sub/f", "/etc/g"))), cache)
    assert found["usr/bin/d/sub/f"].data == found["etc/g"].data == b"1"


def test_image_is_made_anew_when_an_input_changes(package: Path, cache: Path) -> None:
    """And only then."""
    spec = ImageSpec(python_path=(package,))
    first = build(spec, root=cache)
    assert build(spec, root=cache) == first
    (package / "__init__.py").write_text("x = 2\n")
    assert build(spec, root=cache).key != first.key


@pytest.mark.parametrize(
    "spec",
    [
        ImageSpec(python_path=(Path("/nowhere"),)),
        ImageSpec(files=((Path("/nowhere"), "/x"),)),
        ImageSpec(files=((Path("/etc/passwd"), "relative"),)),
        ImageSpec(programs=(Path("no-such-program"),)),
        ImageSpec(distributions=("no-such-distribution",)),
        ImageSpec(python=Path("/nowhere")),
        ImageSpec(modules_root=Path("/etc"), release="", modules=(Path("passwd"),)),
        ImageSpec(modules_root=Path("/etc"), release="6.1", modules=(Path("nowhere.ko"),)),
    ],
)
def test_missing_input_is_an_error(spec: ImageSpec, cache: Path) -> None:
    """Before anything is made."""
    with pytest.raises(KtestError):
        build(spec, root=cache)


def test_trimmed_program_still_runs(tmp_path: Path) -> None:
    """The loader needs no section table."""
    program = Path("/bin/true").read_bytes()
    trimmed = loadable(program)
    (tmp_path / "true").write_bytes(trimmed)
    (tmp_path / "true").chmod(0o755)
    assert len(trimmed) < len(program)
    assert subprocess.run([tmp_path / "true"], check=False).returncode == 0
    assert loadable(b"no ELF") == b"no ELF"


def test_libraries_include_the_loader() -> None:
    """By the path that programs name it with."""
    assert any("ld-" in library.name for library in shared_libraries([Path("/bin/true")]))


def test_cache_entry_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """An interrupted maker leaves nothing behind that a later one would take."""

    def interrupted(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("thing", interrupted, root=tmp_path)
    assert cached("thing", lambda path: path.write_text("whole"), root=tmp_path).read_text() == "whole"


def test_least_recently_used_entries_go_first(tmp_path: Path) -> None:
    """Until the rest fits."""
    import os

    for age, name in enumerate(("new", "old")):
        cached(name, lambda path: path.write_bytes(bytes(100_000)), root=tmp_path)
        os.utime(tmp_path / f".{name}.lock", (1000 - age, 1000 - age))
    prune(tmp_path, limit=150_000)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["new"]
