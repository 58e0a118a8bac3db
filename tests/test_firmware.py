"""Firmware: what modules ask for, found in each kind of source, and what is not there."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmodkit.core.catalog import Module
from kmodkit.core.whence import Whence, parse_whence
from kmodkit.errors import FileError, MissingFirmwareError, WhenceError
from kmodkit.firmware import (
    FirmwareFile,
    FirmwareLink,
    FirmwareSelection,
    InstalledFirmware,
    Need,
    checkout_firmware,
    listed_firmware,
    read_whence,
    resolve_firmware,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kmodkit.firmware import FirmwareSource

BASE = "lib/firmware"


def fill(root: Path, entries: Mapping[str, str]) -> Path:
    """Make files below ``root``; a text that begins with ``->`` makes a link."""
    for path, text in entries.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            place.symlink_to(text[2:])
        else:
            place.write_text(text)
    return root


def installed(root: Path, entries: Mapping[str, str], *, custom: str | None = None) -> InstalledFirmware:
    """Return a root file system with these entries below its firmware directory; ``/`` begins at the root."""
    paths = {path[1:] if path.startswith("/") else f"{BASE}/{path}": text for path, text in entries.items()}
    fill(root, paths)
    return InstalledFirmware(str(root), custom=custom)


def choose(source: FirmwareSource, *patterns: str) -> FirmwareSelection:
    """Return what a module that asks for ``patterns`` gets."""
    return resolve_firmware([Module("m", "m.ko", firmware=patterns)], source)


def files(selection: FirmwareSelection) -> dict[str, str]:
    """Return the contents of the chosen files."""
    return {file.path: Path(file.source).read_text() for file in selection.files}


def sources(selection: FirmwareSelection) -> dict[str, str]:
    """Return the sources of the chosen files."""
    return {file.path: file.source for file in selection.files}


def links(selection: FirmwareSelection) -> dict[str, str]:
    """Return the chosen links."""
    return {link.path: link.target for link in selection.links}


def names(selection: FirmwareSelection) -> list[str]:
    """Return the patterns that nothing was found for."""
    return [need.pattern for need in selection.missing]


# --- needs --------------------------------------------------------------------------------------------------


def test_each_file_names_who_asked_for_it_and_how() -> None:
    """Modules and patterns, sorted; a link on the way has them too."""
    source = listed_firmware(["fw/a.bin"], parse_whence("Link: b.bin -> a.bin"))
    modules = [
        Module("two", "two.ko", firmware=("b.bin",)),
        Module("one", "one.ko", firmware=("a.bin", "*.bin", "gone.bin")),
        Module("none", "none.ko"),
    ]
    wild = Need("one", "*.bin")
    assert resolve_firmware(modules, source) == FirmwareSelection(
        (FirmwareFile("a.bin", "fw/a.bin", (wild, Need("one", "a.bin"), Need("two", "b.bin"))),),
        (FirmwareLink("b.bin", "a.bin", (wild, Need("two", "b.bin"))),),
        (Need("one", "gone.bin"),),
    )


def test_built_in_modules_are_reported_and_get_their_firmware() -> None:
    """Whether it is there or not; the reference stops at the first."""
    source = listed_firmware(["a.bin"])
    selection = resolve_firmware([Module("b", None, firmware=("a.bin", "gone.bin"))], source)
    assert sources(selection) == {"a.bin": "a.bin"}
    assert selection.builtin == (Need("b", "a.bin"), Need("b", "gone.bin"))
    assert selection.missing == (Need("b", "gone.bin"),)


def test_missing_firmware_is_an_error_where_that_is_asked_for() -> None:
    """The error has all of it, says the first, and survives pickling."""
    modules = [Module("b", firmware=("z", "y")), Module("a", firmware=("x",))]
    with pytest.raises(MissingFirmwareError) as caught:
        resolve_firmware(modules, listed_firmware([]), strict=True)
    assert caught.value.missing == (("a", "x"), ("b", "y"), ("b", "z"))
    assert str(caught.value) == "firmware 'x' of module 'a' is not there (and 2 more)"
    assert pickle.loads(pickle.dumps(caught.value)).missing == caught.value.missing  # noqa: S301
    assert resolve_firmware(modules, listed_firmware(["x", "y", "z"]), strict=True).missing == ()


def test_the_order_of_modules_and_files_is_of_no_consequence() -> None:
    """The same selection, down to the order of its parts."""
    rng = random.Random(1)
    paths = [f"{top}/{name}.bin" for top in ("x", "y/x", "z") for name in "abcdef"]
    modules = [Module(f"m{n}", "m.ko", firmware=(f"{'abcdef'[n]}.bin", "x/?.bin", "no")) for n in range(6)]
    first = resolve_firmware(modules, listed_firmware(paths))
    for _ in range(5):
        rng.shuffle(paths)
        rng.shuffle(modules)
        assert resolve_firmware(modules, listed_firmware(paths)) == first
    assert [file.path for file in first.files] == sorted(file.path for file in first.files)


@pytest.mark.parametrize("name", ["", "/", "..", "../x", "a/../x", "x\0", "\udcff", "[", "a" * 5000, "x/" * 3000])
def test_a_name_that_no_firmware_can_have_is_missing(tmp_path: Path, name: str) -> None:
    """Nothing is raised, and nothing outside of the firmware directory is found."""
    source = installed(tmp_path, {"a/b": "", "/lib/x": "secret", "/x": "secret"})
    assert names(choose(source, name)) == [name]
    assert names(choose(listed_firmware(["y/z"], parse_whence("Link: x -> ../../z")), name)) == [name]


# --- an installed system ------------------------------------------------------------------------------------


def test_the_kernel_s_order_of_directories(tmp_path: Path) -> None:
    """firmware_class.path, updates/RELEASE, updates, RELEASE, the directory itself."""
    order = ["/opt/fw/a", "updates/6.1/a", "updates/a", "6.1/a", "a"]
    source = installed(tmp_path, {path: path for path in order})
    for path in order:
        source = InstalledFirmware(str(tmp_path), release="6.1", custom="/opt/fw")
        expected = "a" if path.startswith("/") else path
        assert files(choose(source, "a")) == {expected: path}
        (tmp_path / (path[1:] if path.startswith("/") else f"{BASE}/{path}")).unlink()
    assert names(choose(source, "a")) == ["a"]


def test_without_a_release_only_its_directories_are_left_out(tmp_path: Path) -> None:
    """Updates for all kernels count."""
    source = installed(tmp_path, {"updates/6.1/a": "1", "6.1/a": "2", "updates/b": "3", "b": "4"})
    selection = choose(source, "a", "b")
    assert files(selection) == {"updates/b": "3"}
    assert names(selection) == ["a"]


def test_plain_comes_before_zst_before_xz(tmp_path: Path) -> None:
    """In all directories, as the kernel goes through them once for each."""
    source = installed(
        tmp_path, {"a.xz": "", "a.zst": "", "updates/b.zst": "", "b": "", "updates/c.xz": "", "c.zst": ""}
    )
    assert sorted(files(choose(source, "a", "b", "c"))) == ["a.zst", "b", "c.zst"]


def test_chains_of_links_are_kept_and_followed(tmp_path: Path) -> None:
    """Links to links, links to directories, and compressed ones under their compressed names."""
    source = installed(
        tmp_path,
        {
            "dir/real.bin": "r",
            "dir/one.bin": "->real.bin",
            "two.bin": "->dir/one.bin",
            "alias": "->dir",
            "deep/x/alias": "->../../alias",
            "c.bin.xz": "c",
            "link.bin.xz": "->./c.bin.xz",
        },
    )
    selection = choose(source, "two.bin", "deep/x/alias/one.bin", "link.bin")
    assert files(selection) == {"dir/real.bin": "r", "c.bin.xz": "c"}
    assert links(selection) == {
        "alias": "dir",
        "deep/x/alias": "../../alias",
        "dir/one.bin": "real.bin",
        "link.bin.xz": "./c.bin.xz",
        "two.bin": "dir/one.bin",
    }


def test_links_that_cannot_stay_as_they_are_lead_to_the_same_file(tmp_path: Path) -> None:
    """Absolute ones, those that go out and come back, and those through a directory that would not be kept."""
    source = installed(
        tmp_path,
        {
            "real.bin": "r",
            "d/absolute.bin": f"->/{BASE}/real.bin",
            "d/around.bin": f"->../../../{BASE}/real.bin",
            "through.bin": "->unused/../real.bin",
            "unused/x": "",
            "/etc/alternatives/fw": f"->/{BASE}/real.bin",
            "alternative.bin": "->/etc/alternatives/fw",
        },
    )
    selection = choose(source, "d/absolute.bin", "d/around.bin", "through.bin", "alternative.bin")
    assert files(selection) == {"real.bin": "r"}
    assert links(selection) == {
        "alternative.bin": "real.bin",
        "d/absolute.bin": "../real.bin",
        "d/around.bin": "../real.bin",
        "through.bin": "real.bin",
    }


def test_what_links_lead_to_outside_is_kept_in_their_place(tmp_path: Path) -> None:
    """A file, or a file in a directory; never a link out of the firmware directory."""
    source = installed(
        tmp_path,
        {
            "/opt/vendor/a.bin": "a",
            "/opt/vendor/sub/b.bin": "b",
            "a.bin": "->../../opt/vendor/a.bin",
            "vendor": "->/opt/vendor",
            "again.bin": "->a.bin",
        },
    )
    selection = choose(source, "a.bin", "vendor/sub/b.bin", "vendor/a.bin", "again.bin")
    assert files(selection) == {"a.bin": "a", "again.bin": "a", "vendor/a.bin": "a", "vendor/sub/b.bin": "b"}
    assert links(selection) == {}


def test_no_link_leads_out_of_the_root(tmp_path: Path) -> None:
    """Absolute targets and any number of .. stay below it, as after chroot(2)."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    up = "../" * 30
    source = installed(
        root,
        {
            "absolute": f"->{tmp_path}/secret",
            "up": f"->{up}{str(tmp_path)[1:]}/secret",
            "dir": f"->{tmp_path}",
            "inside": f"->{up}etc/inside",
            "/etc/inside": "i",
        },
    )
    selection = choose(source, "absolute", "up", "dir/secret", "inside", "dir/*", "*")
    assert files(selection) == {"inside": "i"}
    assert names(selection) == ["absolute", "dir/*", "dir/secret", "up"]


