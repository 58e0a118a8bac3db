"""What a guest runs for test_kmod_commands: the same calls of each set of tools; prints what they did, as JSON."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.guest import forked

JUNK = "/tmp/junk.ko"  # noqa: S108 - a guest is one test's own
SCRIPT = "#!/usr/bin/python3\nimport sys\nfrom kmodkit.cli import main\nsys.exit(main())\n"


def file_of(name: str) -> str:
    """Return the file of a module."""
    (found,) = glob.glob(f"/lib/modules/{os.uname().release}/**/{name}.ko*", recursive=True)  # noqa: PTH207
    return found


def calls() -> list[list[str]]:
    """Return the calls, in order; nothing is loaded before the first nor after the last."""
    libphy, mdio, r8169, dummy = map(file_of, ("libphy", "mdio_devres", "r8169", "dummy"))
    builtin = Path(f"/lib/modules/{os.uname().release}/modules.builtin").read_text().splitlines()[0]
    return [
        ["lsmod"],
        ["insmod", r8169],
        ["insmod", libphy],
        ["insmod", libphy],
        ["insmod", mdio],
        ["insmod", r8169, "aspm=0"],
        ["insmod", dummy, "numdummies=nonsense"],
        ["insmod", dummy, "numdummies=3", "no_such_parameter=two words"],
        ["insmod", "/etc/none.ko"],
        ["insmod", JUNK],
        ["lsmod"],
        ["kmod", "list"],
        ["rmmod", "libphy"],
        ["rmmod", "no-such-module", "dummy"],
        ["rmmod", "dummy"],
        ["rmmod", builtin.rpartition("/")[2]],
        ["rmmod", "r8169", "mdio-devres", "libphy.ko"],
        ["lsmod"],
        # kmod before 31 takes a compressed module apart to force it, and the kernel refuses what is left.
        *([["insmod", "-f", dummy], ["lsmod"], ["rmmod", "-v", "dummy"]] if dummy.endswith(".ko") else []),
    ]


def run(directory: Path) -> list[object]:
    """Return for each call what was printed, the exit status and what was loaded then."""
    done: list[object] = []
    for name, *words in calls():
        ran: subprocess.CompletedProcess[str] | forked.Done
        if done and directory.name == "kmodkit":  # the first call has an interpreter of its own
            ran = forked.call(name, *words)
        else:
            ran = subprocess.run([str(directory / name), *words], capture_output=True, text=True, check=False)
        loaded = sorted(line.split()[0] for line in Path("/proc/modules").read_text().splitlines())
        done.append([[name, *words], ran.returncode, ran.stdout, ran.stderr, loaded])
    return done


def main() -> None:
    """Make both sets of tools and run the calls with each."""
    Path(JUNK).write_bytes(b"junk and more")
    results = {}
    for kind in ("kmod", "kmodkit"):
        directory = Path("/tmp", kind)  # noqa: S108 - a guest is one test's own
        directory.mkdir()
        for name in ("lsmod", "insmod", "rmmod", "kmod"):
            if kind == "kmod":
                (directory / name).symlink_to(sys.argv[1])
            else:
                (directory / name).write_text(SCRIPT)
                (directory / name).chmod(0o755)
        results[kind] = run(directory)
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
