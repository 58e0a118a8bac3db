"""lsmod, insmod and rmmod in real kernels, beside the real ones in the same guest."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import kmodkit
from kmodkit.ktest.image import ImageSpec
from kmodkit.ktest.qemu import PROGRAM
from kmodkit.ktest.runner import Setup, run
from tests.require import need
from tools import material

SCRIPT = "/srv/commands.py"

pytestmark = pytest.mark.real

# What kmod 30 puts before a message of its library: the source line and the function.
LIBRARY_PLACE = re.compile(r" \.\./libkmod/\S+ \w+\(\)(?= )")
# modules.builtin.bin, by which kmod knows what is built in, is not in the guest; ours reads modules.builtin.
NOT_LOADED = re.compile("Module (.*) is (builtin\\.|not currently loaded)")


def told(text: str) -> str:
    """Return a message without what may differ."""
    return NOT_LOADED.sub(r"Module \1 is not there", LIBRARY_PLACE.sub("", text))


@pytest.mark.parametrize("key", ["bookworm-amd64", "trixie-amd64"])
def test_the_same_calls_have_the_same_effect(key: str) -> None:
    """Status, standard output, messages and loaded modules after each call, on plain and compressed modules."""
    need(shutil.which(PROGRAM), f"{PROGRAM} is not installed", "qemu")
    kernel = need(material.cached_kernel(key), f"{key} is not in the cache: make test fetches it", "kernels")
    kmod = need(shutil.which("kmod"), "kmod is not there", "kmod") or ""
    image = ImageSpec(python_path=(Path(kmodkit.__file__).parent,), programs=(Path(kmod),))
    setup = Setup(kernel=kernel.root, modules=("r8169", "dummy"), image=image)
    here = Path(__file__).parent
    files = {
        SCRIPT: (here / "commands.py").read_bytes(),
        "/srv/tests/guest/forked.py": (here / "forked.py").read_bytes(),
    }
    done = run(["python3", SCRIPT, kmod], setup, files=files, timeout=300)
    assert done.status == 0, done.output
    results = json.loads(done.output)
    for theirs, mine in zip(results["kmod"], results["kmodkit"], strict=True):
        call, status, out, err, loaded = theirs
        assert (mine[0], mine[1], mine[2], mine[4]) == (call, status, out, loaded)
        assert told(mine[3]) == told(err), call
    statuses = {tuple(call): status for call, status, *_ in results["kmodkit"]}
    assert statuses[("rmmod", "libphy")] == 1
    assert statuses[("rmmod", "r8169", "mdio-devres", "libphy.ko")] == 0
