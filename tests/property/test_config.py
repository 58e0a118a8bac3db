"""Any text of a configuration: kmod's own reading of it is the oracle."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmodkit.config.cmdline import parse_cmdline
from kmodkit.config.modprobe import ModprobeConfig, parse_modprobe_conf
from kmodkit.core.names import to_bytes, to_text
from tests.modprobes import OURS, Bench, namespaces
from tests.require import need
from tools import material

WORDS = st.sampled_from(
    ["alias", "blacklist", "install", "options", "remove", "softdep", "weakdep", "include", "#", "pre:", "post:"]
) | st.text("ab-_[]*\\\"'#=:.\x0b\r", max_size=6)
BLANKS = st.sampled_from([" ", " ", " ", "\t", "  ", " \\\n", "\n", "\n", "\n"])
FILES = st.lists(st.tuples(WORDS, BLANKS), max_size=40).map(lambda pairs: "".join(a + b for a, b in pairs))
CMDLINES = st.text('abc-._="[] \t,', max_size=60) | st.lists(
    st.sampled_from(
        ["a.b=1", '"c.d=e f"', "modprobe.blacklist=a,b-c", "x", "g.h", "quiet", 'i.j="k l"', '"', "--"]
    )
).map(" ".join)


@cache
def tool() -> list[str]:
    """Return the first arguments of a command that runs kmod 34's modprobe."""
    return need(
        material.cached_trixie_tool("modprobe"), "trixie's kmod is not in the cache: make test fetches it", "kmod"
    )


@settings(max_examples=150)
@given(FILES)
@example("softdep m pre: a b post: c pre: d\n")
@example("weakdep a  b\noptions a \\\n b\nalias x\\")
def test_a_file_says_what_kmod_says_it_says(text: str) -> None:
    """--showconfig prints the same bytes, whatever the file holds."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "x.conf")
        path.write_bytes(to_bytes(text))
        words = ["-d", directory, "-S", "0", "-C", str(path), "-c"]
        real = subprocess.run([*tool(), *words], capture_output=True, check=True, env={"LC_ALL": "C"})
        # kmod adds the command line of this kernel, also for another root.
        config = ModprobeConfig.join(
            (parse_modprobe_conf(path.read_bytes(), str(path)), parse_cmdline(Path("/proc/cmdline").read_bytes()))
        )
    ours = "".join(f"{line}\n" for line in config.lines())
    assert to_text(real.stdout).partition("\n# End")[0] == ours
    bad = [line.partition("kmod_config_parse: ")[2] for line in to_text(real.stderr).split("\n")]
    assert [line for line in bad if line] == [
        line for problem in config.problems for line in problem.text.split("\n") if str(path) in line
    ]


@settings(max_examples=60)
@given(CMDLINES)
def test_a_command_line_says_what_kmod_says_it_says(text: str) -> None:
    """The options and the blacklist are the same."""
    namespaces()
    with tempfile.TemporaryDirectory() as directory:
        words = ["-d", directory, "-S", "0", "-C", "/dev/null", "-c"]
        real = Bench(Path(directory)).run(tool(), words, cmdline=text)
    ours = "".join(f"{line}\n" for line in parse_cmdline(f"{text}\n").lines())
    assert real.out.partition("\n# End")[0] == ours


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    """Nothing raises, and each line of the file is either said or reported once."""
    config = parse_modprobe_conf(data, "x.conf")
    said = sum(len(getattr(config, kind)) for kind in ModprobeConfig.__slots__)
    assert said <= data.count(b"\n") + 1
    assert all(problem.text.startswith("x.conf") for problem in config.problems)


def test_the_oracle_is_not_ourselves() -> None:
    """The tool that is compared with is kmod's."""
    assert tool()[0] != OURS[0]