def test_circles_and_links_to_nothing_are_missing(tmp_path: Path) -> None:
    """And the search goes on in the next directory."""
    source = installed(
        tmp_path,
        {
            "a": "->b",
            "b": "->a",
            "self": "->self",
            "gone": "->nowhere",
            "updates/c": "->nowhere",
            "c": "c",
            "dir/x": "",
        },
    )
    selection = choose(source, "a", "self", "self/x", "gone", "c", "dir")
    assert files(selection) == {"c": "c"}
    assert names(selection) == ["a", "dir", "gone", "self", "self/x"]


def test_wildcards_match_within_a_directory(tmp_path: Path) -> None:
    """Not over a slash; compressed files under their plain names; in every directory of the search."""
    source = installed(
        tmp_path,
        {
            "brcm/x-sdio.A B.txt": "1",
            "brcm/x-sdio.C.txt.zst": "2",
            "brcm/x-sdio.D.bin": "3",
            "brcm/x-sdio.txt": "4",
            "brcm/x-sdio.sub/E.txt": "5",
            "updates/brcm/x-sdio.F.txt": "6",
            "brcm/x-sdio.G.txt": "->x-sdio.D.bin",
            "cypress/x-sdio.C.txt": "7",
            "dir-link": "->cypress",
        },
    )
    selection = choose(source, "brcm/x*-sdio.*.txt", "[dn]*/x-sdio.?.txt", "*/none*")
    assert files(selection) == {
        "brcm/x-sdio.A B.txt": "1",
        "brcm/x-sdio.C.txt.zst": "2",
        "brcm/x-sdio.D.bin": "3",
        "cypress/x-sdio.C.txt": "7",
        "updates/brcm/x-sdio.F.txt": "6",
    }
    assert links(selection) == {"brcm/x-sdio.G.txt": "x-sdio.D.bin", "dir-link": "cypress"}
    assert names(selection) == ["*/none*"]


