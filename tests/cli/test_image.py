"""kmodkit image: the formats, what is in them, the same bytes every time, and what it refuses."""

from __future__ import annotations

import hashlib
import lzma
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zlib
from typing import TYPE_CHECKING

import pytest

from kmodkit import load_metadata
from kmodkit.core.cpio import unpack
from kmodkit.kernel.files import decompress
from tests.commands import run
from tests.images import FIRMWARE, MODULES, NIC, make_root
from tests.require import need

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS = [
    f"{FIRMWARE}/early.bin",
    f"{FIRMWARE}/rtl_nic/a.fw",
    f"{FIRMWARE}/rtl_nic/real.fw",
    f"{FIRMWARE}/wild/1.bin",
    f"{FIRMWARE}/wild/2.bin",
    f"{MODULES}/kernel/net/libphy.ko.xz",
    f"{MODULES}/kernel/net/r8169.ko",
]
ARCHIVES = ["cpio", "cpio.gz", "cpio.xz", "cpio.zst", "tar", "tar.gz", "tar.xz", "tar.zst"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root with modules and firmware."""
    return make_root(tmp_path / "root")


def indexed(names: list[str]) -> list[str]:
    """Return the names that are no index of the module directory."""
    return [name for name in names if not name.startswith((f"{MODULES}/modules.", f"{MODULES}/meta.pb"))]


@pytest.mark.parametrize("ending", ARCHIVES)
def test_archive_holds_what_is_needed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    """Modules, what they need, their firmware and its links, the firmware of what is built in; nothing else."""
    output = tmp_path / f"out.{ending}"
    ran = run(capsys, "image", "--tree", root, "r8169", "-o", output)
    assert ran.status == 0
    assert "no firmware 'rtl_nic/gone.fw', which module r8169 asks for" in ran.err
    data = output.read_bytes()
    if not ending.endswith(("cpio", "tar")):
        data = decompress(data)
    if ending.startswith("cpio"):
        entries = {entry.name: entry for entry in unpack(data)}
        files = [name for name, entry in entries.items() if not entry.mode & 0o040000 or entry.mode & 0o100000]
        assert indexed(files) == CONTENTS
        assert entries[f"{FIRMWARE}/rtl_nic/a.fw"].data == b"real.fw"
        assert entries[f"{FIRMWARE}/wild/1.bin"].data == b"wild/1.bin" * 10
        assert entries[f"{MODULES}/kernel"].mode == 0o040755
        assert {entry.mtime for entry in entries.values()} == {0}
    else:
        plain = tmp_path / "plain.tar"
        plain.write_bytes(data)
        with tarfile.open(plain) as archive:
            assert indexed([member.name for member in archive if not member.isdir()]) == CONTENTS
            assert archive.getmember(f"{FIRMWARE}/rtl_nic/a.fw").linkname == "real.fw"
            assert {(member.uid, member.mtime, member.uname) for member in archive} == {(0, 0, "")}


def test_directory_is_a_root(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a meta.pb that answers for what is there."""
    output = tmp_path / "out"
    ran = run(capsys, "image", "--tree", root, "--modalias", NIC, "-o", output, "--json")
    assert (ran.status, ran.json["modules"], ran.json["firmware"]) == (0, 2, 5)
    assert ran.json["missing"] == [{"module": "r8169", "firmware": "rtl_nic/gone.fw"}]
    found = sorted(str(path.relative_to(output)) for path in output.rglob("*") if not path.is_dir())
    assert indexed(found) == CONTENTS
    catalog = load_metadata(output / MODULES / "meta.pb")
    assert [module.name for module in catalog] == ["libphy", "r8169", "early"]
    assert (output / FIRMWARE / "rtl_nic/a.fw").read_bytes() == b"rtl_nic/real.fw" * 3000
    assert not list(tmp_path.glob(".out*"))


def test_directory_of_links_shares_files(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And leaves the originals' times alone."""
    original = root / MODULES / "kernel/net/r8169.ko"
    os.utime(original, (77, 77))
    assert run(capsys, "image", "--tree", root, "r8169", "-o", tmp_path / "out", "--link").status == 0
    assert (tmp_path / "out" / MODULES / "kernel/net/r8169.ko").samefile(original)
    assert original.stat().st_mtime == 77


def test_directory_that_is_there_is_replaced_only_when_told(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else it stays as it is; an empty one may be taken."""
    output = tmp_path / "out"
    output.mkdir()
    words = ["image", "--tree", root, "r8169", "-o", output]
    assert run(capsys, *words).status == 0
    (output / "mine").write_text("mine")
    refused = run(capsys, *words)
    assert (refused.status, "is there already" in refused.err) == (1, True)
    assert (output / "mine").exists()
    assert run(capsys, *words, "--replace").status == 0
    assert not (output / "mine").exists()
    assert (output / MODULES).is_dir()


def test_unpacked_modules_are_stored_plain(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And found under that name by the indexes."""
    assert run(capsys, "image", "--tree", root, "libphy", "--unpack", "-o", tmp_path / "out").status == 0
    stored = tmp_path / "out" / MODULES / "kernel/net/libphy.ko"
    assert stored.read_bytes() == lzma.decompress((root / MODULES / "kernel/net/libphy.ko.xz").read_bytes())
    assert load_metadata(tmp_path / "out" / MODULES / "meta.pb")["libphy"].path == "kernel/net/libphy.ko"


@pytest.mark.parametrize("ending", ARCHIVES)
def test_same_inputs_make_the_same_bytes(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of directories, the times, modes and owners of files, and the number of threads."""
    other = tmp_path / "other"
    paths = [path for path in root.rglob("*") if not path.is_dir()]
    random.Random(5).shuffle(paths)
    for path in paths:
        target = other / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target, follow_symlinks=False)
        if not target.is_symlink():
            target.chmod(0o600)
    big = bytes(range(256)) * 40_000  # several jobs of zstd
    for top in (root, other):
        (top / FIRMWARE / "wild/3.bin").write_bytes(big)
    digests = set()
    for top, jobs in ((root, 1), (other, 2), (root, 3)):
        output = tmp_path / f"{jobs}.{ending}"
        assert run(capsys, "image", "--tree", top, "r8169", "-o", output, "--jobs", jobs).status == 0
        digests.add(hashlib.sha256(output.read_bytes()).hexdigest())
    assert len(digests) == 1
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    run(capsys, "image", "--tree", root, "r8169", "-o", tmp_path / f"late.{ending}")
    assert hashlib.sha256((tmp_path / f"late.{ending}").read_bytes()).hexdigest() not in digests


def test_compressed_streams_say_no_time_and_no_name(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Gzip has four bytes of time; xz must have a check that the kernel knows."""
    for ending in ("gz", "xz"):
        run(capsys, "image", "--tree", root, "card", "-o", tmp_path / f"out.cpio.{ending}")
    assert (tmp_path / "out.cpio.gz").read_bytes()[3:8] == bytes(5)
    assert zlib.decompress((tmp_path / "out.cpio.gz").read_bytes(), 31)[:6] == b"070701"
    assert (tmp_path / "out.cpio.xz").read_bytes()[7] == lzma.CHECK_CRC32


@pytest.mark.parametrize(("program", "words"), [("cpio", ["-it", "--quiet"]), ("bsdtar", ["-tf", "-"])])
def test_others_read_the_archive(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], program: str, words: list[str]
) -> None:
    """The same names, in the same order."""
    found = need(shutil.which(program), f"{program} is not installed", "cpio")
    output = tmp_path / "out.cpio"
    assert run(capsys, "image", "--tree", root, "r8169", "-o", output).status == 0
    listed = subprocess.run([found, *words], input=output.read_bytes(), capture_output=True, check=True)
    assert listed.stdout.decode().splitlines() == [entry.name for entry in unpack(output.read_bytes())]
    assert listed.stderr == b""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothere"], "nothere"),
        (["r8169", "--release", "../up"], "release"),
        (["r8169", "--prefix", "a/../b"], "no place"),
        (["r8169", "--level", "77"], "levels 0 to 9"),
        (["r8169", "--strict"], "gone.fw"),
        (["r8169", "--rule", "re:("], "re:("),
        (["r8169", "--snapshot", "/nonexistent"], "/nonexistent"),
        (["r8169", "--firmware", "/nonexistent"], "/nonexistent"),
        (["r8169", "--link"], "directories"),
    ],
)
def test_what_cannot_be_made_leaves_the_old_output(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    """With the reason and status 1."""
    output = tmp_path / "out.cpio.gz"
    output.write_bytes(b"old")
    ran = run(capsys, "image", "--tree", root, "-o", output, *words)
    assert (ran.status, message in ran.err) == (1, True), ran.err
    assert output.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.cpio.gz", "root"]


@pytest.mark.parametrize("when", ["yesterday", "-1", "", "99999999999", "\u0661"])
def test_a_bad_source_date_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A build that asks for a time must not get another one in silence."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", when)
    ran = run(capsys, "image", "--tree", root, "r8169", "-o", tmp_path / "out.cpio")
    assert (ran.status, "SOURCE_DATE_EPOCH" in ran.err) == (1, True)


FULL = """
set -e
mount -t tmpfs -o size=1m none "$1"
"$2" -m kmodkit image --tree "$3" card -o "$1/$4" || exit 9
before=$(find "$1" -type f -exec sha256sum {} + | sort)
"$2" -m kmodkit image --tree "$3" r8169 -o "$1/$4" $5 && exit 8
after=$(find "$1" -type f -exec sha256sum {} + | sort)
[ "$before" = "$after" ] && [ -n "$before" ]
"""


@pytest.mark.parametrize(
    ("name", "more"),
    [("out.cpio", ""), ("out.cpio.zst", ""), ("out.tar", ""), ("out.tar.xz", ""), ("out", "--replace")],
)
def test_a_full_disk_leaves_the_old_output(root: Path, tmp_path: Path, name: str, more: str) -> None:
    """In the middle of writing: the old files are whole, nothing else is left, and the message says it."""
    (root / FIRMWARE / "wild/big.bin").write_bytes(random.Random(1).randbytes(2 << 20))
    place = tmp_path / "small"
    place.mkdir()
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", FULL, "sh"]
    ran = subprocess.run(
        [*words, str(place), sys.executable, str(root), name, more], capture_output=True, text=True, check=False
    )
    if "unshare" in ran.stderr or "mount:" in ran.stderr:
        need(None, f"no tmpfs can be mounted here: {ran.stderr}", "cpio")
    assert ran.returncode == 0, (ran.returncode, ran.stderr)
    assert "No space left on device" in ran.stderr
    assert str(place / name) in ran.stderr
