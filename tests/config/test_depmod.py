"""depmod.d(5): its lines, and which file they choose."""

from __future__ import annotations

import pytest

from kmodkit.config.depmod import DepmodConfig, External, Override, release_matches


def config(text: str, release: str = "6.1.0") -> DepmodConfig:
    """Return what one file says for a release."""
    return DepmodConfig.parse([("x.conf", text.encode())]).for_release(release)


def test_lines_are_read() -> None:
    """Each keyword adds to what came before, in any number of lines."""
    found = config(
        "# a comment\n"
        "search updates extra\n"
        "search\tbuilt-in\n"
        "override fuse 6.* weak\n"
        "external * /opt/modules\n"
        "exclude debug old\n"
        "make_map_files yes\n"
        "include /etc/other\n"
    )
    assert found.search == ("updates", "extra", "built-in")
    assert found.overrides == (Override("fuse", "6.*", "weak"),)
    assert found.externals == (External("*", "/opt/modules"),)
    assert found.excludes == ("debug", "old")
    assert found.problems == ()


def test_a_backslash_at_the_end_goes_on() -> None:
    """The next line is part of this one."""
    assert config("search a \\\n b\nsearch c\n").search == ("a", "b", "c")


def test_bad_lines_are_named_with_their_number() -> None:
    """They are passed over, and the rest counts."""
    found = config("serach x\noverride fuse\nexternal a\nsearch \\\nok\nx\\\ny\n")
    assert found.search == ("ok",)
    assert found.problems == (
        "x.conf:1: ignoring bad line starting with 'serach'",
        "x.conf:2: ignoring bad line starting with 'override'",
        "x.conf:3: ignoring bad line starting with 'external'",
        "x.conf:7: ignoring bad line starting with 'xy'",
    )


def test_without_a_search_line_updates_come_first() -> None:
    """The default of depmod.d(5)."""
    found = config("")
    assert found.search == ("updates",)
    assert found.prefers("updates/a", "kernel/a")
    assert not found.prefers("kernel/a", "updates/a")
    assert not found.prefers("updates-not/a", "kernel/a")


@pytest.mark.parametrize(
    ("pattern", "release", "matches"),
    [
        ("*", "6.1.0", True),
        ("6\\.1.*", "6.1.0", True),
        ("^5", "6.1.0", False),
        ("1", "6.1.0", True),
        ("(", "6", False),
    ],
)
def test_a_release_is_matched_by_an_expression(pattern: str, release: str, matches: bool) -> None:
    """Anywhere in the release, unless it is anchored; a lone star is any."""
    assert release_matches(pattern, release) == matches


def test_rules_for_other_releases_do_not_count() -> None:
    """Overrides and external directories are chosen by the release."""
    text = "override a 5.* x\nexternal 5.* /x\n"
    assert not config(text).overrides and not config(text).externals
    assert len(config(text, "5.10").overrides) == len(config(text, "5.10").externals) == 1


@pytest.mark.parametrize(
    ("text", "new", "old", "chosen"),
    [
        ("search a b", "a/m", "b/m", True),
        ("search a b", "b/m", "a/m", False),
        ("search a built-in b", "b/m", "kernel/m", False),
        ("search a built-in b", "kernel/m", "b/m", True),
        ("search built-in", "x/m", "y/m", False),
        ("search a\noverride m * b", "b/m", "a/m", True),
        ("search a\noverride m * b", "a/m", "b/m", False),
        ("search a\noverride n * b", "b/m", "a/m", False),
        ("override m * b\noverride m * c", "c/m", "b/m", True),
        ("search external a\nexternal * /e", "/e/m", "a/m", True),
        ("search a external\nexternal * /e", "/e/m", "a/m", False),
        ("search external\nexternal * /e\nexternal * /f", "/f/m", "/e/m", False),
        ("search a", "a/x/m", "a/y/m", True),
    ],
)
def test_one_of_two_files_is_chosen(text: str, new: str, old: str, chosen: bool) -> None:
    """By overrides, then by the place of their directories in the search order."""
    assert config(text).prefers(new, old) == chosen
