"""modprobe in real kernels, beside the real one in the same guest."""

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

SCRIPT = "/srv/modprobes.py"
MODULES = ("r8169", "dummy", "e1000e", "8139too")

pytestmark = pytest.mark.real

# What kmod 30 puts before a message of its library: the source line and the function.
LIBRARY_PLACE = re.compile(r" \.\./libkmod/\S+ \w+\(\)(?= )")


def told(text: str) -> str:
    """Return messages without what may differ: where kmod 30's library is, and our warnings about parameters."""
    lines = LIBRARY_PLACE.sub("", text).splitlines()
    return "\n".join(line for line in lines if "lists no parameter" not in line)


@pytest.mark.parametrize("key", ["bookworm-amd64", "trixie-amd64"])
def test_the_same_calls_have_the_same_effect(key: str) -> None:
    """Status, output, messages, and what is loaded and used by whom after each call."""
    need(shutil.which(PROGRAM), f"{PROGRAM} is not installed", "qemu")
    kernel = need(material.cached_kernel(key), f"{key} is not in the cache: make test fetches it", "kernels")
    kmod = need(shutil.which("kmod"), "kmod is not there", "kmod") or ""
    image = ImageSpec(python_path=(Path(kmodkit.__file__).parent,), programs=(Path(kmod),))
    setup = Setup(kernel=kernel.root, modules=MODULES, image=image)
    here = Path(__file__).parent
    files = {
        SCRIPT: (here / "modprobes.py").read_bytes(),
        "/srv/tests/guest/forked.py": (here / "forked.py").read_bytes(),
    }
    done = run(["python3", SCRIPT, kmod], setup, files=files, timeout=300)
    assert done.status == 0, done.output
    results = json.loads(done.output)
    loaded = set()
    for theirs, mine in zip(results["kmod"], results["kmodkit"], strict=True):
        call, status, out, err, state = theirs
        assert (mine[0], mine[1], mine[2], mine[4]) == (call, status, out, state)
        assert told(mine[3]) == told(err), call
        loaded |= set(state)
    assert any(line.startswith("r8169 ") for line in loaded)
    assert "dummy1" in loaded