def test_a_name_that_looks_like_a_pattern_is_tried_first(tmp_path: Path) -> None:
    """A file called a[1].bin is what a[1].bin asks for."""
    source = installed(tmp_path, {"a[1].bin": "exact", "a1.bin": "match", "b1.bin": "match"})
    assert files(choose(source, "a[1].bin", "b[1].bin")) == {"a[1].bin": "exact", "b1.bin": "match"}


def test_the_firmware_directory_may_be_reached_by_links(tmp_path: Path) -> None:
    """A usr-merged root has it under both names, and is searched once."""
    fill(tmp_path, {"usr/lib/firmware/a": "a", "lib": "->usr/lib", "usr/lib/firmware/b": "->/lib/firmware/a"})
    selection = choose(InstalledFirmware(str(tmp_path)), "b", "*")
    assert sources(selection) == {"a": f"{tmp_path}/usr/lib/firmware/a"}
    assert links(selection) == {"b": "a"}


def test_updates_may_be_a_link(tmp_path: Path) -> None:
    """An absolute one begins at the root that was given, also where the machine has nothing of that name."""
    fill(tmp_path, {"opt/updates/a": "new", f"{BASE}/a": "old", f"{BASE}/updates": "->/opt/updates"})
    assert files(choose(InstalledFirmware(str(tmp_path)), "a")) == {"updates/a": "new"}


