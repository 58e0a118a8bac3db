"""What a guest runs for test_modprobe: the same calls of each modprobe; prints what they did, as JSON."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from kmodkit.errors import SyscallError
from kmodkit.kernel.syscalls import delete_module
from tests.guest import forked

CONF = "/srv/a.conf"  # before modules.softdep, whose line for r8169 would count else
CONFIG = """\
alias netcard r8169
alias realtek-* dummy
options dummy numdummies=2
softdep r8169 post: dummy
blacklist e1000e
"""
SCRIPT = "#!/usr/bin/python3\nimport sys\nfrom kmodkit.cli import main\nsys.exit(main())\n"
CARD = "pci:v000010ECd00008168sv00001043sd000085AAbc02sc00i00"
OTHER_CARD = "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00"

CALLS = [
    ["-v", "r8169"],
    ["-v", "r8169"],
    ["--first-time", "r8169"],
    ["-rv", "libphy"],
    ["-rv", "r8169"],
    ["-r", "--first-time", "r8169"],
    ["-n", "-v", CARD],
    ["-q", "-b", CARD],
    ["-rv", "--remove-holders", "libphy"],
    ["-av", "dummy", "r8169", "no-such-module"],
    ["-rv", "r8169", "dummy"],
    ["-v", "-C", CONF, "netcard"],
    ["-rv", "-C", CONF, "netcard"],
    ["-v", "-C", CONF, "realtek-x", "numdummies=1"],
    ["-r", "dummy"],
    ["-v", "-C", CONF, OTHER_CARD],
    ["-v", "-C", CONF, "-b", "e1000e"],
    ["-v", "-C", CONF, "e1000e"],
    ["-r", "e1000e"],
    ["dummy", "numdummies=nonsense"],
    ["dummy", "no_such_parameter=1"],
    ["-r", "dummy"],
    ["no-such-module"],
    ["-r", "no-such-module"],
    ["-R", CARD],
    ["-D", "r8169"],
    ["-c"],
    ["-v", "8139too"],
    ["-rv", "8139too"],
]  # fmt: skip


def state() -> list[str]:
    """Return what is loaded, with who uses it, and the parameter that options set."""
    lines = Path("/proc/modules").read_text().splitlines()
    loaded = sorted(" ".join(line.split()[:1] + line.split()[2:4]) for line in lines)
    return loaded + sorted(link.name for link in Path("/sys/class/net").iterdir())


def unload_all() -> None:
    """Unload what is left: modprobe -r leaves what was in use when its turn came."""
    while names := [line.split()[0] for line in Path("/proc/modules").read_text().splitlines()]:
        for name in names:
            with contextlib.suppress(SyscallError):
                delete_module(name)


def main() -> None:
    """Index the modules with the real depmod and run the calls with each modprobe."""
    tools = Path("/tmp/kmod")  # noqa: S108 - a guest is one test's own
    tools.mkdir()
    for name in ("depmod", "modprobe"):
        (tools / name).symlink_to(sys.argv[1])
    ours = Path("/tmp/ours/modprobe")  # noqa: S108
    ours.parent.mkdir()
    ours.write_text(SCRIPT)
    ours.chmod(0o755)
    Path(CONF).write_text(CONFIG)
    subprocess.run([str(tools / "depmod")], check=True)
    results = {}
    for kind, tool in (("kmod", tools / "modprobe"), ("kmodkit", ours)):
        done: list[object] = []
        for words in CALLS:
            ran: subprocess.CompletedProcess[str] | forked.Done
            if done and kind == "kmodkit":  # the first call has an interpreter of its own
                ran = forked.call(tool.name, *words)
            else:
                ran = subprocess.run([str(tool), *words], capture_output=True, text=True, check=False)
            done.append([words, ran.returncode, ran.stdout, ran.stderr, state()])
        results[kind] = done
        unload_all()
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
