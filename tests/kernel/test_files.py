"""Module files and trees on disk: unpacking, finding, and replacing files."""

import errno
import gzip
import lzma
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import pytest

from kmodkit.errors import CompressionError, ElfError, FileError, FormatError, ModinfoError, TreeError
from kmodkit.kernel import files
from kmodkit.kernel.files import (
    ModuleTree,
    decompress,
    find_tree,
    read_module,
    read_module_bytes,
    read_signed_module,
    replace_file,
)
from kmodkit.kernel.opening import compression, read_file
from kmodkit.testing import Compression, ModuleBuilder, compress, write_tree

KINDS: list[Compression] = ["gz", "xz", "zst"]
DATA = bytes(range(256)) * 100


# --- unpacking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_compression_is_known_by_its_first_bytes(kind: Compression) -> None:
    """What a file is called does not matter, what it begins with does."""
    packed = compress(DATA, kind)
    assert compression(packed) == compression(packed[:8]) == kind
    assert decompress(packed) == DATA


def test_what_is_not_compressed_stays_as_it_is() -> None:
    """A plain module passes through, up to the limit."""
    assert compression(DATA) is None
    assert decompress(DATA) == DATA
    assert decompress(b"") == b""
    with pytest.raises(CompressionError, match="limit of 10"):
        decompress(DATA, max_size=10)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_data_unpacks_to_nothing(kind: Compression) -> None:
    """A compressed nothing is valid."""
    assert decompress(compress(b"", kind)) == b""


@pytest.mark.parametrize("kind", KINDS)
def test_streams_in_a_row_are_one_file(kind: Compression) -> None:
    """gzip, xz and zstd all say that concatenated streams unpack to concatenated data."""
    packed = compress(b"one,", kind) + compress(b"", kind) + compress(b"two", kind)
    assert decompress(packed) == b"one,two"


def test_padding_between_xz_streams_is_skipped() -> None:
    """The xz format lets NULs stand between and behind streams."""
    packed = compress(b"one,", "xz") + bytes(8) + compress(b"two", "xz") + bytes(4)
    assert decompress(packed) == b"one,two"


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_anywhere_is_an_error(kind: Compression) -> None:
    """No part of a compressed module passes for the whole."""
    packed = compress(DATA, kind)
    for size in range(8, len(packed)):
        with pytest.raises(CompressionError):
            decompress(packed[:size])


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_stream_may_not_be_cut_short_either(kind: Compression) -> None:
    """The error says where the data ends."""
    packed = compress(DATA, kind) * 2
    with pytest.raises(CompressionError, match="cut short") as caught:
        decompress(packed[:-4])
    assert caught.value.offset == len(packed) - 4


@pytest.mark.parametrize("kind", KINDS)
def test_junk_behind_the_data_is_an_error_with_its_offset(kind: Compression) -> None:
    """A file that goes on with something else is not what it seems."""
    packed = compress(DATA, kind)
    with pytest.raises(CompressionError, match="junk") as caught:
        decompress(packed + b"junk")
    assert caught.value.offset == len(packed)