def test_a_root_that_is_not_merged_has_two(tmp_path: Path) -> None:
    """/lib comes first; a root of its own directory layout can be given."""
    fill(tmp_path, {"usr/lib/firmware/a": "usr", "lib/firmware/a": "lib", "usr/lib/firmware/b": "usr"})
    assert files(choose(InstalledFirmware(str(tmp_path)), "a", "b")) == {"a": "lib", "b": "usr"}
    bare = InstalledFirmware(str(tmp_path / "usr/lib/firmware"), directories=("",))
    assert files(choose(bare, "a", "b")) == {"a": "usr", "b": "usr"}
    assert names(choose(InstalledFirmware(str(tmp_path / "nothing")), "a")) == ["a"]


def test_of_two_files_for_one_place_the_one_found_first_is_kept(tmp_path: Path) -> None:
    """What is in firmware_class.path hides what a link beside the other means."""
    source = installed(tmp_path, {"/fw/a": "new", "a": "old", "b": "->a"}, custom="fw")
    for patterns in (("a", "b"), ("b", "a")):
        selection = choose(source, *patterns)
        assert files(selection) == {"a": "new"}
        assert links(selection) == {"b": "a"}


def test_what_is_no_regular_file_is_missing(tmp_path: Path) -> None:
    """A fifo would stop whoever reads it."""
    source = installed(tmp_path, {"a": ""})
    os.mkfifo(tmp_path / BASE / "fifo")
    assert names(choose(source, "fifo", "f*")) == ["f*", "fifo"]


# --- a checkout of linux-firmware ---------------------------------------------------------------------------

CHECKOUT = r"""
File: amd/a.bin
RawFile: amd/logo.bin
File: "amd/with blank.txt"
File: not-there.bin
Link: amd/b.bin -> a.bin
Link: c.bin -> amd/b.bin
Link: radeon -> amd
Link: amd/blank\ link.txt -> with\ blank.txt
Link: d.bin -> amd/../amd/./a.bin
Link: e.bin -> not-there.bin
Link: loop -> loop
Link: out.bin -> ../secret
"""


def checkout(tmp_path: Path) -> Path:
    """Make a checkout, with files its WHENCE does not list, and one that is a link out of it."""
    fill(tmp_path, {"secret": "secret"})
    listed = {"amd/a.bin": "a", "amd/logo.bin": "l", "amd/with blank.txt": "w"}
    return fill(
        tmp_path / "fw",
        {
            **listed,
            "WHENCE": CHECKOUT + "File: evil.bin\nFile: circle.bin\n",
            "README": "",
            "evil.bin": "->../secret",
            "circle.bin": "->circle.bin",
        },
    )


def test_a_checkout_has_what_its_whence_lists(tmp_path: Path) -> None:
    """Files, and links that exist in WHENCE only; not what is in the directory beside them."""
    top = checkout(tmp_path)
    selection = choose(
        checkout_firmware(top),
        *(
            "c.bin",
            "radeon/logo.bin",
            "amd/blank link.txt",
            "d.bin",
            "README",
            "WHENCE",
            "e.bin",
            "loop",
            "out.bin",
        ),
        *("not-there.bin", "evil.bin", "circle.bin"),
    )
    assert sources(selection) == {
        name: f"{top}/{name}" for name in ("amd/a.bin", "amd/logo.bin", "amd/with blank.txt")
    }
    assert links(selection) == {
        "amd/b.bin": "a.bin",
        "amd/blank link.txt": "with blank.txt",
        "c.bin": "amd/b.bin",
        "d.bin": "amd/a.bin",
        "radeon": "amd",
    }
    assert names(selection) == [
        "README",
        "WHENCE",
        "circle.bin",
        "e.bin",
        "evil.bin",
        "loop",
        "not-there.bin",
        "out.bin",
    ]


