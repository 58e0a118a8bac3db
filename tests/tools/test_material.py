"""The fetcher of real material, as far as it needs neither apt nor the network."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from tests.require import need
from tools import material

MACHINE = [
    "http://security.example/debian-security/|stable-security|Debian|Debian-Security",
    "http://other.example/debian/|stable|Vendor|Vendor",
    "http://mirror.example/pub/linux/|stable|Debian|Debian",
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("KMODKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def unpacked(cache: Path, key: str, top: str, release: str = "6.1.0-1-amd64") -> Path:
    """Put a kernel with two modules into ``cache`` and return its root."""
    root = cache / "kernels" / key / "root"
    modules = root / top / release / "kernel"
    modules.mkdir(parents=True)
    (modules / "one.ko").write_bytes(b"one")
    (modules / "two.ko.xz").write_bytes(b"two")
    return root


def fake_depmod(directory: Path, lines: int, version: str = "99") -> Path:
    """Write a depmod that lists ``lines`` modules and notes each of its runs."""
    tool = directory / "depmod"
    tool.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = --version ]; then echo "kmod version {version}"; exit 0; fi\n'
        f'echo run >> "{directory}/runs"\n'
        f'i=0; while [ $i -lt {lines} ]; do echo "$i:"; i=$((i+1)); done > "$2/lib/modules/$5/modules.dep"\n'
    )
    tool.chmod(0o755)
    return tool


def test_the_mirror_is_debians_main_archive() -> None:
    """Neither the security archive nor another vendor's is taken for it."""
    assert material.pick_mirror(MACHINE) == "http://mirror.example/pub/linux"


def test_the_mirror_is_guessed_before_the_first_update() -> None:
    """Without origin and label the customary end of the address decides."""
    targets = [
        "http://mirror.example/debian-security/|stable-security|$(ORIGIN)|$(LABEL)",
        "http://mirror.example/debian/|stable|$(ORIGIN)|$(LABEL)",
    ]
    assert material.pick_mirror(targets) == "http://mirror.example/debian"


def test_no_mirror_is_none() -> None:
    """A machine whose apt knows only other archives has no Debian mirror."""
    assert material.pick_mirror(MACHINE[:2]) is None
    assert material.pick_mirror([]) is None


def test_the_environment_names_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """KMODKIT_DEBIAN_MIRROR wins, and what would break apt's one-line format is refused."""
    monkeypatch.setenv("KMODKIT_DEBIAN_MIRROR", "http://mirror.example/debian/")
    assert material.mirror() == "http://mirror.example/debian"
    monkeypatch.setenv("KMODKIT_DEBIAN_MIRROR", "http://mirror.example/ [trusted=yes]")
    with pytest.raises(material.MaterialError, match="not an address"):
        material.mirror()


