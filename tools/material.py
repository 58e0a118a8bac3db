"""Fetch the real material of the demo, the tests and the benches: Debian packages, unpacked into a cache.

apt does the fetching, because it checks signatures and hashes. It gets a root of its own for each suite and
architecture, so it needs no privileges, leaves the machine's apt state alone and serves architectures the
machine does not have. The mirror is the one the machine's apt uses, or KMODKIT_DEBIAN_MIRROR.

The cache is KMODKIT_CACHE, else XDG_CACHE_HOME/kmodkit, else ~/.cache/kmodkit::

    apt/SUITE-ARCH/                      apt's private root: sources, lists, status
    packages/SUITE/ARCH/NAME/root/       an unpacked package
    packages/SUITE/ARCH/NAME/record.json its version and hash
    kernels/KEY/root/                    the unpacked packages of a kernel
    kernels/KEY/record.json              their versions and hashes
    kernels/KEY/depmod-VERSION/          the same files by hard link, and what that depmod wrote
    locks/                               one file for each thing that two processes must not make at once

A thing appears in the cache whole or not at all, stays until it is removed by hand, and is not looked for on
the network while it is there.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

log = logging.getLogger(__name__)

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# main has everything but firmware; the index of the other is a few kilobytes.
COMPONENTS: Final = "main non-free-firmware"


class MaterialError(Exception):
    """Material that cannot be had; the message says what was tried and what to set."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Where a kernel comes from: the meta package ``meta`` of ``suite`` for ``arch``.

    ``stand_in`` is the key of a kernel that serves as well where this one cannot be fetched.
    """

    suite: str
    arch: str
    meta: str
    stand_in: str | None = None


KERNELS: Final[Mapping[str, Recipe]] = {
    "bookworm-amd64": Recipe("bookworm", "amd64", "linux-image-amd64"),
    "bookworm-rt-amd64": Recipe("bookworm", "amd64", "linux-image-rt-amd64"),
    "bookworm-s390x": Recipe("bookworm", "s390x", "linux-image-s390x"),
    "bookworm-armhf": Recipe("bookworm", "armhf", "linux-image-armmp"),
    "trixie-amd64": Recipe("trixie", "amd64", "linux-image-amd64"),
    # A mirror that is being synchronised can have an index that does not fit its signature, for days on the
    # less used architectures.
    "trixie-s390x": Recipe("trixie", "s390x", "linux-image-s390x", stand_in="sid-s390x"),
    "trixie-armhf": Recipe("trixie", "armhf", "linux-image-armmp", stand_in="sid-armhf"),
    "sid-amd64": Recipe("sid", "amd64", "linux-image-amd64"),
    "sid-s390x": Recipe("sid", "s390x", "linux-image-s390x"),
    "sid-armhf": Recipe("sid", "armhf", "linux-image-armmp"),
}

TOOLS_KEY: Final = "trixie-kmod"
# kmod and all that its dynamic section leads to, so that it runs on a machine with an older libc.
TOOL_PACKAGES: Final = ("kmod", "libkmod2", "liblzma5", "libzstd1", "libssl3t64", "zlib1g", "libc6")


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: ``modules`` is the directory of ``release`` under ``root``.

    ``key`` is its own, also where it stands in for another one.
    """

    key: str
    suite: str
    arch: str
    release: str
    root: Path
    modules: Path

    @property
    def vmlinuz(self) -> Path | None:
        """The kernel image, or None if the packages have none."""
        # The split packages of 7.x keep it beside the modules.
        places = (self.root / "boot" / f"vmlinuz-{self.release}", self.modules / "vmlinuz")
        return next((path for path in places if path.is_file()), None)

    def module_files(self) -> list[Path]:
        """Return every module file, compressed or not, in no particular order."""
        return list(self.modules.rglob("*.ko*"))


