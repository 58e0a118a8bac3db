"""Loaded state from copies of /proc and /sys."""

import errno
import os
from pathlib import Path

import pytest

from kmodkit.errors import FileError, ProcModulesError
from kmodkit.kernel import modules
from kmodkit.kernel.modules import (
    Restrictions,
    compression,
    initstate,
    is_builtin,
    loaded_modules,
    parameters,
    refcnt,
    restrictions,
)

LISTING = """\
snd_pcm 16384 1 snd_hda, Live 0x0000000000000000 (E)
snd_hda 32768 0 - Live 0x0000000000000000
"""


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below ``root``, with their directories, and return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_loaded_modules_come_in_the_kernels_order(tmp_path: Path) -> None:
    """The listing is that of PROC/modules."""
    write(tmp_path, {"modules": LISTING})
    assert [module.name for module in loaded_modules(proc=tmp_path)] == ["snd_pcm", "snd_hda"]


def test_a_module_listed_twice_counts_once(tmp_path: Path) -> None:
    """The kernel repeats a module where the list shifts between two pages of the file."""
    write(tmp_path, {"modules": LISTING + LISTING})
    assert [module.name for module in loaded_modules(proc=tmp_path)] == ["snd_pcm", "snd_hda"]


def test_a_kernel_without_modules_is_a_file_error(tmp_path: Path) -> None:
    """Where there is no /proc/modules, no listing is invented."""
    with pytest.raises(FileError) as caught:
        loaded_modules(proc=tmp_path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, f"{tmp_path}/modules")


def test_a_malformed_listing_names_its_file(tmp_path: Path) -> None:
    """The error says which file broke the format, and where."""
    write(tmp_path, {"modules": LISTING + "junk\n"})
    with pytest.raises(ProcModulesError) as caught:
        loaded_modules(proc=tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/modules: ")
    assert caught.value.offset == len(LISTING)


@pytest.mark.parametrize("state", ["live", "coming", "going"])
def test_the_state_of_a_loaded_module(tmp_path: Path, state: str) -> None:
    """A module is asked for with "-" or "_"."""
    write(tmp_path, {"module/snd_hda/initstate": f"{state}\n"})
    assert initstate("snd_hda", sys=tmp_path) == state
    assert initstate("snd-hda", sys=tmp_path) == state
    assert not is_builtin("snd-hda", sys=tmp_path)


def test_a_module_that_is_not_there_has_no_state(tmp_path: Path) -> None:
    """Not loaded is an answer, not an error, even without any sysfs."""
    assert initstate("snd", sys=tmp_path) is None
    assert refcnt("snd", sys=tmp_path) is None
    assert parameters("snd", sys=tmp_path) == {}
    assert not is_builtin("snd", sys=tmp_path)


def test_a_built_in_module_has_a_directory_but_no_state(tmp_path: Path) -> None:
    """What sysfs has of a built-in are its parameters."""
    write(tmp_path, {"module/8250/parameters/nr_uarts": "4\n"})
    assert is_builtin("8250", sys=tmp_path)
    assert initstate("8250", sys=tmp_path) is None
    assert refcnt("8250", sys=tmp_path) is None
    assert parameters("8250", sys=tmp_path) == {"nr_uarts": "4"}


def test_a_module_entering_sysfs_is_not_taken_for_built_in(tmp_path: Path) -> None:
    """Its directory of holders is there before its state is."""
    (tmp_path / "module/snd/holders").mkdir(parents=True)
    assert initstate("snd", sys=tmp_path) is None
    assert not is_builtin("snd", sys=tmp_path)


@pytest.mark.parametrize("gone", [errno.ENOENT, errno.ENODEV])
def test_a_module_may_vanish_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int) -> None:
    """Both answers of sysfs for an attribute that went away mean: not loaded."""

    def vanish(path: str) -> bytes:
        raise OSError(gone, os.strerror(gone), path)

    write(tmp_path, {"module/snd/initstate": "live\n", "module/snd/parameters/a": "1\n"})
    monkeypatch.setattr(modules, "_read", vanish)
    assert initstate("snd", sys=tmp_path) is None
    assert refcnt("snd", sys=tmp_path) is None
    assert parameters("snd", sys=tmp_path) == {}