@pytest.mark.parametrize("kind", KINDS)
def test_corrupt_data_is_an_error_with_the_offset_of_its_stream(kind: Compression) -> None:
    """Each codec's own error becomes ours, and says which codec it was."""
    first = compress(b"first", kind)
    packed = bytearray(first + compress(DATA, kind))
    for position in range(len(first) + 6, len(packed)):
        packed[position] ^= 0xFF
    with pytest.raises(CompressionError, match=f"corrupt {kind} data") as caught:
        decompress(bytes(packed))
    assert caught.value.offset == len(first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streams", [1, 10])
def test_a_bomb_stops_at_the_limit(kind: Compression, streams: int) -> None:
    """What unpacks to more than allowed is refused, in one stream or in several, without unpacking it all."""
    packed = compress(bytes(1 << 20), kind) * streams
    limit = streams << 20
    assert len(decompress(packed, max_size=limit)) == limit
    with pytest.raises(CompressionError, match=f"more than the limit of {limit - 1} bytes"):
        decompress(packed, max_size=limit - 1)


BOMB = """
import resource, sys
from kmodkit.errors import CompressionError
from kmodkit.kernel.files import decompress
from kmodkit.testing import compress
bomb = compress(bytes(40 << 20), sys.argv[1])
decompress(compress(b"", sys.argv[1]))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20),) * 2)
for _ in range(3):
    try:
        decompress(bomb, max_size=1 << 20)
    except CompressionError as error:
        assert "limit" in str(error), error
    else:
        raise SystemExit("unpacked")
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_takes_little_memory(kind: Compression) -> None:
    """40 MiB out of a few KiB are refused in a process that has only 32 MiB to spare."""
    subprocess.run([sys.executable, "-c", BOMB, kind], check=True, timeout=60)


@pytest.mark.parametrize("kind", KINDS)
def test_many_small_streams_cost_in_proportion_to_their_number(
    kind: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stream is given all of the rest of the file, which it would copy; counted in bytes, not in seconds."""
    given = [0]
    make = files._decompressor

    class Counting:
        def __init__(self) -> None:
            self.inner = make(kind)

        @property
        def eof(self) -> bool:
            return self.inner.eof

        @property
        def unused_data(self) -> bytes:
            return self.inner.unused_data

        def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
            given[0] += len(data)
            return self.inner.decompress(data, max_length)

    monkeypatch.setattr(files, "_decompressor", lambda _kind: Counting())
    packed = compress(b"", kind) * 5000 + compress(b"end", kind)
    assert decompress(packed) == b"end"
    assert given[0] <= len(packed) + 5001 * 4096


def test_an_xz_stream_that_wants_much_memory_is_refused() -> None:
    """A dictionary of a gibibyte is none that the kernel's build makes."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}]
    packed = bytearray(lzma.compress(b"x", filters=filters))
    assert decompress(bytes(packed)) == b"x"
    # The dictionary's size is one byte of the block header, which begins behind 12 bytes of stream header.
    header = packed[12 : 12 + 12]
    assert header[2] == 0x21
    header[4] = 36  # 1 GiB
    header[8:12] = crc32(bytes(header[:8]))
    packed[12:24] = header
    with pytest.raises(CompressionError, match="corrupt xz data"):
        decompress(bytes(packed))


def crc32(data: bytes) -> bytes:
    """Return the CRC-32 of ``data`` as xz stores it."""
    return zlib.crc32(data).to_bytes(4, "little")


# --- module files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_module_is_read_plain_or_compressed(tmp_path: Path, kind: Compression | None) -> None:
    """Information and signature are the same whatever the file is packed with."""
    module = ModuleBuilder("a", depends=["b"], signature=b"blob", compression=kind)
    path = module.write(tmp_path)
    info = read_module(path, name="kernel/a.ko")
    assert (info.name, info.depends, info.path) == ("a", ("b",), "kernel/a.ko")
    assert read_module(str(path)).path == str(path)
    info, signature = read_signed_module(path)
    assert info == read_module(path)
    assert signature is not None
    assert signature.blob == b"blob"
    assert read_module_bytes(path).startswith(b"\x7fELF")


def test_the_name_of_the_file_is_in_every_error(tmp_path: Path) -> None:
    """The readers of bytes do not know it, so it is put in where it is known."""
    cases: list[tuple[bytes, type[FormatError]]] = [
        (b"", ElfError),
        (ModuleBuilder(None).build(), ModinfoError),
        (gzip.compress(b"")[:-1], CompressionError),
    ]
    for data, kind in cases:
        path = tmp_path / "x.ko"
        path.write_bytes(data)
        with pytest.raises(kind, match=str(path)) as caught:
            read_module(path)
        assert caught.value.source == str(path)


def test_a_module_unpacked_beyond_the_limit_is_an_error(tmp_path: Path) -> None:
    """The limit holds for what is in the file and for what comes out of it."""
    path = ModuleBuilder("a", sections={".big": bytes(100_000)}, compression="gz").write(tmp_path)
    with pytest.raises(CompressionError, match="limit of 50000"):
        read_module(path, max_size=50_000)
    with pytest.raises(FileError, match="limit of 100"):
        read_module(path, max_size=100)


def test_a_file_is_read_whole_up_to_the_limit(tmp_path: Path) -> None:
    """One byte more than the limit is an error; so is a file that says 0 and has more, as in /proc."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    assert read_file(path, max_size=len(DATA)) == DATA
    with pytest.raises(FileError, match=f"limit of {len(DATA) - 1}"):
        read_file(path, max_size=len(DATA) - 1)
    assert read_file("/proc/self/status", max_size=1 << 20).startswith(b"Name:")
    with pytest.raises(FileError, match="limit of 3"):
        read_file("/proc/self/status", max_size=3)


def test_a_file_that_is_not_there_is_an_error_with_its_errno(tmp_path: Path) -> None:
    """A FileError is an OSError too, with its errno and its path."""
    path = tmp_path / "missing.ko"
    with pytest.raises(FileError, match="No such file") as caught:
        read_module(path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(path))
    assert isinstance(caught.value, OSError)


def test_a_fifo_called_like_a_module_does_not_stop_anybody(tmp_path: Path) -> None:
    """Opening it would wait for a writer for ever; it is an error instead, like a directory or a device."""
    fifo = tmp_path / "x.ko"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, Path("/dev/null")):
        with pytest.raises(FileError, match="not a regular file"):
            read_module(path)