def test_a_machine_without_a_mirror_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable."""
    monkeypatch.delenv("KMODKIT_DEBIAN_MIRROR", raising=False)
    monkeypatch.setattr(material, "_machine_mirror", lambda: None)
    with pytest.raises(material.MaterialError, match="set KMODKIT_DEBIAN_MIRROR"):
        material.mirror()


def test_a_stanza_ends_at_the_empty_line() -> None:
    """Fields of a second version are not mixed in; continuation lines belong to their field."""
    text = "Package: a\nVersion: 2\nDescription: x\n more\n .\n\nPackage: a\nVersion: 1\n"
    assert material.parse_stanza(text) == {"Package": "a", "Version": "2", "Description": "x\nmore\n."}


def test_a_stanza_cannot_begin_with_a_continuation() -> None:
    """Output that is no stanza is an error of ours, not a KeyError."""
    with pytest.raises(material.MaterialError):
        material.parse_stanza(" lost\n")


@pytest.mark.parametrize(
    ("depends", "names"),
    [
        ("linux-image-6.1.0-50-amd64 (= 6.1.176-1)", ["linux-image-6.1.0-50-amd64"]),
        ("kmod, linux-base (>= 4.3~), dracut | linux-initramfs-tool", []),
        (
            "linux-base-7.2-a (= 1), linux-binary-7.2-a (= 1), linux-modules-7.2-a (= 1)",
            ["linux-base-7.2-a", "linux-binary-7.2-a", "linux-modules-7.2-a"],
        ),
        ("linux-image-6.12.117+deb13-s390x:s390x", ["linux-image-6.12.117+deb13-s390x"]),
        ("", []),
    ],
)
def test_kernel_packages_carry_a_release(depends: str, names: list[str]) -> None:
    """linux-image-6.1.0-50-amd64 is a piece of a kernel, linux-base is not."""
    assert material.kernel_depends(depends) == names


def test_apt_is_configured_away_from_the_machine() -> None:
    """Every directory apt writes to is below its private root."""
    text = material.apt_config(Path("/private"), "s390x")
    values = dict(line.rstrip(";").split(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    written = ("Dir::Cache", "Dir::State", "Dir::State::lists", "Dir::State::status")
    assert all(values[name].startswith('"/private/') for name in written)
    assert values["APT::Architecture"] == '"s390x"'


def test_only_the_package_index_is_asked_for() -> None:
    """One architecture, no translations, and signatures by Debian's keys alone."""
    line = material.source_line("http://mirror.example/debian", "sid", "armhf")
    assert line.startswith(f"deb [arch=armhf signed-by={material.KEYRING} lang=none target=Packages] ")
    assert line.endswith(" http://mirror.example/debian sid main non-free-firmware\n")


@pytest.mark.parametrize("name", ["../x", "", "a b", "A", "-o", "a/b"])
def test_a_strange_package_name_is_refused(cache: Path, name: str) -> None:
    """Names become paths and arguments of apt, so only Debian's alphabet is let through."""
    with pytest.raises(material.MaterialError, match="not the name"):
        material.package("sid", "amd64", name)
    assert not cache.exists()


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """KMODKIT_CACHE comes before XDG_CACHE_HOME, and that before the home directory."""
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.delenv("KMODKIT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert material.cache_dir() == Path("/h/.cache/kmodkit")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert material.cache_dir() == Path("/x/kmodkit")
    monkeypatch.setenv("KMODKIT_CACHE", "/k")
    assert material.cache_dir() == Path("/k")


@pytest.mark.usefixtures("cache")
def test_an_empty_cache_holds_nothing() -> None:
    """Absence is None, not an error."""
    assert material.cached_kernel("trixie-amd64") is None
    assert material.cached_package("trixie", "amd64", "kmod") is None
    assert material.cached_trixie_tool("depmod") is None


@pytest.mark.parametrize("top", ["lib/modules", "usr/lib/modules"])
def test_a_cached_kernel_needs_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch, top: str) -> None:
    """Both places of the modules are known, and kernel() returns what is there without asking apt."""
    monkeypatch.setattr(material, "_run", lambda *_: pytest.fail("a tool was run"))
    root = unpacked(cache, "bookworm-amd64", top)
    found = material.kernel("bookworm-amd64")
    assert found == material.cached_kernel("bookworm-amd64")
    assert (found.release, found.modules) == ("6.1.0-1-amd64", root / top / "6.1.0-1-amd64")
    assert sorted(path.name for path in found.module_files()) == ["one.ko", "two.ko.xz"]
    assert found.vmlinuz is None


@pytest.mark.parametrize("place", ["boot/vmlinuz-6.1.0-1-amd64", "lib/modules/6.1.0-1-amd64/vmlinuz"])
def test_the_image_is_found(cache: Path, place: str) -> None:
    """The image is in boot, or beside the modules in newer packages."""
    image = unpacked(cache, "bookworm-amd64", "lib/modules") / place
    image.parent.mkdir(exist_ok=True)
    image.touch()
    assert material.kernel("bookworm-amd64").vmlinuz == image


