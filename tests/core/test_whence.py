"""WHENCE: what is listed, what is kept apart, where links lead, what is refused."""

import contextlib

import pytest

from kmodkit.core.whence import (
    MAX_LINKS,
    MAX_PATH,
    Link,
    Trail,
    Whence,
    WhenceFile,
    WhenceNote,
    follow,
    parse_whence,
)
from kmodkit.errors import WhenceError

TEXT = r"""
                 **********
                 * WHENCE *
                 **********

What this file is for; a line such as this one has no kind, nor has http://example.org/firmware.

--------------------------------------------------------------------------

Driver: example - Example 802.11 wireless: the "B" series

Info: for example/*
File: example/a.bin
Version: 1.2.3 -> 4
RawFile: example/logo.bin
File: "example/model B3 PLATFORM.txt"
File: example/model\ C\ \ 4.txt
File:	example/tab.bin
Source: example/src/

Link: example/b.bin -> a.bin
Link: example/c.bin -> ./b.bin
Link: top.bin -> example/sub/../c.bin
Link: old/deep/example -> ../../example
Link: "example/model B4.txt" -> "model B3 PLATFORM.txt"
Link: example/model\ C5.txt -> model\ C\ \ 4.txt
Link: example/close.bin->a.bin
Link: "example/a -> b.bin" -> a.bin
Link: loop/a -> b
Link: loop/b -> ../loop/a
Link: gone.bin -> nowhere.bin
Link: out.bin -> ../../etc/passwd
Link: absolute.bin -> /lib/firmware/example/a.bin

Licence: Redistributable. See LICENCE.example for details
SPDX-License-Identifier: ISC

 File: not at the start of a line
Files: none
"""
WHENCE = parse_whence(TEXT)


def test_files_are_listed_in_order_with_their_names_unquoted() -> None:
    """Quotes and backslashes are of the file format, runs of blanks and what is not quoted are of the name."""
    assert WHENCE.files == (
        WhenceFile("example/a.bin"),
        WhenceFile("example/logo.bin", raw=True),
        WhenceFile("example/model B3 PLATFORM.txt"),
        WhenceFile("example/model C  4.txt"),
        WhenceFile("example/tab.bin"),
    )


def test_links_are_listed_in_order_with_their_targets_as_written() -> None:
    """The arrow divides a line where it is not quoted, with blanks around it or without."""
    assert WHENCE.links[:4] == (
        Link("example/b.bin", "a.bin"),
        Link("example/c.bin", "./b.bin"),
        Link("top.bin", "example/sub/../c.bin"),
        Link("old/deep/example", "../../example"),
    )
    assert Link("example/model B4.txt", "model B3 PLATFORM.txt") in WHENCE.links
    assert Link("example/model C5.txt", "model C  4.txt") in WHENCE.links
    assert Link("example/close.bin", "a.bin") in WHENCE.links
    assert Link("example/a -> b.bin", "a.bin") in WHENCE.links


def test_other_kinds_of_line_are_kept_apart() -> None:
    """They are for people; a line that does not begin with a kind is nothing."""
    assert WHENCE.notes == (
        WhenceNote("Driver", 'example - Example 802.11 wireless: the "B" series'),
        WhenceNote("Info", "for example/*"),
        WhenceNote("Version", "1.2.3 -> 4"),
        WhenceNote("Source", "example/src/"),
        WhenceNote("Licence", "Redistributable. See LICENCE.example for details"),
        WhenceNote("SPDX-License-Identifier", "ISC"),
        WhenceNote("Files", "none"),
    )


@pytest.mark.parametrize(
    ("name", "path", "links"),
    [
        ("example/a.bin", "example/a.bin", []),
        ("example//./a.bin", "example/a.bin", []),
        ("example/b.bin", "example/a.bin", ["example/b.bin"]),
        ("example/c.bin", "example/a.bin", ["example/c.bin", "example/b.bin"]),
        ("top.bin", "example/a.bin", ["top.bin", "example/c.bin", "example/b.bin"]),
        ("old/deep/example/logo.bin", "example/logo.bin", ["old/deep/example"]),
        ("old/deep/example/c.bin", "example/a.bin", ["old/deep/example", "example/c.bin", "example/b.bin"]),
        ("example/model B4.txt", "example/model B3 PLATFORM.txt", ["example/model B4.txt"]),
        ("example/model C5.txt", "example/model C  4.txt", ["example/model C5.txt"]),
    ],
)
def test_links_lead_to_files(name: str, path: str, links: list[str]) -> None:
    """Through links to links and through links to directories, each named once on the way."""
    trail = WHENCE.resolve(name)
    assert trail is not None
    assert (trail.path, [link.path for link in trail.links]) == (path, links)