def test_a_path_with_a_nul_is_an_error() -> None:
    """The call cannot be made, and says so as an error of ours."""
    with pytest.raises(FileError, match="null"):
        read_module("a\0b.ko")


def test_an_unreadable_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while reading, and not only while opening, names the file."""
    path = ModuleBuilder("a").write(tmp_path)

    def failing(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(FileError, match="Input/output error") as caught:
        read_module(path)
    assert caught.value.filename == str(path)


# --- trees --------------------------------------------------------------------------------------------------


def test_modules_are_found_sorted_and_relative(tmp_path: Path) -> None:
    """Every module file below the root, whatever its compression, and nothing else."""
    modules = {"z.ko": ModuleBuilder("z"), "kernel/b/x.ko": ModuleBuilder("x", compression="xz")}
    tree = write_tree(tmp_path, {**modules, "kernel/a.ko": ModuleBuilder("a", compression="zst")})
    (tree / "kernel/readme.txt").write_text("no module")
    (tree / "kernel/x.ko").mkdir()
    ModuleBuilder("inner").write(tree / "kernel/x.ko/inner.ko")
    os.mkfifo(tree / "fifo.ko")
    assert ModuleTree(str(tree)).module_paths() == (
        "kernel/a.ko.zst",
        "kernel/b/x.ko.xz",
        "kernel/x.ko/inner.ko",
        "z.ko",
    )


def test_build_and_source_at_the_top_are_left_out(tmp_path: Path) -> None:
    """They lead to the kernel's sources, with modules of their own; further down the names mean nothing."""
    for path in ("build/a.ko", "source/b.ko", "kernel/build/c.ko"):
        ModuleBuilder("a").write(tmp_path / path)
    assert ModuleTree(str(tmp_path)).module_paths() == ("kernel/build/c.ko",)


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    """A linked directory is read, once; links that lead nowhere or to themselves are no modules."""
    outside = tmp_path / "outside"
    ModuleBuilder("a").write(outside / "a.ko")
    root = tmp_path / "root"
    root.mkdir()
    (root / "extra").symlink_to(outside)
    (root / "again").symlink_to(outside)
    (root / "up").symlink_to(root)
    (root / "gone.ko").symlink_to(root / "nowhere.ko")
    (root / "self.ko").symlink_to("self.ko")
    (root / "self").symlink_to("self")
    (root / "one.ko").symlink_to(outside / "a.ko")
    found = ModuleTree(str(root)).module_paths()
    assert len(found) == 2
    assert "one.ko" in found


