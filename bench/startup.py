"""Commands of one shot: a lookup beside the interpreter's own start, a coldplug beside modprobe's."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import kmodkit
from bench import commands, queries
from bench.measure import Row, medians
from kmodkit.core.names import name_from_path, to_text

if TYPE_CHECKING:
    from bench.commands import Runner
    from tools.material import Kernel

_CARD: Final = "pci:v00008086d00001591sv00001043sd000085F0bc02sc00i00"
_TARGET: Final = 2.5


def rows(kernel: Kernel, root: Path, *, rounds: int) -> list[Row]:
    """Return the times of commands on ``kernel``; ``root`` is its copy on which depmod was run."""
    tree = root / kernel.modules.relative_to(kernel.root)
    modprobe = [shutil.which("modprobe") or "/sbin/modprobe", "-d", str(root), "-S", kernel.release]
    with tempfile.TemporaryDirectory() as scratch, commands.runner() as runner:
        meta, sys = Path(scratch, "meta.pb"), Path(scratch, "sys")
        kmodkit.save_metadata(kmodkit.scan(kernel.root).catalog, meta)
        aliases = _machine(sys)
        lookup = [*commands.KMODKIT, "lookup", _CARD]
        coldplug = [*commands.KMODKIT, "coldplug", "--dry-run", "--meta", str(meta), "--sys", str(sys)]
        calls = {
            "bare": [*commands.BARE],
            "meta": [*lookup, "--meta", str(meta)],
            "tree": [*lookup, "--tree", str(tree)],
            "resolve": [*modprobe, "-R", _CARD],
            "coldplug": coldplug,
            "insert": [*modprobe, "-a", "-n", "-q", "-b", "--", *aliases],
        }
        _check(runner, calls, [*modprobe, "-a", "-n", "-v", "-b", "--", *aliases])
        taken = medians([lambda argv=argv: runner.run(argv) for argv in calls.values()], rounds)  # type: ignore[misc]
        times = {name: 1e3 * value for name, value in zip(calls, taken, strict=True)}
    note = f"{times['meta'] / times['resolve']:.0f} times modprobe -R, which has no interpreter to start"
    bare = "python -I -c pass"
    return [
        Row("kmodkit lookup --meta", "ms", times["meta"], times["bare"], bare, note, _TARGET),
        Row("kmodkit lookup, depmod's files", "ms", times["tree"], times["bare"], bare, "", _TARGET),
        Row(
            "kmodkit coldplug --dry-run",
            "ms",
            times["coldplug"],
            times["insert"],
            "modprobe -a -n",
            f"{len(aliases)} devices; {times['coldplug'] / times['bare']:.1f} times {bare}",
        ),
    ]


def _machine(sys: Path) -> list[str]:
    """Make a sysfs with a device for each line of a typical machine, and return these."""
    aliases = [to_text(text) for text in queries.typical_machine()]
    for number, alias in enumerate(aliases):
        device = sys / f"devices/device{number:03}"
        device.mkdir(parents=True)
        (device / "modalias").write_text(alias + "\n")
    return aliases


def _check(runner: Runner, calls: dict[str, list[str]], verbose: list[str]) -> None:
    """Run everything once, so that its bytecode is there, and assert that both sides give the same."""
    answers = {name: runner.run(argv).splitlines() for name, argv in calls.items()}
    assert answers["meta"] == answers["tree"] == answers["resolve"], answers
    theirs = {name_from_path(line.split()[1]) for line in runner.run(verbose).splitlines()}
    ours = {line.split()[1] for line in answers["coldplug"]}
    assert ours == theirs, ours ^ theirs
