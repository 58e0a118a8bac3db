"""Scans that read only what has changed."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kmodkit import scanner
from kmodkit.core.modcache import FileState, ModuleFacts, encode_cache
from kmodkit.errors import FileError
from kmodkit.kernel import files
from kmodkit.kernel.filestate import file_state, settled
from kmodkit.scanner import scan
from kmodkit.testing import ModuleBuilder, write_tree
from kmodkit.update import update_metadata
from tests import mutate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree of three modules that are old enough to be relied on."""
    root = write_tree(
        tmp_path / "tree",
        {f"kernel/{name}.ko": ModuleBuilder(name, aliases=[f"{name}:*"]) for name in ("a", "b", "c")},
    )
    time.sleep(0.05)
    return root


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the modules whose files are opened."""
    names: list[str] = []
    read = files.read_section

    def reading(path: str, **words: int) -> bytes:
        names.append(path.rpartition("/")[2])
        return read(path, **words)

    monkeypatch.setattr(scanner, "read_section", reading)
    return names


def test_a_module_that_has_not_changed_is_not_opened(tree: Path, tmp_path: Path, opened: list[str]) -> None:
    """And the result is that of a full scan."""
    first = scan(tree, cache=tmp_path / "cache")
    assert opened == ["a.ko", "b.ko", "c.ko"]
    opened.clear()
    assert scan(tree, cache=tmp_path / "cache") == first
    assert opened == []


def test_what_changed_is_read_again(tree: Path, tmp_path: Path, opened: list[str]) -> None:
    """Also where size and modification time are as before: the change time is not, nor the inode."""
    scan(tree, cache=tmp_path / "cache")
    old = (tree / "kernel/b.ko").stat()
    data = (tree / "kernel/b.ko").read_bytes()
    (tree / "kernel/b.ko").write_bytes(data.replace(b"alias=b:*", b"alias=x:*"))
    os.utime(tree / "kernel/b.ko", ns=(old.st_atime_ns, old.st_mtime_ns))
    (tree / "kernel/c.ko").unlink()
    opened.clear()
    result = scan(tree, cache=tmp_path / "cache")
    assert opened == ["b.ko"]
    assert [module.name for module in result.catalog] == ["a", "b"]
    assert result.catalog["b"].aliases == ("x:*",)


def test_a_file_too_new_is_not_relied_on(tree: Path, tmp_path: Path, opened: list[str]) -> None:
    """It could change once more within the tick of the clock that its times show."""
    ModuleBuilder("a", aliases=["new:*"]).write(tree / "kernel")
    scan(tree, cache=tmp_path / "cache")
    opened.clear()
    scan(tree, cache=tmp_path / "cache")
    assert "a.ko" in opened


def test_states_are_settled_once_the_clock_went_on() -> None:
    """Two seconds where the file system keeps whole ones; a file that is not there never is."""
    fine, coarse = FileState(1, 0, 1_000_000_001, 1, 1), FileState(1, 0, 1_000_000_000, 1, 1)
    assert settled([fine], 1_100_000_000)
    assert not settled([fine], 1_010_000_000)
    assert not settled([fine, coarse], 1_100_000_000)
    assert settled([fine, coarse], 3_100_000_000)
    assert not settled([None], 3_100_000_000)
    assert not settled([fine], 900_000_000)


def test_a_damaged_cache_is_made_anew(tree: Path, tmp_path: Path) -> None:
    """Whatever is in it, the answer is that of a full scan."""
    expected = scan(tree)
    cache = tmp_path / "cache"
    update_metadata(tmp_path / "meta.pb", tree, cache=cache)
    good = cache.read_bytes()
    wanted = (tmp_path / "meta.pb").read_bytes()

    def ask(data: bytes) -> None:
        cache.write_bytes(data)
        assert scan(tree, cache=cache) == expected
        cache.write_bytes(data)
        update_metadata(tmp_path / "meta.pb", tree, cache=cache)
        assert (tmp_path / "meta.pb").read_bytes() == wanted

    mutate.run(ask, [good], seed=5, cases=range(60))


@pytest.mark.parametrize(
    "stamp", [b"", b"[]", b"{", b"[1,2,3]", b"{}", b"[" * 2000, b'["a","b","c","d","e","f"]', b"9" * 5000]
)
def test_a_stamp_that_means_nothing_is_none(tree: Path, tmp_path: Path, stamp: bytes) -> None:
    """The index is written."""
    state = file_state(str(tree / "kernel/a.ko"))
    assert state is not None
    (tmp_path / "cache").write_bytes(encode_cache({b"": (state, ModuleFacts(stamp, b"", b""))}))
    assert update_metadata(tmp_path / "meta.pb", tree, cache=tmp_path / "cache").changed


def test_the_lists_of_the_kernel_count_too(tree: Path, tmp_path: Path) -> None:
    """What is built in, and the order."""
    cache = tmp_path / "cache"
    assert update_metadata(tmp_path / "meta.pb", tree, cache=cache).changed
    assert not update_metadata(tmp_path / "meta.pb", tree, cache=cache).changed
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        data = {"modules.builtin.modinfo": b"d.alias=d:*\0"}.get(name, b"kernel/c.ko\n")
        (tree / name).write_bytes(data)
        assert update_metadata(tmp_path / "meta.pb", tree, cache=cache).changed
        assert scanner.load_metadata(tmp_path / "meta.pb") == scan(tree).catalog
        assert not update_metadata(tmp_path / "meta.pb", tree, cache=cache).changed


def test_a_cache_that_cannot_be_written_is_an_error(tree: Path, tmp_path: Path) -> None:
    """It was asked for."""
    with pytest.raises(FileError, match="nowhere"):
        scan(tree, cache=tmp_path / "nowhere/cache")


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "change", "remove", "move", "touch", "order"]), st.sampled_from("abcd")),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(STEPS)
def test_an_update_is_always_what_a_full_run_writes(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    """Whatever happens to the modules in between."""
    tree = tmp_path / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    write_tree(tree, {"kernel/a.ko": ModuleBuilder("a"), "kernel/keep.ko": ModuleBuilder("keep")})
    for number, (step, name) in enumerate(steps):
        path = tree / f"kernel/{name}.ko"
        if step in ("add", "change"):
            ModuleBuilder(name, aliases=[f"{step}{number}:*"]).write(tree / "kernel")
        elif step == "remove":
            path.unlink(missing_ok=True)
        elif step == "move" and path.exists():
            path.rename(tree / "kernel/d.ko")
        elif step == "touch" and path.exists():
            path.touch()
        elif step == "order":
            (tree / "modules.order").write_text(f"kernel/{name}.ko\n")
        update_metadata(tmp_path / "meta.pb", tree, cache=tmp_path / "cache")
        assert scanner.load_metadata(tmp_path / "meta.pb") == scan(tree).catalog