def test_a_state_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal must not be taken for "not loaded"."""

    def refuse(path: str) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(modules, "_read", refuse)
    with pytest.raises(FileError) as caught:
        initstate("snd", sys=tmp_path)
    assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "a/b", "/etc", "a\0b", "\ud800"])
def test_what_can_be_no_name_is_no_module(tmp_path: Path, name: str) -> None:
    """A name cannot lead out of the directory of modules."""
    write(tmp_path, {"secret/initstate": "live\n", "module/initstate": "live\n", "initstate": "live\n"})
    assert initstate(name, sys=tmp_path) is None
    assert not is_builtin(name, sys=tmp_path)
    assert parameters(name, sys=tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "count"), [("0\n", 0), ("12\n", 12), ("-1\n", -1), ("", None), ("x\n", None), ("\u0661\n", None)]
)
def test_the_reference_count(tmp_path: Path, text: str, count: int | None) -> None:
    """A count is read as a number, -1 while the module is being unloaded."""
    write(tmp_path, {"module/snd/refcnt": text})
    assert refcnt("snd", sys=tmp_path) == count


def test_the_holders_and_the_size(tmp_path: Path) -> None:
    """As the directory and the attribute have them; nothing of a module that is not there or is built in."""
    files = {"holders/x": "", "holders/y": "", "coresize": "16384\n"}
    write(tmp_path / "module/snd_pcm", files)
    write(tmp_path / "module/builtin", {"version": "1\n"})
    assert set(modules.holders("snd-pcm", sys=tmp_path) or ()) == {"x", "y"}
    assert modules.size("snd-pcm", sys=tmp_path) == 16384
    for name in ("builtin", "none", "../snd_pcm", ""):
        assert modules.holders(name, sys=tmp_path) is None
        assert modules.size(name, sys=tmp_path) is None


@pytest.mark.parametrize("text", ["", "-1", "many", "1" * 21])
def test_a_size_that_is_no_number_is_none(tmp_path: Path, text: str) -> None:
    """Whatever the file says."""
    write(tmp_path / "module/a", {"coresize": text})
    assert modules.size("a", sys=tmp_path) is None


def test_parameters_come_sorted_with_their_values(tmp_path: Path) -> None:
    """A value loses its one last newline and nothing else."""
    write(
        tmp_path,
        {"module/snd/parameters/" + name: text for name, text in [("b", "Y\n"), ("a", " x \n\n"), ("c", "")]},
    )
    assert list(parameters("snd", sys=tmp_path).items()) == [("a", " x \n"), ("b", "Y"), ("c", "")]


def test_a_parameter_that_may_not_be_read_has_no_value(tmp_path: Path) -> None:
    """The parameter is listed all the same."""
    # A directory stands for a write-only file, for root may read any file.
    (tmp_path / "module/snd/parameters/secret").mkdir(parents=True)
    assert parameters("snd", sys=tmp_path) == {"secret": None}


def test_the_kernels_own_decompression(tmp_path: Path) -> None:
    """Kernels that unpack modules name their one algorithm, others have no such file."""
    assert compression(sys=tmp_path) is None
    write(tmp_path, {"module/compression": "xz\n"})
    assert compression(sys=tmp_path) == "xz"


FIRST_NAMESPACE = "         0          0 4294967295\n"
ALL_CAPABILITIES = "Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n"
NO_MODULES_CAPABILITY = "Name:\tx\nCapEff:\t000001fffffeffff\n"


@pytest.mark.parametrize(
    ("status", "uid_map", "capable"),
    [
        (ALL_CAPABILITIES, FIRST_NAMESPACE, True),
        (NO_MODULES_CAPABILITY, FIRST_NAMESPACE, False),
        (ALL_CAPABILITIES, "         0       1000          1\n", False),
        ("CapEff:\tjunk\n", FIRST_NAMESPACE, None),
        ("Name:\tx\n", FIRST_NAMESPACE, None),
    ],
)
def test_the_capability_counts_in_the_first_user_namespace(
    tmp_path: Path, status: str, uid_map: str, capable: bool | None
) -> None:
    """Root of a container holds the capability, but the kernel does not honour it."""
    write(tmp_path, {"self/status": status, "self/uid_map": uid_map})
    assert restrictions(proc=tmp_path, sys=tmp_path).capable is capable


def test_nothing_known_of_restrictions(tmp_path: Path) -> None:
    """Without /proc and /sys everything is open, and nothing is raised."""
    assert restrictions(proc=tmp_path, sys=tmp_path) == Restrictions()


@pytest.mark.parametrize(("lockdown", "locked"), [("[none] integrity", False), ("none [integrity]", True)])
def test_switches_of_the_kernel(tmp_path: Path, lockdown: str, locked: bool) -> None:
    """Each switch is read from its own file."""
    write(
        tmp_path,
        {
            "sys/kernel/modules_disabled": "1\n",
            "module/module/parameters/sig_enforce": "Y\n",
            "kernel/security/lockdown": lockdown + " confidentiality\n",
        },
    )
    found = restrictions(proc=tmp_path, sys=tmp_path)
    assert (found.modules_disabled, found.signatures_enforced, found.locked_down) == (True, True, locked)


@pytest.mark.parametrize(
    ("parameter", "cmdline", "blacklist"),
    [
        ("a,b_c\n", "quiet module_blacklist=x", ("a", "b_c")),
        ("(null)\n", "quiet", ()),
        (None, "quiet module_blacklist=x module_blacklist=y,z root=/dev/sda", ("y", "z")),
        (None, "quiet modprobe.blacklist=x", ()),
        (None, None, None),
    ],
)
def test_the_kernels_own_blacklist(
    tmp_path: Path, parameter: str | None, cmdline: str | None, blacklist: tuple[str, ...] | None
) -> None:
    """The kernel's parameter tells, or where it may not be read the last one on the command line."""
    if parameter is not None:
        write(tmp_path, {"module/kernel/parameters/module_blacklist": parameter})
    if cmdline is not None:
        write(tmp_path, {"cmdline": cmdline})
    assert restrictions(proc=tmp_path, sys=tmp_path).blacklist == blacklist