def test_wildcards_in_a_checkout_match_files_links_and_through_linked_directories(tmp_path: Path) -> None:
    """All that would be in the firmware directory once it is installed."""
    source = checkout_firmware(checkout(tmp_path))
    assert sorted(files(choose(source, "amd/*.bin"))) == ["amd/a.bin", "amd/logo.bin"]
    assert links(choose(source, "amd/*.bin")) == {"amd/b.bin": "a.bin"}
    assert sorted(files(choose(source, "radeon/*.txt"))) == ["amd/with blank.txt"]
    assert links(choose(source, "radeon/*link.txt")) == {}
    assert links(choose(source, "?.bin")) == {"amd/b.bin": "a.bin", "c.bin": "amd/b.bin", "d.bin": "amd/a.bin"}


def test_a_checkout_without_a_readable_whence_is_refused(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(FileError, match="WHENCE"):
        checkout_firmware(tmp_path)
    (tmp_path / "WHENCE").write_text("File: a\nLink: b\n")
    with pytest.raises(WhenceError, match=f"{tmp_path}/WHENCE: .*offset 0x8"):
        read_whence(tmp_path / "WHENCE")


# --- a list of files ----------------------------------------------------------------------------------------


def test_a_list_is_matched_by_the_ends_of_its_paths() -> None:
    """Whole components, whatever is before them; of several the least nested, then the first by name."""
    source = listed_firmware(
        [
            "./external/fw//intel/a.bin",
            "z/a.bin",
            "y/a.bin",
            "out/deep/x.bin",
            "out/xx.bin",
            "/abs/b.bin.xz",
            "l/c.zst",
        ]
    )
    selection = choose(source, "intel/a.bin", "a.bin", "x.bin", "b.bin", "c", "deep", "bin", "w/c")
    assert sources(selection) == {
        "a.bin": "y/a.bin",
        "b.bin.xz": "/abs/b.bin.xz",
        "c.zst": "l/c.zst",
        "intel/a.bin": "./external/fw//intel/a.bin",
        "x.bin": "out/deep/x.bin",
    }
    assert names(selection) == ["bin", "deep", "w/c"]


def test_links_of_whence_lead_through_a_list() -> None:
    """Kept as they are written, with the suffix of a compressed file where they lead to one, as when installed."""
    whence = parse_whence(
        "Link: a.bin -> sub/b.bin\nLink: sub/b.bin -> c.bin\nLink: old -> sub\nLink: d.bin -> gone.bin\n"
    )
    plain = choose(listed_firmware(["fw/sub/c.bin"], whence), "a.bin", "old/b.bin", "d.bin")
    assert sources(plain) == {"sub/c.bin": "fw/sub/c.bin"}
    assert links(plain) == {"a.bin": "sub/b.bin", "old": "sub", "sub/b.bin": "c.bin"}
    assert names(plain) == ["d.bin"]
    packed = choose(listed_firmware(["fw/sub/c.bin.zst"], whence), "a.bin", "old/b.bin")
    assert sources(packed) == {"sub/c.bin.zst": "fw/sub/c.bin.zst"}
    assert links(packed) == {"a.bin.zst": "sub/b.bin.zst", "old": "sub", "sub/b.bin.zst": "c.bin.zst"}


def test_wildcards_in_a_list_match_ends_of_paths_and_links() -> None:
    """As many components as the pattern has."""
    whence = parse_whence("Link: brcm/b.Model\\ 4.txt -> a.txt\nLink: old/brcm -> ../brcm")
    source = listed_firmware(["fw/brcm/a.txt", "fw/brcm/c.txt.xz", "fw/brcm/d.bin", "fw/other/a.txt"], whence)
    assert sorted(sources(choose(source, "brcm/*.txt"))) == ["brcm/a.txt", "brcm/c.txt.xz"]
    assert links(choose(source, "brcm/*.txt")) == {"brcm/b.Model 4.txt": "a.txt"}
    assert sorted(sources(choose(source, "old/brcm/[a-c].txt"))) == ["brcm/a.txt", "brcm/c.txt.xz"]
    assert links(choose(source, "old/*/d.*")) == {"old/brcm": "../brcm"}
    assert names(choose(listed_firmware([], Whence()), "*")) == ["*"]