def test_two_releases_in_one_root_are_refused(cache: Path) -> None:
    """Which one is meant cannot be told."""
    unpacked(cache, "bookworm-amd64", "lib/modules", "1")
    unpacked(cache, "bookworm-amd64", "lib/modules", "2")
    with pytest.raises(material.MaterialError, match="2 module directories"):
        material.cached_kernel("bookworm-amd64")


def test_a_failed_fetch_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package is there whole or not at all."""
    monkeypatch.setenv("KMODKIT_DEBIAN_MIRROR", "http://mirror.example/debian")
    monkeypatch.setattr(material, "_updated_apt", lambda root, *_: material.Apt(root))

    def fail(*_: object, **__: object) -> str:
        raise material.MaterialError("no route")

    monkeypatch.setattr(material, "_run", fail)
    with pytest.raises(material.MaterialError, match="no route"):
        material.package("sid", "amd64", "kmod")
    assert list((cache / "packages").rglob("*kmod*")) == []


def test_every_stand_in_is_a_kernel_of_the_same_architecture() -> None:
    """What stands in has the byte order and word size that the other one is wanted for."""
    for recipe in material.KERNELS.values():
        if recipe.stand_in is not None:
            assert material.KERNELS[recipe.stand_in].arch == recipe.arch


def test_a_stand_in_is_fetched_where_the_kernel_cannot_be(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is told, and the result says which kernel it is."""

    def install(place: Path, suite: str, *_: object) -> Path:
        if suite == "trixie":
            raise material.MaterialError("bad signature")
        return unpacked(cache, place.name, "usr/lib/modules")

    monkeypatch.setattr(material, "_install", install)
    assert material.kernel("trixie-s390x").key == "sid-s390x"
    assert "trixie-s390x cannot be fetched, sid-s390x stands in for it: bad signature" in caplog.text


def test_a_cached_stand_in_is_used_until_the_kernel_is_there(cache: Path) -> None:
    """The kernel itself comes first where the cache holds both."""
    unpacked(cache, "sid-armhf", "usr/lib/modules")
    found = material.cached_kernel("trixie-armhf")
    assert found is not None
    assert found.key == "sid-armhf"
    assert material.kernel("trixie-armhf") == found
    unpacked(cache, "trixie-armhf", "usr/lib/modules")
    assert material.kernel("trixie-armhf").key == "trixie-armhf"


