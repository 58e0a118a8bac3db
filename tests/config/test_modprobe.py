"""modprobe.d and the kernel command line as values."""

from __future__ import annotations

import pytest

from kmodkit.config.cmdline import parse_cmdline
from kmodkit.config.modprobe import (
    Alias,
    Blacklist,
    Command,
    ModprobeConfig,
    Options,
    Origin,
    SoftDep,
    WeakDep,
    matches,
    normalize_pattern,
    parse_modprobe_conf,
)


def parse(text: str) -> ModprobeConfig:
    """Return what a file called ``x.conf`` with this text says."""
    return parse_modprobe_conf(text, "x.conf")


def shown(text: str) -> list[str]:
    """Return what --showconfig prints of a file."""
    return list(parse(text).lines())


def test_every_directive_is_kept_with_its_line() -> None:
    """Each value knows the file and the line that said it."""
    config = parse(
        "alias a b\nblacklist c\ninstall d /bin/true\noptions e f=1\nremove g /bin/false\n"
        "softdep h pre: i post: j\nweakdep k l\n"
    )
    entries: tuple[Alias | Blacklist | Command | Options | SoftDep | WeakDep, ...] = (
        *config.aliases,
        *config.blacklist,
        *config.install,
        *config.options,
        *config.remove,
        *config.softdeps,
        *config.weakdeps,
    )
    assert [entry.origin for entry in entries] == [Origin("x.conf", line) for line in range(1, 8)]
    assert str(entries[0].origin) == "x.conf:1"
    assert config.problems == ()


def test_joined_lines_have_the_number_of_the_first() -> None:
    """An origin is where a directive begins; the number in a message is where it ends, as with kmod."""
    config = parse("\nalias a\\\n-c \\\n b\nbogus \\\n x\n")
    assert config.aliases[0][:2] == ("a_c", "b")
    assert config.aliases[0].origin.line == 2
    assert config.problems[0].text == "x.conf line 6: ignoring bad line starting with 'bogus'"


def test_a_comment_takes_the_lines_joined_to_it() -> None:
    """A backslash at the end of a comment hides the next line."""
    assert shown("# a \\\nalias b c\nalias d e\n") == ["alias d e"]


def test_only_the_first_column_makes_a_comment() -> None:
    """A # behind blanks is a bad line; kmod says so too."""
    assert parse("  # x\n").problems[0].text == "x.conf line 1: ignoring bad line starting with '#'"


def test_old_directives_are_named() -> None:
    """Include and config once were directives."""
    (problem,) = parse("include /etc/more\n").problems
    assert problem.text == "x.conf: command include is deprecated and not parsed anymore"


@pytest.mark.parametrize(
    "line", ["alias a", "alias", "options a", "install a", "softdep a", "weakdep", "alias a[ b"]
)
def test_a_line_that_lacks_something_is_a_bad_one(line: str) -> None:
    """It is reported and says nothing."""
    config = parse(f"{line}\n")
    assert list(config.lines()) == []
    assert len(config.problems) == 1


def test_options_of_a_module_and_of_the_alias_asked_for_are_added_together() -> None:
    """They come in the order of the files."""
    config = parse("options real a=1\noptions nick b=2\noptions other c=3\noptions real d=4\n")
    assert [one.text for one in config.options_of("real", "nick")] == ["a=1", "b=2", "d=4"]
    assert [one.text for one in config.options_of("real")] == ["a=1", "d=4"]


def test_the_first_matching_command_counts_and_takes_wildcards() -> None:
    """Install and remove lines may be for many modules."""
    config = parse("install snd-* first\ninstall snd_pcm second\n")
    command = config.command("install", "snd_pcm")
    assert command is not None
    assert command.command == "first"
    assert config.command("remove", "snd_pcm") is None


def test_a_command_is_a_name_of_its_own_only_when_spelled_out() -> None:
    """A wildcard makes no name that could be asked for."""
    config = parse("install virtual-x echo\nremove wild* echo\n")
    assert config.has_command("virtual_x")
    assert not config.has_command("wildcat")


def test_soft_dependencies_keep_their_lists_apart() -> None:
    """Words before the first list mean nothing, and a list may be taken up again."""
    (soft,) = parse("softdep m x pre: a b post: c pre: d\n").softdeps
    assert soft.pre == ("a", "b", "d")
    assert soft.post == ("c",)


def test_soft_dependencies_are_shown_as_kmod_shows_them() -> None:
    """Without a blank between the lists, and with what stands between the first and the last of one."""
    assert shown("softdep m pre: a b post: c pre: d\n") == ["softdep m pre: a b c dpost: c"]


def test_a_backslash_takes_the_next_character_as_it_is() -> None:
    """Two make one, and one at the end of a file makes nothing."""
    assert shown('install a b\\\\c \\"d\nalias e f\\') == ['install a b\\c "d', "alias e f"]


def test_values_keep_their_blanks() -> None:
    """All behind the one blank after the name belongs to the value."""
    assert parse("options a   b=1  \n").options[0].text == "  b=1  "


def test_a_blacklist_from_the_command_line_counts_in_either_spelling() -> None:
    """Names there may have - and stand in quotes."""
    config = parse_cmdline('modprobe.blacklist=snd-pcm "modprobe.blacklist=a,b"')
    assert all(config.blacklisting(name) for name in ("snd_pcm", "a", "b"))
    assert config.blacklisting("pcm") is None


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ('mod.p="a b" m-x.p-y=1', ['mod p="a b"', "m_x p-y=1"]),
        ('"mod.p=a b" x.y', ['mod p="a b"', "x y"]),
        ("nothing a=b.c a.b.c=1 foo..x=1", []),
        ('"m.p" m."p=1" "m".p=1', []),
        ('a.b=1 c.d="never closed e.f=2', ["a b=1"]),
        ("usbcore.quirks=a:b:c,d\n", ["usbcore quirks=a:b:c,d"]),
    ],
)
def test_the_command_line_gives_parameters(text: str, options: list[str]) -> None:
    """One dot before the = makes a module's parameter; quotes keep blanks."""
    config = parse_cmdline(text)
    assert [f"{one.module} {one.text}" for one in config.options] == options


def test_a_module_name_with_half_a_bracket_is_reported() -> None:
    """It comes from the command line, which is named."""
    (problem,) = parse_cmdline("mod[.d=1").problems
    assert "mod[" in problem.text
    assert problem.origin.path == "/proc/cmdline"


def test_brackets_keep_their_dashes() -> None:
    """A range is no name."""
    assert normalize_pattern("a-[b-d]-e") == "a_[b-d]_e"
    assert normalize_pattern("a]") is None


def test_patterns_match_whole_names() -> None:
    """As fnmatch(3) does."""
    assert matches("snd_*", "snd_pcm")
    assert not matches("snd", "snd_pcm")
    assert matches("a[b-d]", "ac")


def test_files_are_joined_in_order() -> None:
    """The first file's entries come first, of each kind."""
    joined = ModprobeConfig.join([parse("alias a b\n"), parse_modprobe_conf(b"alias a c\n", "y.conf")])
    assert [(one.module, one.origin.path) for one in joined.aliases_of("a")] == [("b", "x.conf"), ("c", "y.conf")]


def test_bytes_that_are_no_text_come_back() -> None:
    """They are carried with surrogateescape."""
    (line,) = parse_modprobe_conf(b"options a b=\xff\n", "x.conf").lines()
    assert line.encode("utf-8", "surrogateescape") == b"options a b=\xff"
