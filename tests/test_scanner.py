"""Scanning trees, and keeping catalogs in files."""

import os
from pathlib import Path

import pytest

from kmodkit.core.catalog import Catalog, Module
from kmodkit.errors import (
    CycleError,
    ElfError,
    FileError,
    MetadataError,
    ScanError,
    TreeError,
    UnknownDependencyError,
)
from kmodkit.kernel.files import ModuleTree
from kmodkit.scanner import load_metadata, save_metadata, scan
from kmodkit.testing import Compression, ModuleBuilder, write_tree


def modules(count: int = 5, kind: Compression | None = None) -> dict[str, ModuleBuilder]:
    """Return modules for a tree, m0 needing m1 and so on."""
    return {
        f"kernel/m{n}.ko": ModuleBuilder(
            f"m{n}",
            depends=[f"m{n + 1}"] if n + 1 < count else [],
            aliases=[f"dev:{n}*"],
            firmware=[f"m{n}.bin"],
            compression=kind,
        )
        for n in range(count)
    }


def names(catalog: Catalog) -> list[str]:
    """Return the names of the modules of a catalog in their order."""
    return [module.name for module in catalog]


def test_a_tree_becomes_a_catalog(tmp_path: Path) -> None:
    """Every module, in the order of modules.order, with what is built in behind."""
    tree = write_tree(
        tmp_path,
        modules(3),
        order=["kernel/m2.ko", "kernel/m0.ko"],
        builtin={"kernel/fs/in-one.ko": [("alias", "fs-x"), ("license", "GPL")]},
    )
    result = scan(tree)
    assert names(result.catalog) == ["m2", "m0", "m1", "in_one"]
    assert result.catalog["m0"] == Module("m0", "kernel/m0.ko", ("m1",), aliases=("dev:0*",), firmware=("m0.bin",))
    assert result.catalog["in_one"] == Module("in_one", aliases=("fs-x",))
    assert result.skipped == result.problems == ()
    assert result.tree == ModuleTree(str(tree))
    assert scan(str(tree)) == scan(ModuleTree(str(tree))) == result


def test_either_list_of_what_is_built_in_is_enough(tmp_path: Path) -> None:
    """Old kernels have modules.builtin only; both are put together, each module once."""
    tree = write_tree(tmp_path, modules(1), builtin={"kernel/a-b.ko": [("alias", "x")], "kernel/c.ko": []})
    assert names(scan(tree).catalog) == ["m0", "a_b", "c"]
    (tree / "modules.builtin").unlink()
    assert names(scan(tree).catalog) == ["m0", "a_b"]
    (tree / "modules.builtin.modinfo").unlink()
    (tree / "modules.builtin").write_text("kernel/c.ko\n\nkernel/d.o\n")
    assert names(scan(tree).catalog)[:2] == ["m0", "c"]


def test_parts_of_one_name_in_the_built_in_list_are_merged(tmp_path: Path) -> None:
    """Real kernels list "core" twice; a scan does not stumble over it."""
    tree = write_tree(tmp_path, modules(1))
    (tree / "modules.builtin.modinfo").write_bytes(b"core.alias=a\0x.alias=b\0core.alias=c\0")
    assert scan(tree).catalog["core"].aliases == ("a", "c")


@pytest.mark.parametrize("kind", ["gz", "xz", "zst"])
def test_compressed_trees_give_the_same_modules(tmp_path: Path, kind: Compression) -> None:
    """Only the paths tell that a tree is compressed."""
    plain = scan(write_tree(tmp_path / "plain", modules()))
    packed = scan(write_tree(tmp_path / "packed", modules(kind=kind)))
    assert packed.skipped == ()
    assert [module.path for module in packed.catalog] == [f"{module.path}.{kind}" for module in plain.catalog]
    assert names(packed.catalog) == names(plain.catalog)
    assert [module.aliases for module in packed.catalog] == [module.aliases for module in plain.catalog]


def test_a_corrupt_module_is_skipped_and_reported(tmp_path: Path) -> None:
    """The rest of the tree is there, and the errors come in the order of the paths, naming their files."""
    tree = write_tree(tmp_path, modules())
    (tree / "kernel/m3.ko").write_bytes(b"not a module")
    (tree / "kernel/bad.ko.xz").write_bytes(b"\xfd7zXZ\0 no")
    result = scan(tree)
    assert names(result.catalog) == ["m0", "m1", "m2", "m4"]
    assert [type(error).__name__ for error in result.skipped] == ["CompressionError", "ElfError"]
    assert str(tree / "kernel/bad.ko.xz") in str(result.skipped[0])
    assert isinstance(result.skipped[1], ElfError)
    assert result.problems[:2] == result.skipped
    (unknown,) = result.problems[2:]
    assert isinstance(unknown, UnknownDependencyError)
    assert (unknown.module, unknown.dependency) == ("m2", "m3")


def test_a_strict_scan_fails_with_all_problems(tmp_path: Path) -> None:
    """Corrupt files, unknown dependencies and cycles are all in the error, and each prevents a success."""
    tree = write_tree(tmp_path, modules())
    assert scan(tree, strict=True).problems == ()
    (tree / "kernel/m4.ko").write_bytes(b"")
    with pytest.raises(ScanError, match="and 1 more") as caught:
        scan(tree, strict=True)
    assert [type(error) for error in caught.value.problems] == [ElfError, UnknownDependencyError]
    ModuleBuilder("m4", depends=["m0"]).write(tree / "kernel/m4.ko")
    with pytest.raises(ScanError, match="m0 -> m1 -> m2 -> m3 -> m4 -> m0") as caught:
        scan(tree, strict=True)
    assert [type(error) for error in caught.value.problems] == [CycleError]