def cache_dir() -> Path:
    """Return the cache's directory, which need not exist."""
    if chosen := os.environ.get("KMODKIT_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kmodkit"


@contextmanager
def _lock(*names: str) -> Iterator[None]:
    """Hold the lock called ``names`` against other processes and threads."""
    path = cache_dir() / "locks" / ",".join(names)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file stays behind: removing it would let a waiter and a newcomer lock two different inodes.
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(argv: Sequence[str | Path], *, cwd: Path | None = None) -> str:
    """Run a tool and return its output; MaterialError says why it did not work."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise MaterialError(
            f"{argv[0]} is not there: install it, or set KMODKIT_CACHE to a cache that is already filled"
        ) from error
    if done.returncode:
        lines = done.stderr.splitlines()
        # apt marks what matters with E: and puts much detail between.
        told = " ".join([line for line in lines if line.startswith("E: ")] or lines[-1:]) or "no message"
        raise MaterialError(f"{argv[0]} ended with status {done.returncode}: {told}")
    return done.stdout


# --- the mirror ---------------------------------------------------------------------------------------------


def pick_mirror(targets: Iterable[str]) -> str | None:
    """Return the address of Debian's main archive among apt's index targets, or None.

    Each target is ``ADDRESS|SUITE|ORIGIN|LABEL``. apt knows the last two only after its first update; until
    then the customary last part of the address decides.
    """
    guess = None
    for target in targets:
        address, suite, origin, label = target.split("|")
        if (origin, label) == ("Debian", "Debian"):
            return address.rstrip("/")
        unknown = origin in {"", "$(ORIGIN)"}
        if guess is None and unknown and "/" not in suite and address.rstrip("/").endswith("/debian"):
            guess = address.rstrip("/")
    return guess


@functools.cache
def _machine_mirror() -> str | None:
    form = "$(REPO_URI)|$(RELEASE)|$(ORIGIN)|$(LABEL)"
    return pick_mirror(_run(["apt-get", "indextargets", "--format", form]).splitlines())


def mirror() -> str:
    """Return the address of the Debian mirror to use."""
    found = os.environ.get("KMODKIT_DEBIAN_MIRROR", "").rstrip("/") or _machine_mirror()
    if not found:
        raise MaterialError(
            "apt knows no Debian mirror: set KMODKIT_DEBIAN_MIRROR to the address of one (what holds dists/)"
        )
    if re.search(r"[\s\[\]]", found):
        raise MaterialError(f"KMODKIT_DEBIAN_MIRROR is not an address: {found!r}")
    return found


# --- apt in a root of its own -------------------------------------------------------------------------------


def parse_stanza(text: str) -> dict[str, str]:
    """Return the fields of the first stanza of ``text``; continuation lines are joined by newlines."""
    if text[:1].isspace():
        raise MaterialError(f"not a stanza: {text[:40]!r}")
    fields: dict[str, str] = {}
    name = ""
    for line in text.split("\n\n", 1)[0].splitlines():
        if line[:1].isspace():
            fields[name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def kernel_depends(depends: str) -> list[str]:
    """Return the packages named by a Depends field that are pieces of one kernel release.

    Those carry a release in their name: linux-image-6.1.0-50-amd64 does, linux-base does not. Since 7.x sid's
    linux-image is itself empty and names linux-base (with modules.order), linux-binary and linux-modules ones.
    """
    found = re.findall(r"(?:^|,)\s*(linux-(?:base|binary|image|modules)-\d[^\s,|(:]*)", depends)
    return list(dict.fromkeys(found))


def source_line(address: str, suite: str, arch: str) -> str:
    """Return the one line of apt's sources list: package indexes of one suite and architecture."""
    options = f"arch={arch} signed-by={KEYRING} lang=none target=Packages"
    return f"deb [{options}] {address} {suite} {COMPONENTS}\n"


def apt_config(root: Path, arch: str) -> str:
    """Return the configuration that moves all of apt's state to ``root``.

    It is read after the machine's own, whose proxies and credentials are still wanted.
    """
    # Hooks of the machine act on the machine's own state.
    cleared = ("APT::Update", "APT::Architectures", "APT::Default-Release", "DPkg")
    settings = {
        "APT::Architecture": arch,
        # apt drops to its own user when started by root, and that one may not enter the cache.
        "APT::Sandbox::User": "root",
        # Without this an index that failed to arrive is only a warning.
        "APT::Update::Error-Mode": "any",
        "Acquire::AllowReleaseInfoChange": "true",
        "Acquire::GzipIndexes": "true",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Dir::Cache": f"{root}/cache/",
        # A parsed index is ten times as big as the packed one and is used for two commands.
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::sourcelist": f"{root}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": f"{root}/state/",
        "Dir::State::lists": f"{root}/lists/",
        "Dir::State::status": f"{root}/status",
    }
    lines = [f"#clear {name};" for name in cleared]
    return "\n".join(lines + [f'{name} "{value}";' for name, value in settings.items()]) + "\n"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A package that apt offers."""

    name: str
    version: str
    sha256: str
    depends: str


@dataclass(frozen=True, slots=True)
class Apt:
    """apt, bound to one suite and architecture by the configuration in ``root``."""

    root: Path

    def _command(self, tool: str, *arguments: str | Path) -> list[str | Path]:
        return [tool, "-q", "-q", "-c", self.root / "apt.conf", *arguments]

    def update(self) -> None:
        """Bring the package index up to date."""
        log.info("updating the package index in %s", self.root)
        _run(self._command("apt-get", "update"))

    def candidate(self, name: str) -> Candidate:
        """Return the newest version of the package ``name``."""
        fields = parse_stanza(_run(self._command("apt-cache", "show", "--no-all-versions", name)))
        try:
            return Candidate(name, fields["Version"], fields["SHA256"], fields.get("Depends", ""))
        except KeyError as error:
            raise MaterialError(f"apt-cache gave no {error} for {name} ({self.root})") from error

    def unpack(self, package: Candidate, root: Path) -> None:
        """Fetch ``package``, unpack it over ``root`` and drop the archive."""
        log.info("fetching %s %s", package.name, package.version)
        holder = root.with_name("archive")
        holder.mkdir()
        _run(self._command("apt-get", "download", f"{package.name}={package.version}"), cwd=holder)
        (archive,) = holder.glob("*.deb")
        _run(["dpkg-deb", "-x", archive, root])
        shutil.rmtree(holder)


@functools.cache
def _updated_apt(root: Path, suite: str, arch: str, address: str) -> Apt:
    """Return an Apt whose index was brought up to date once in this process."""
    if not KEYRING.is_file():
        raise MaterialError(f"{KEYRING} is not there: install the package debian-archive-keyring")
    for part in ("lists/partial", "cache/archives/partial", "state"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    (root / "sources.list").write_text(source_line(address, suite, arch))
    (root / "apt.conf").write_text(apt_config(root, arch))
    apt = Apt(root)
    apt.update()
    return apt


@contextmanager
def _apt(suite: str, arch: str) -> Iterator[Apt]:
    # apt refuses to work beside another apt in the same root; a lock of ours makes the second one wait.
    with _lock("apt", suite, arch):
        yield _updated_apt(cache_dir() / "apt" / f"{suite}-{arch}", suite, arch, mirror())


# --- what the cache holds -----------------------------------------------------------------------------------


def _checked(suite: str, arch: str, name: str) -> tuple[str, str, str]:
    """Return the arguments; they become parts of paths and of apt's configuration."""
    for word in (suite, arch, name):
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", word):
            raise MaterialError(f"not the name of a suite, architecture or package: {word!r}")
    return suite, arch, name


@contextmanager
def _new_directory(place: Path) -> Iterator[Path]:
    """Give an empty directory that becomes ``place`` when the block ends well; call with its lock held."""
    new = place.with_name(place.name + ".new")
    # Left by a process that was killed; nobody else can be at work on it while the lock is ours.
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        new.rename(place)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _install(place: Path, suite: str, arch: str, choose: Callable[[Apt], Sequence[Candidate]]) -> Path:
    """Return ``place/root``, filled with the packages that ``choose`` chooses unless it is there."""
    root = place / "root"
    if root.is_dir():
        return root
    with _lock(*place.relative_to(cache_dir()).parts):
        if root.is_dir():
            return root
        with _apt(suite, arch) as apt, _new_directory(place) as new:
            packages = choose(apt)
            (new / "root").mkdir()
            for package in packages:
                apt.unpack(package, new / "root")
            record = {
                "suite": suite,
                "arch": arch,
                "packages": [{"name": p.name, "version": p.version, "sha256": p.sha256} for p in packages],
            }
            (new / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    log.info("unpacked into %s", root)
    return root


def _package_place(suite: str, arch: str, name: str) -> Path:
    return cache_dir().joinpath("packages", *_checked(suite, arch, name))


def package(suite: str, arch: str, name: str) -> Path:
    """Return the root of an unpacked package, fetched in its newest version unless the cache holds one."""
    place = _package_place(suite, arch, name)
    return _install(place, suite, arch, lambda apt: [apt.candidate(name)])


def cached_package(suite: str, arch: str, name: str) -> Path | None:
    """Return the root of an unpacked package if the cache holds it; uses no network."""
    root = _package_place(suite, arch, name) / "root"
    return root if root.is_dir() else None


def _recipe(key: str) -> Recipe:
    try:
        return KERNELS[key]
    except KeyError:
        raise MaterialError(f"no kernel is called {key!r}: known are {', '.join(KERNELS)}") from None


def _kernel_packages(apt: Apt, meta: str) -> list[Candidate]:
    """Follow the dependencies of a meta package to the packages that hold the kernel."""
    pending = kernel_depends(apt.candidate(meta).depends)
    found: dict[str, Candidate] = {}
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = apt.candidate(name)
            pending += kernel_depends(found[name].depends)
    if not found:
        raise MaterialError(f"{meta} depends on no kernel package")
    return list(found.values())


def _kernel_at(key: str, root: Path) -> Kernel:
    recipe = _recipe(key)
    # Debian moved modules below /usr between bookworm and trixie.
    found = [path for top in ("lib", "usr/lib") for path in (root / top / "modules").glob("*") if path.is_dir()]
    if len(found) != 1:
        raise MaterialError(f"{root} holds {len(found)} module directories, not one: remove it and fetch again")
    return Kernel(key, recipe.suite, recipe.arch, found[0].name, root, found[0])


def kernel(key: str) -> Kernel:
    """Return the kernel ``key`` of KERNELS, fetched in its newest version unless the cache holds one.

    Where it cannot be fetched, its stand-in is fetched and returned instead. A stand-in that the cache holds is
    taken without another try: remove it to have one.
    """
    found = cached_kernel(key)
    if found is not None:
        return found
    recipe = _recipe(key)
    place = cache_dir() / "kernels" / key
    try:
        root = _install(place, recipe.suite, recipe.arch, lambda apt: _kernel_packages(apt, recipe.meta))
    except MaterialError as error:
        if recipe.stand_in is None:
            raise
        log.warning("%s cannot be fetched, %s stands in for it: %s", key, recipe.stand_in, error)
        return kernel(recipe.stand_in)
    return _kernel_at(key, root)


def cached_kernel(key: str) -> Kernel | None:
    """Return the kernel ``key`` of KERNELS, else its stand-in, if the cache holds it; uses no network."""
    recipe = _recipe(key)
    root = cache_dir() / "kernels" / key / "root"
    if root.is_dir():
        return _kernel_at(key, root)
    return cached_kernel(recipe.stand_in) if recipe.stand_in else None


# --- the real tools -----------------------------------------------------------------------------------------


def _tool_argv(name: str, roots: Sequence[Path]) -> list[str]:
    if platform.machine() != "x86_64":
        raise MaterialError("trixie's kmod is fetched for amd64 and runs on x86-64 machines only")
    (loader,) = roots[-1].glob("usr/lib*/ld-linux-x86-64.so.2")
    libraries = ":".join(str(root / "usr/lib/x86_64-linux-gnu") for root in roots)
    # kmod acts as the tool that argument 0 names.
    return [str(loader), "--library-path", libraries, "--argv0", name, str(roots[0] / "usr/bin/kmod")]


def trixie_tool(name: str) -> list[str]:
    """Return the first arguments of a command that runs trixie's depmod, modinfo, modprobe or lsmod.

    Its own dynamic loader starts it, with the libraries of the same release, so the machine's may be older.
    """
    return _tool_argv(name, [package("trixie", "amd64", part) for part in TOOL_PACKAGES])


def cached_trixie_tool(name: str) -> list[str] | None:
    """Return what ``trixie_tool`` returns if the cache holds it all; uses no network."""
    roots = [root for part in TOOL_PACKAGES if (root := cached_package("trixie", "amd64", part))]
    return _tool_argv(name, roots) if len(roots) == len(TOOL_PACKAGES) else None


def machine_depmod() -> Path | None:
    """Return the machine's depmod; /sbin is not on every user's PATH."""
    found = shutil.which("depmod") or shutil.which("depmod", path="/usr/sbin:/sbin")
    return Path(found) if found else None


def _depmod_argv(tool: Path | Sequence[str] | None) -> list[str]:
    if tool is None:
        tool = machine_depmod()
        if tool is None:
            raise MaterialError("depmod is not there: install kmod")
    return [os.fspath(tool)] if isinstance(tool, str | Path) else list(tool)


def _join_module_paths(root: Path) -> None:
    """Let both lib/modules and usr/lib/modules of ``root`` lead to the modules.

    Which of them depmod -b looks in was settled when it was built. On an installed system lib leads to
    usr/lib.
    """
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    elif not (root / "usr/lib/modules").exists():
        (root / "usr/lib").mkdir(parents=True, exist_ok=True)
        (root / "usr/lib/modules").symlink_to("../../lib/modules")


def depmodded(kernel: Kernel, tool: Path | Sequence[str] | None = None) -> Path:
    """Return a copy of ``kernel.root`` on which depmod has been run, kept for each version of depmod.

    ``tool`` is a depmod, as a path or as the first arguments of a command; by default the machine's. The
    modules are hard links to those of ``kernel``: read them, do not write to them.
    """
    argv = _depmod_argv(tool)
    found = re.search(r"kmod version (\S+)", _run([*argv, "--version"]))
    if found is None:
        raise MaterialError(f"{argv[0]} does not say which version of kmod it is")
    place = kernel.root.with_name(f"depmod-{found[1]}")
    if place.is_dir():
        return place
    with _lock("kernels", kernel.key, place.name):
        if place.is_dir():
            return place
        log.info("running depmod %s on %s", found[1], kernel.root)
        with _new_directory(place) as new:
            shutil.copytree(kernel.root, new, symlinks=True, copy_function=os.link, dirs_exist_ok=True)
            _join_module_paths(new)
            # The machine's depmod.d must not show in the result; an empty file stands for all of it.
            _run([*argv, "-b", new, "-C", "/dev/null", kernel.release])
            _check_depmod(kernel, new)
    return place


def _check_depmod(kernel: Kernel, root: Path) -> None:
    # A depmod built without xz passes over every .ko.xz and still ends with status 0.
    written = root / kernel.modules.relative_to(kernel.root) / "modules.dep"
    count = len(written.read_bytes().splitlines())
    if count != len(kernel.module_files()):
        raise MaterialError(f"depmod listed {count} of {len(kernel.module_files())} modules of {kernel.key}")


# --- the command --------------------------------------------------------------------------------------------


def _describe(kernel: Kernel) -> str:
    return f"{kernel.key}: {kernel.release}, {len(kernel.module_files())} modules, {kernel.root}"


def _fetch(keys: Sequence[str]) -> None:
    for key in keys:
        if key == TOOLS_KEY:
            print(f"{key}: {_run([*trixie_tool('depmod'), '--version']).splitlines()[0]}")
        else:
            print(_describe(kernel(key)), flush=True)


def _path(key: str) -> None:
    found = cached_kernel(key)
    if found is None:
        raise MaterialError(f"{key} is not in {cache_dir()}: fetch it first")
    print(found.root)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.material", description="Fetch Debian material.")
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="fetch what the cache lacks and say where it is")
    fetch.add_argument("keys", nargs="+", metavar="KEY", choices=[*KERNELS, TOOLS_KEY], help="%(choices)s")
    path = commands.add_parser("path", help="print the root of a kernel in the cache")
    path.add_argument("key", metavar="KEY", choices=[*KERNELS], help="%(choices)s")
    one = commands.add_parser("package", help="fetch one package unless it is cached and print its root")
    for name in ("suite", "arch", "name"):
        one.add_argument(name, metavar=name.upper())
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0 is success, 1 material that cannot be had, 2 wrong usage."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2
    logging.basicConfig(level=logging.INFO, format="material: %(message)s", stream=sys.stderr)
    try:
        if options.command == "fetch":
            _fetch(options.keys)
        elif options.command == "path":
            _path(options.key)
        else:
            print(package(options.suite, options.arch, options.name))
    except (MaterialError, OSError) as error:
        print(f"material: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