def test_a_directory_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree with an unreadable part is not taken for a smaller tree."""
    with pytest.raises(FileError, match="No such file"):
        ModuleTree(str(tmp_path / "nowhere")).module_paths()

    def failing(path: str) -> object:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(FileError, match="Permission denied"):
        ModuleTree(str(tmp_path)).module_paths()


def test_lists_of_the_tree_are_read_where_they_are(tmp_path: Path) -> None:
    """A tree need not have them, but one that is there must be readable."""
    tree = ModuleTree(str(write_tree(tmp_path, {"a.ko": ModuleBuilder("a")})))
    assert tree.read_text("modules.order") == b"a.ko\n"
    assert tree.read_text("modules.builtin") is None
    (tmp_path / "modules.builtin").mkdir()
    with pytest.raises(FileError, match="not a regular file"):
        tree.read_text("modules.builtin")


def make(root: Path, *paths: str) -> Path:
    """Make directories, or files where the name has a dot in it, below ``root``."""
    for path in paths:
        if path.endswith(".order"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        else:
            (root / path).mkdir(parents=True, exist_ok=True)
    return root


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["kernel"], ""),
        (["modules.order"], ""),
        (["lib/modules/6.1/kernel"], "lib/modules/6.1"),
        (["usr/lib/modules/6.1/kernel"], "usr/lib/modules/6.1"),
        (["lib/modules/6.1/modules.order", "lib/modules/empty"], "lib/modules/6.1"),
        (["6.1/kernel", "other"], "6.1"),
        (["drivers", "sub/drivers"], ""),
        ([], ""),
    ],
)
def test_a_tree_is_found_in_all_its_usual_places(tmp_path: Path, paths: list[str], found: str) -> None:
    """The tree itself, a root file system, the directory of all trees, or just any directory of modules."""
    make(tmp_path, *paths)
    assert find_tree(tmp_path) == ModuleTree(str(tmp_path / found))


def test_a_usr_merged_root_has_one_tree(tmp_path: Path) -> None:
    """/lib is a link to usr/lib there, so both names mean the same tree."""
    make(tmp_path, "usr/lib/modules/6.1/kernel")
    (tmp_path / "lib").symlink_to("usr/lib")
    assert find_tree(tmp_path).root in {str(tmp_path / sub / "modules/6.1") for sub in ("lib", "usr/lib")}


def test_more_than_one_tree_is_an_error_that_lists_them(tmp_path: Path) -> None:
    """Which one is meant cannot be guessed."""
    make(tmp_path, "lib/modules/6.1/kernel", "usr/lib/modules/6.12/kernel")
    with pytest.raises(TreeError, match=r"name one of them: 6\.1, 6\.12"):
        find_tree(tmp_path)


def test_what_is_no_directory_is_an_error(tmp_path: Path) -> None:
    """A file and a missing path are told apart."""
    (tmp_path / "file").touch()
    with pytest.raises(TreeError, match="not a directory"):
        find_tree(tmp_path / "file")
    with pytest.raises(TreeError, match="no such directory") as caught:
        find_tree(tmp_path / "missing")
    assert caught.value.path == str(tmp_path / "missing")


def test_without_a_path_the_running_kernel_s_tree_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, the message says what to give."""
    release = os.uname_result(("Linux", "host", "0.0.0-none", "#1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: release)
    with pytest.raises(TreeError, match=r"/lib/modules/0\.0\.0-none: the running kernel has no module tree"):
        find_tree()


# --- replacing files ----------------------------------------------------------------------------------------


def names(path: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(entry.name for entry in path.iterdir())


def test_a_file_is_made_or_replaced(tmp_path: Path) -> None:
    """The new contents are there, and nothing else is left beside."""
    path = tmp_path / "meta.pb"
    for data in (b"old", b"new and longer", b""):
        replace_file(path, data)
        assert path.read_bytes() == data
        assert names(tmp_path) == ["meta.pb"]


@pytest.mark.parametrize("call", ["fsync", "fchmod", "open", "replace"])
def test_a_failure_at_any_step_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A full disk shows up in fsync at the latest; the old contents stay and no temporary file does."""
    path = tmp_path / "meta.pb"
    path.write_bytes(b"old")

    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "replace":
        monkeypatch.setattr(Path, "replace", failing)
    elif call == "open":
        monkeypatch.setattr(tempfile, "mkstemp", failing)
    else:
        monkeypatch.setattr(os, call, failing)
    with pytest.raises(FileError, match="No space left") as caught:
        replace_file(path, b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["meta.pb"]


def test_a_disk_that_is_full_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """The same with a true limit on what the process may write."""
    path = tmp_path / "meta.pb"
    path.write_bytes(b"old")
    script = (
        "import sys; from kmodkit.errors import FileError; from kmodkit.kernel.files import replace_file\n"
        "try: replace_file(sys.argv[1], bytes(1 << 20))\n"
        "except FileError as error: print(error.strerror)"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    result = subprocess.run(
        [sys.executable, "-B", "-c", script, str(path)],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert result.stdout == "File too large\n"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["meta.pb"]


@pytest.mark.parametrize(
    ("mask", "mode", "expected"), [(0o022, 0o644, 0o644), (0o077, 0o666, 0o600), (0, 0o444, 0o444)]
)
def test_the_mode_is_the_one_asked_for_less_the_umask(tmp_path: Path, mask: int, mode: int, expected: int) -> None:
    """As for any file a program makes; the temporary file's own mode is not what stays."""
    old = os.umask(mask)
    try:
        replace_file(tmp_path / "meta.pb", b"x", mode=mode)
        assert os.umask(mask) == mask
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "meta.pb").stat().st_mode) == expected


def test_a_link_is_followed(tmp_path: Path) -> None:
    """What the link leads to changes, and the link stays one; a link to nothing makes its target."""
    target, link = tmp_path / "real/meta.pb", tmp_path / "meta.pb"
    target.parent.mkdir()
    link.symlink_to("real/meta.pb")
    for data in (b"made", b"changed"):
        replace_file(link, data)
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert names(target.parent) == ["meta.pb"]


def test_a_place_that_no_file_can_have_is_an_error(tmp_path: Path) -> None:
    """A missing directory, a directory of that name, a link in a circle and a NUL are all FileErrors."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "self").symlink_to("self")
    for path in ("missing/meta.pb", "directory", "self", "a\0b"):
        with pytest.raises(FileError):
            replace_file(tmp_path / path, b"x")
    assert names(tmp_path) == ["directory", "self"]
