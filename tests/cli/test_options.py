"""Words as getopt_long takes them, and messages as kmod words them; glibc's own getopt is asked in tests/real."""

from __future__ import annotations

import pytest

from kmodkit.cli.options import DEBUG, INFO, Log, OptionError, Options

LONG = {"all": "a", "field=": "F", "first-time": "first", "show-config": "c", "showconfig": "c", "show": "n"}


def parse(*words: str, permute: bool = True) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the options and the operands of a call."""
    options = Options(words, "acnF:", LONG, permute=permute)
    return list(options), options.operands


def test_letters_are_bundled_and_options_may_follow_operands() -> None:
    """``x -acFname y`` is two options, one with an argument, and two operands."""
    assert parse("x", "-acFname", "y") == ([("a", ""), ("c", ""), ("F", "name")], ["x", "y"])


def test_an_argument_may_be_the_next_word() -> None:
    """Also where it looks like an option."""
    assert parse("-F", "-a", "--field", "--", "--field=") == ([("F", "-a"), ("F", "--"), ("F", "")], [])


def test_two_dashes_end_the_options() -> None:
    """And a single dash is an operand."""
    assert parse("-a", "-", "--", "-c") == ([("a", "")], ["-", "-c"])


def test_without_permuting_the_first_operand_ends_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """As POSIX has it: where that is asked for, or in the environment."""
    assert parse("-a", "x", "-c", permute=False) == ([("a", "")], ["x", "-c"])
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    assert parse("-a", "x", "-c") == ([("a", "")], ["x", "-c"])


def test_long_options_may_be_cut_short() -> None:
    """While they mean one option; its other names do no harm, and a whole name wins."""
    assert parse("--al", "--show", "--show-", "--fie=x")[0] == [("a", ""), ("n", ""), ("c", ""), ("F", "x")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-Z"], "invalid option -- 'Z'"),
        (["-F"], "option requires an argument -- 'F'"),
        (["--none=1"], "unrecognized option '--none=1'"),
        (["--fi"], "option '--fi' is ambiguous; possibilities: '--field' '--first-time'"),
        (["--all=1"], "option '--all' doesn't allow an argument"),
        (["--field"], "option '--field' requires an argument"),
    ],
)
def test_wrong_words_get_getopts_message(words: list[str], message: str) -> None:
    """Letter by letter, for scripts read it."""
    with pytest.raises(OptionError) as caught:
        parse(*words)
    assert str(caught.value) == message


def test_what_comes_before_a_wrong_word_has_its_effect() -> None:
    """So that ``--help --bad`` is help."""
    options = iter(Options(["-a", "-Z"], "a", {}))
    assert next(options) == ("a", "")
    with pytest.raises(OptionError):
        next(options)


def test_messages_begin_with_the_command_and_their_weight(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, down to the level that was asked for."""
    log = Log("kmodkit modinfo")
    log.error("a")
    log.warning("b")
    log.info("c")
    log.level = INFO
    log.info("d")
    log.say(DEBUG, "e")
    log.critical("f")
    assert capsys.readouterr() == (
        "",
        "modinfo: ERROR: a\nmodinfo: WARNING: b\nmodinfo: INFO: d\nmodinfo: FATAL: f\n",
    )


def test_answers_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """As they are."""
    Log("modprobe").show("insmod /x.ko")
    assert capsys.readouterr() == ("insmod /x.ko\n", "")


def test_syslog_takes_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Where that is asked for, nothing is printed, whatever is in the text."""
    log = Log("modprobe", syslog=True)
    log.error("of kmodkit's tests\0")
    log.show("of kmodkit's tests")
    assert capsys.readouterr() == ("", "")