def test_a_kernel_without_a_stand_in_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what was declared to serve as well is taken instead."""
    unpacked(cache, "trixie-amd64", "usr/lib/modules")

    def install(*_: object) -> Path:
        raise material.MaterialError("bad signature")

    monkeypatch.setattr(material, "_install", install)
    with pytest.raises(material.MaterialError, match="bad signature"):
        material.kernel("bookworm-amd64")


@pytest.mark.parametrize("top", ["lib/modules", "usr/lib/modules"])
def test_depmod_runs_once_on_a_copy(cache: Path, tmp_path: Path, top: str) -> None:
    """The copy shares the modules, the original gains no file, and lib/modules leads there either way."""
    root = unpacked(cache, "bookworm-amd64", top)
    kernel = material.kernel("bookworm-amd64")
    tool = fake_depmod(tmp_path, 2)
    copy = material.depmodded(kernel, tool)
    assert material.depmodded(kernel, [str(tool)]) == copy
    assert (tmp_path / "runs").read_text() == "run\n"
    inside = Path(kernel.release, "kernel", "one.ko")
    for place in ("lib/modules", "usr/lib/modules"):
        assert (copy / place / inside).samefile(root / top / inside)
    assert sorted(path.name for path in kernel.modules.iterdir()) == ["kernel"]


def test_each_version_of_depmod_has_its_copy(cache: Path, tmp_path: Path) -> None:
    """What kmod 30 writes is not given out as the work of kmod 34."""
    unpacked(cache, "bookworm-amd64", "lib/modules")
    kernel = material.kernel("bookworm-amd64")
    first = material.depmodded(kernel, fake_depmod(tmp_path, 2, "30"))
    assert material.depmodded(kernel, fake_depmod(tmp_path, 2, "34")) != first


def test_a_depmod_that_passes_over_modules_is_an_error(cache: Path, tmp_path: Path) -> None:
    """A depmod without xz support ends well and lists nothing."""
    root = unpacked(cache, "bookworm-amd64", "lib/modules")
    with pytest.raises(material.MaterialError, match="1 of 2 modules"):
        material.depmodded(material.kernel("bookworm-amd64"), fake_depmod(tmp_path, 1))
    assert [path.name for path in root.parent.iterdir()] == ["root"]


def _depmod_in_child(tool: Path) -> None:
    material.depmodded(material.kernel("bookworm-amd64"), tool)


def test_two_processes_make_a_thing_once(cache: Path, tmp_path: Path) -> None:
    """The second one waits for the lock and then finds the work done."""
    unpacked(cache, "bookworm-amd64", "lib/modules")
    tool = fake_depmod(tmp_path, 2)
    spawn = multiprocessing.get_context("spawn")
    children = [spawn.Process(target=_depmod_in_child, args=(tool,)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert (tmp_path / "runs").read_text() == "run\n"


def test_what_a_killed_process_left_is_replaced(cache: Path, tmp_path: Path) -> None:
    """A half-made directory does not stand in the way."""
    root = unpacked(cache, "bookworm-amd64", "lib/modules")
    (root.parent / "depmod-99.new" / "lib").mkdir(parents=True)
    copy = material.depmodded(material.kernel("bookworm-amd64"), fake_depmod(tmp_path, 2))
    assert (copy / "lib/modules/6.1.0-1-amd64/modules.dep").is_file()


def test_path_prints_the_root_or_fails(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1 says that the cache lacks it, 2 that there is no such kernel."""
    assert material.main(["path", "bookworm-amd64"]) == 1
    assert "is not in" in capsys.readouterr().err
    root = unpacked(cache, "bookworm-amd64", "lib/modules")
    assert material.main(["path", "bookworm-amd64"]) == 0
    assert capsys.readouterr().out == f"{root}\n"
    assert material.main(["path", "no-such-kernel"]) == 2


def test_fetch_of_a_cached_kernel_says_what_is_there(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the key, the release, the number of modules and the place."""
    root = unpacked(cache, "bookworm-amd64", "lib/modules")
    assert material.main(["fetch", "bookworm-amd64"]) == 0
    assert capsys.readouterr().out == f"bookworm-amd64: 6.1.0-1-amd64, 2 modules, {root}\n"


def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install or set."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(material.MaterialError, match="apt-get is not there"):
        material._run(["apt-get", "update"])


def test_a_failing_tool_is_quoted() -> None:
    """Of apt's many lines those marked as errors are passed on."""
    script = "echo W: noise >&2; echo 'E: the reason' >&2; echo detail >&2; exit 100"
    with pytest.raises(material.MaterialError, match=r"status 100: E: the reason$"):
        material._run(["sh", "-c", script])


def test_what_is_there_is_returned() -> None:
    """need() hands its value through."""
    assert need("value", "a value", "token") == "value"


def test_what_is_absent_skips_unless_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """KMODKIT_REQUIRE turns the skip into a failure, for its own tokens only."""
    monkeypatch.setenv("KMODKIT_REQUIRE", "vm, other")
    with pytest.raises(pytest.skip.Exception, match="no kernel"):
        need(None, "no kernel", "kernels")
    monkeypatch.setenv("KMODKIT_REQUIRE", "vm, kernels")
    with pytest.raises(pytest.fail.Exception, match="no kernel"):
        need(None, "no kernel", "kernels")