def test_the_search_order_chooses_between_files_of_one_name(tmp_path: Path) -> None:
    """Updates comes before what came with the kernel, unless told otherwise."""
    both = {f"{where}/a.ko": ModuleBuilder("a", aliases=[where]) for where in ("kernel", "updates", "extra")}
    tree = write_tree(tmp_path, both)
    assert scan(tree).catalog["a"].path == "updates/a.ko"
    assert scan(tree, search=("extra", "built-in")).catalog["a"].path == "extra/a.ko"


def test_progress_is_told_from_time_to_time_and_at_the_end(tmp_path: Path) -> None:
    """The numbers rise to the number of files, corrupt ones included."""
    tree = write_tree(tmp_path, modules(150))
    (tree / "kernel/m7.ko").write_bytes(b"")
    calls: list[tuple[int, int]] = []
    scan(tree, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(64, 150), (128, 150), (150, 150)]


def test_an_error_of_the_progress_callback_ends_the_scan(tmp_path: Path) -> None:
    """An interrupt while a bar is drawn comes through, also out of a tree read by threads."""
    tree = write_tree(tmp_path, modules(70, "gz"))

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(tree, progress=interrupt)


@pytest.mark.parametrize("kind", [None, "xz"])
def test_the_catalog_is_the_same_for_any_order_and_number_of_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Compression | None
) -> None:
    """Directories list their files as they like and threads finish as they like; the bytes are the same."""
    tree = write_tree(tmp_path, {**modules(20, kind), "updates/m3.ko": ModuleBuilder("m3")}, order=())
    first = scan(tree, jobs=1)
    save_metadata(first.catalog, tmp_path / "first.pb")
    scandir = os.scandir

    class Reversed:
        def __init__(self, path: str) -> None:
            self.entries = scandir(path)

        def __enter__(self) -> list["os.DirEntry[str]"]:
            return list(self.entries)[::-1]

        def __exit__(self, *_: object) -> None:
            self.entries.close()

    monkeypatch.setattr(os, "scandir", Reversed)
    again = scan(tree, jobs=7)
    assert again == first
    save_metadata(again.catalog, tmp_path / "again.pb")
    assert (tmp_path / "first.pb").read_bytes() == (tmp_path / "again.pb").read_bytes()


def test_a_limit_on_size_skips_what_is_larger(tmp_path: Path) -> None:
    """A bomb among modules costs only itself."""
    tree = write_tree(
        tmp_path,
        {
            "a.ko": ModuleBuilder("a", compression="xz"),
            "bomb.ko": ModuleBuilder("b", compression="xz", sections={".zero": bytes(1 << 20)}),
        },
    )
    result = scan(tree, max_size=1 << 18)
    assert names(result.catalog) == ["a"]
    assert [type(error).__name__ for error in result.skipped] == ["CompressionError"]


def test_a_file_name_that_is_not_utf8_is_skipped(tmp_path: Path) -> None:
    """meta.pb has text there, so the file is reported and not taken."""
    tree = write_tree(tmp_path, modules(1))
    ModuleBuilder("odd").write(tree / os.fsdecode(b"odd\xff.ko"))
    result = scan(tree)
    assert names(result.catalog) == ["m0"]
    assert "not UTF-8" in str(result.skipped[0])


def test_a_tree_without_modules_is_an_error(tmp_path: Path) -> None:
    """An empty catalog would look like success."""
    with pytest.raises(TreeError, match="no modules here"):
        scan(tmp_path)
    with pytest.raises(TreeError, match="no such directory"):
        scan(tmp_path / "missing")


def test_an_unreadable_list_of_the_kernel_is_an_error(tmp_path: Path) -> None:
    """Without it the order or the built-in modules would be silently wrong."""
    tree = write_tree(tmp_path, modules(1), order=())
    (tree / "modules.builtin").mkdir()
    with pytest.raises(FileError, match=r"modules\.builtin"):
        scan(tree)


def test_a_catalog_is_saved_and_loaded(tmp_path: Path) -> None:
    """The size that is returned is the file's."""
    catalog = scan(write_tree(tmp_path / "tree", modules())).catalog
    path = tmp_path / "meta.pb"
    assert save_metadata(catalog, path) == path.stat().st_size
    assert load_metadata(path) == load_metadata(str(path)) == catalog


def test_a_metadata_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A missing file and a corrupt one are told apart."""
    with pytest.raises(FileError, match="No such file"):
        load_metadata(tmp_path / "missing.pb")
    (tmp_path / "bad.pb").write_bytes(b"junk")
    with pytest.raises(MetadataError, match=str(tmp_path / "bad.pb")):
        load_metadata(tmp_path / "bad.pb")


def test_a_catalog_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    """The bytes are made before any file is touched."""
    path = tmp_path / "meta.pb"
    path.write_bytes(b"old")
    with pytest.raises(MetadataError):
        save_metadata(Catalog((Module("a\udcff", "a.ko"),)), path)
    assert path.read_bytes() == b"old"