@pytest.mark.parametrize(
    "name",
    [
        "unknown.bin",
        "example",
        "",
        "old/deep/example",
        "loop/a",
        "gone.bin",
        "out.bin",
        "absolute.bin",
        "../a.bin",
    ],
)
def test_what_leads_to_no_file_is_none(name: str) -> None:
    """Unknown names, directories, circles, links to nothing and links out of the firmware directory."""
    assert WHENCE.resolve(name) is None


def test_the_first_of_two_lines_for_a_place_counts_and_a_file_before_a_link() -> None:
    """As where `ln` refuses to make what is there."""
    whence = parse_whence("Link: a -> b\nLink: a -> c\nLink: b -> c\nFile: b\nFile: c\nFile: c\n")
    assert whence.resolve("a") == Trail("b", (Link("a", "b"),))
    assert whence.files == (WhenceFile("b"), WhenceFile("c"))
    assert "b" in whence
    assert "a" not in whence


def test_the_older_mark_for_files_not_to_compress_is_read() -> None:
    """Raw: was a line of its own, before or after the file's, until RawFile: took its place."""
    whence = parse_whence("Raw: a\nFile: a\nFile: b\nRaw: b\nRaw: c\nFile: d\n")
    assert whence.files == (WhenceFile("a", raw=True), WhenceFile("b", raw=True), WhenceFile("d"))


def test_text_and_bytes_read_the_same() -> None:
    """Names that are not UTF-8 are surrogate escapes; lines may end in CR LF."""
    assert parse_whence(TEXT.encode()) == WHENCE
    assert parse_whence(b"File: \xff\xc3\xa9\r\nFile: b \t\r\n").files == (WhenceFile("\udcffé"), WhenceFile("b"))
    assert parse_whence("") == Whence()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("File:", "no name"),
        ('File: ""', "no name"),
        ('File: "a', "quote"),
        ("RawFile: /etc/passwd", "not a plain path"),
        ("File: ../a", "not a plain path"),
        ("File: a/../../b", "not a plain path"),
        ("File: a\0b", "NUL"),
        ("Link: a", "->"),
        ("Link: a ->", "->"),
        ("Link: -> a", "->"),
        ("Link: a -> b -> c", "->"),
        ('Link: "a -> b', "quote"),
        ("Link: ../a -> b", "not a plain path"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_with_its_offset(line: str, reason: str) -> None:
    """The offset is that of the line in bytes."""
    before = "Driver: é\n"
    with pytest.raises(WhenceError, match=reason) as caught:
        parse_whence(f"{before}{line}\nFile: b\n")
    assert caught.value.offset == len(before.encode())


def test_text_that_no_file_holds_is_refused() -> None:
    """Half a surrogate pair cannot be encoded."""
    with pytest.raises(WhenceError):
        parse_whence("File: \ud800")


# --- follow -------------------------------------------------------------------------------------------------


def test_a_chain_is_followed_as_far_as_the_kernel_does() -> None:
    """Forty links are followed, one more is taken for a circle."""
    table = {f"l{number}": f"l{number + 1}" for number in range(MAX_LINKS + 1)}
    assert follow("l1", table.get) == Trail(
        f"l{MAX_LINKS + 1}", tuple(Link(f"l{n}", f"l{n + 1}") for n in range(1, MAX_LINKS + 1))
    )
    assert follow("l0", table.get) is None


def test_dotdot_goes_up_from_where_a_link_leads() -> None:
    """Not from where it is written: x/.. is the parent of what x points to."""
    assert follow("x/../f", {"x": "a/b"}.get) == Trail("a/f", (Link("x", "a/b"),))


def test_a_root_holds_absolute_targets_and_its_own_parent() -> None:
    """As after chroot(2)."""
    table = {"etc/a": "/../lib/b", "lib": "usr/lib"}
    assert follow("/etc/a", table.get, rooted=True) == Trail(
        "usr/lib/b", (Link("etc/a", "/../lib/b"), Link("lib", "usr/lib"))
    )
    assert follow("etc/a", table.get) is None
    assert follow("../../x", table.get, rooted=True) == Trail("x")


def test_paths_that_are_too_long_for_the_kernel_lead_nowhere() -> None:
    """The name asked for, or a target; the cost stays bounded."""
    table = {"a": "b" * MAX_PATH}
    assert follow("c" * (MAX_PATH - 1), table.get) == Trail("c" * (MAX_PATH - 1))
    assert follow("c/" * MAX_PATH, table.get) is None
    assert follow("a", table.get) is None


@pytest.mark.parametrize("unit", [" ", "-", '"', "\\", "\\ ", " -", "a"])
def test_a_line_of_any_length_costs_its_length(unit: str) -> None:
    """A megabyte of what the grammar looks at twice is read, or refused, at once."""
    line = "Link: a" + unit * (1 << 20) + "b -> c"
    with contextlib.suppress(WhenceError):
        parse_whence(line)
