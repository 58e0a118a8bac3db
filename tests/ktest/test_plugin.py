"""The pytest plugin, in projects of a single test file."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CONFTEST = """
import pytest

@pytest.fixture
def answer():
    return 42

@pytest.hookimpl(optionalhook=True)
def pytest_ktest_kernel(config, key):
    return {kernel!r} if key == "mine" else None
"""
TESTS = """
import ctypes, glob, os, socket, time
from pathlib import Path
import pytest

def loaded():
    return [line.split()[0] for line in Path("/proc/modules").read_text().splitlines()]

def load(name):
    path, = glob.glob(f"/lib/modules/{os.uname().release}/**/{name}.ko*", recursive=True)
    descriptor = os.open(path, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    status = libc.syscall(313, descriptor, b"", 4 if path.endswith(".xz") else 0)
    os.close(descriptor)
    assert status == 0, os.strerror(ctypes.get_errno())

def test_here():
    assert "KMODKIT_KTEST_GUEST" not in os.environ

@pytest.mark.ktest(modules=["dummy"])
class TestThere:
    @pytest.mark.parametrize("n", [1, 2])
    def test_pristine(self, n, answer, tmp_path):
        assert os.environ["KMODKIT_KTEST_GUEST"] and answer == 42
        assert loaded() == []
        load("dummy")
        assert loaded() == ["dummy"]

    def test_fail(self):
        print("printed in the guest")
        numbers = [1, 2]
        assert numbers == [1, 3]

    def test_skip(self):
        pytest.skip("for a reason of its own")

    @pytest.mark.xfail(strict=True)
    def test_xfail(self):
        assert False

    def test_panic(self):
        Path("/proc/sysrq-trigger").write_text("c")

    @pytest.mark.ktest(modules=["dummy"], timeout=4)
    def test_slow(self):
        time.sleep(600)

    def test_dies(self):
        os.kill(os.getpid(), 9)

    def test_plug(self, ktest_qmp):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as events:
            events.bind((0, 1))
            ktest_qmp("device_add", driver="e1000e", id="nic", bus="rp0")
            while b"MODALIAS=pci:v00008086d000010D3" not in events.recv(65536):
                pass

def test_here_again():
    pass
"""


def project(path: Path, tests: str, kernel: Path | None = None) -> Path:
    """Write a project and return its directory."""
    (path / "pytest.ini").write_text("[pytest]\naddopts = -p kmodkit.ktest.plugin --strict-markers\n")
    (path / "tests").mkdir()
    (path / "tests/conftest.py").write_text(CONFTEST.format(kernel=str(kernel)))
    (path / "tests/test_it.py").write_text(tests)
    return path


def pytest_in(path: Path, *words: str) -> str:
    """Run pytest there and return what it prints."""
    argv = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *words]
    done = subprocess.run(argv, cwd=path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


def outcomes(output: str) -> dict[str, str]:
    """Return the outcome of each test by its short name."""
    found = re.findall(r"^([A-Z]+) .*::(test_\w+(?:\[\S+\])?)", output, re.MULTILINE)
    return {name: outcome for outcome, name in found}


def test_without_a_kernel_marked_tests_are_skipped(tmp_path: Path) -> None:
    """Visibly, with what to do; the others run."""
    output = pytest_in(project(tmp_path, TESTS))
    assert "2 passed, 9 skipped" in output
    assert "give --ktest KERNEL" in output


def test_unknown_kernel_is_an_error_of_each_test(tmp_path: Path) -> None:
    """Not a skip: a kernel was asked for."""
    output = pytest_in(project(tmp_path, TESTS), "--ktest", "other", "-k", "skip")
    assert "no kernel 'other'" in output
    assert "1 error" in output


def test_marker_takes_known_words_only(tmp_path: Path) -> None:
    """A misspelt one would otherwise go unnoticed."""
    path = project(tmp_path, "import pytest\n@pytest.mark.ktest(device=[])\ndef test_it(): pass\n")
    assert "does not take device" in pytest_in(path, "--ktest=/")


@pytest.mark.real
def test_marked_tests_run_in_the_guest(tmp_path: Path, kernel_root: Path) -> None:
    """Each from the same pristine kernel, reported as if it had run here."""
    output = pytest_in(project(tmp_path, TESTS, kernel_root), "--ktest", "mine")
    assert outcomes(output) == {
        "test_here": "PASSED",
        "test_here_again": "PASSED",
        "test_pristine[mine-1]": "PASSED",
        "test_pristine[mine-2]": "PASSED",
        "test_fail[mine]": "FAILED",
        "test_xfail[mine]": "XFAIL",
        "test_panic[mine]": "FAILED",
        "test_slow[mine]": "FAILED",
        "test_dies[mine]": "FAILED",
        "test_plug[mine]": "PASSED",
    }, output
    for text in (
        "for a reason of its own",
        "assert [1, 2] == [1, 3]",
        "printed in the guest",
        "sysrq triggered crash",
        "within 4 seconds",
        "ended with status 137",
    ):
        assert text in output


@pytest.mark.real
def test_file_that_does_not_import_in_the_guest_is_an_error(tmp_path: Path, kernel_root: Path) -> None:
    """With the guest's words."""
    lines = (
        "import os, pytest",
        "if 'KMODKIT_KTEST_GUEST' in os.environ: import nowhere_to_be_found",
        "@pytest.mark.ktest",
        "def test_it(): pass",
    )
    tests = "\n".join(lines)
    output = pytest_in(project(tmp_path, tests, kernel_root), "--ktest", "mine")
    assert "No module named 'nowhere_to_be_found'" in output
    assert "1 error" in output
