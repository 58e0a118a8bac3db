"""Loading and unloading as modprobe does it, through calls that only note what they are asked for."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmodkit.cli.modprobe import environment_words
from kmodkit.config.modprobe import parse_modprobe_conf
from kmodkit.core.kmodwrite import build_index
from kmodkit.core.modinfo import parse_modinfo
from kmodkit.errors import FileError, SyscallError
from kmodkit.modprobe.calls import Calls
from kmodkit.modprobe.explain import explain
from kmodkit.modprobe.insert import Inserter, InsertOptions, probe_list
from kmodkit.modprobe.lint import parameter_names, unknown_parameters
from kmodkit.modprobe.lookup import Modules, NameIndex
from kmodkit.modprobe.remove import RemoveOptions, Remover
from kmodkit.modprobe.settings import load_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kmodkit.kernel.modules import Initstate
    from kmodkit.kernel.syscalls import ModuleFlags
    from kmodkit.modprobe.insert import Action
    from kmodkit.modprobe.lookup import Target


class Kernel(Calls):
    """Keeps what is loaded; ``fail`` maps names to the errno of each call on them."""

    def __init__(
        self, loaded: tuple[str, ...] = (), fail: Mapping[str, int] | None = None, status: int = 0
    ) -> None:
        super().__init__()
        self.loaded = dict.fromkeys(loaded, 0)
        self.done: list[str] = []
        self._fail = fail or {}
        self._status = status

    def insert(self, path: str, params: str, flags: ModuleFlags) -> None:
        """Load."""
        del flags
        name = Path(path).stem
        self.done.append(f"load {name} {params}".rstrip())
        self._answer(name, "finit_module")
        self.loaded[name] = 0

    def delete(self, name: str, *, force: bool) -> None:
        """Unload."""
        del force
        self.done.append(f"unload {name}")
        self._answer(name, "delete_module")
        del self.loaded[name]

    def initstate(self, name: str) -> Initstate | None:
        """Return whether it is loaded."""
        return "live" if name in self.loaded else None

    def refcnt(self, name: str) -> int | None:
        """Return the count of users."""
        return self.loaded.get(name)

    def holders(self, name: str) -> tuple[str, ...]:
        """Return no users."""
        del name
        return ()

    def shell(self, command: str, environment: Mapping[str, str]) -> int:
        """Note the command."""
        self.done.append(f"run {command} for {environment['MODPROBE_MODULE']}")
        return self._status

    def _answer(self, name: str, operation: str) -> None:
        if number := self._fail.get(name):
            raise SyscallError(operation, number, "no")


class Heard:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.actions: list[str] = []
        self.texts: list[str] = []

    def acting(self, action: Action, target: Target, params: str = "", command: str = "") -> None:
        """Note an action."""
        self.actions.append(" ".join(filter(None, (action, target.name, params, command))))

    def failed(self, text: str) -> None:
        """Note a failure."""
        self.texts.append(text)

    refused = failed


@pytest.fixture
def modules(tmp_path: Path) -> Callable[..., Modules]:
    """A function that returns modules: ``deps`` as in modules.dep, and a configuration."""

    def make(deps: str, config: str = "") -> Modules:
        entries = []
        for line in deps.split(";"):
            name, _, needs = line.strip().partition(":")
            for file in (name, *needs.split()):
                (tmp_path / f"{file}.ko").touch()
            value = f"{name}.ko:" + "".join(f" {need}.ko" for need in needs.split())
            entries.append((name.encode(), value.encode(), 0))
        (tmp_path / "modules.dep.bin").write_bytes(build_index(entries))
        return Modules(str(tmp_path), NameIndex(str(tmp_path)), parse_modprobe_conf(config, "x.conf"))

    return make


def insert(modules: Modules, name: str, kernel: Kernel, params: str = "") -> tuple[int, Heard]:
    """Load what a name means; return the errno and what was said."""
    heard = Heard()
    inserter = Inserter(modules, kernel, heard, InsertOptions())
    (target,) = modules.lookup(name).targets
    return inserter.insert(target, params), heard


def remove(modules: Modules, name: str, kernel: Kernel, **options: float) -> tuple[int, Heard]:
    """Unload what a name means; return the errno and what was said."""
    heard = Heard()
    remover = Remover(modules, kernel, heard, RemoveOptions(**options))  # type: ignore[arg-type]
    (target,) = modules.lookup(name).targets
    return remover.remove(target), heard


def test_dependencies_come_first_and_only_the_module_gets_parameters(modules: Callable[..., Modules]) -> None:
    """modules.dep lists them the other way round."""
    kernel = Kernel()
    found = modules("a: b c; b: c; c:", "options b x=1\n")
    assert insert(found, "a", kernel, "y=2")[0] == 0
    assert kernel.done == ["load c", "load b x=1", "load a y=2"]


def test_a_failing_dependency_stops_the_load(modules: Callable[..., Modules]) -> None:
    """Its errno is the answer."""
    kernel = Kernel(fail={"b": errno.EPERM})
    assert insert(modules("a: b; b:"), "a", kernel)[0] == errno.EPERM
    assert kernel.done == ["load b"]


def test_a_failing_soft_dependency_does_not(modules: Callable[..., Modules]) -> None:
    """It was a wish."""
    kernel = Kernel(fail={"b": errno.EPERM})
    assert insert(modules("a:; b:", "softdep a pre: b\n"), "a", kernel)[0] == 0
    assert kernel.done == ["load b", "load a"]


def test_a_missing_dependency_is_reported_and_left_out(tmp_path: Path, modules: Callable[..., Modules]) -> None:
    """The kernel then says which symbol it lacks."""
    found = modules("a: b; b:")
    (tmp_path / "b.ko").unlink()
    missing: list[FileError] = []
    found = Modules(found.root, found.index, found.config, missing.append)
    (target,) = found.lookup("a").targets
    assert [one.name for one in probe_list(found, target)] == ["a"]
    assert [Path(error.filename).name for error in missing] == ["b.ko"]


def test_a_long_chain_of_soft_dependencies_is_followed(modules: Callable[..., Modules]) -> None:
    """Its length is no depth of recursion."""
    count = 3000
    deps = ";".join(f"m{number}:" for number in range(count))
    config = "".join(f"softdep m{number} pre: m{number + 1}\n" for number in range(count - 1))
    found = modules(deps, config)
    (target,) = found.lookup("m0").targets
    planned = [one.name for one in probe_list(found, target)]
    assert planned == [f"m{number}" for number in reversed(range(count))]


def test_an_install_command_gets_the_parameters(modules: Callable[..., Modules]) -> None:
    """$CMDLINE_OPTS is replaced in the text; the module's name is in the environment."""
    kernel = Kernel()
    found = modules("a:", "install a echo $CMDLINE_OPTS\noptions a x=1\n")
    assert insert(found, "a", kernel, "y=2")[0] == 0
    assert kernel.done == ["run echo x=1 y=2 for a"]


def test_a_failing_install_command_is_an_invalid_argument(modules: Callable[..., Modules]) -> None:
    """As in kmod, whatever its status."""
    error, heard = insert(modules("a:", "install a false\n"), "a", Kernel(status=7))
    assert error == errno.EINVAL
    assert heard.texts == ["Error running install command 'false' for module a: retcode 7"]


def test_the_check_of_parameters_can_keep_a_module_out(modules: Callable[..., Modules]) -> None:
    """It is asked before the kernel is."""
    kernel = Kernel()
    found = modules("a:")
    (target,) = found.lookup("a").targets
    inserter = Inserter(found, kernel, Heard(), InsertOptions(), lambda _, params: params != "bad=1")
    assert inserter.insert(target, "bad=1") == errno.EINVAL
    assert kernel.done == []
    assert inserter.insert(target, "good=1") == 0


def test_plans_of_two_names_do_not_disturb_each_other(modules: Callable[..., Modules]) -> None:
    """What one noted on modules is taken back for the next."""
    found = modules("a: c; b: c; c:")
    (a,), (b,) = found.lookup("a").targets, found.lookup("b").targets
    assert [one.name for one in probe_list(found, a)] == ["c", "a"]
    assert [one.name for one in probe_list(found, b)] == ["c", "b"]
    assert not a.required


def test_unused_dependencies_go_with_a_module(modules: Callable[..., Modules]) -> None:
    """One that has users stays."""
    kernel = Kernel(("a", "b", "c"))
    kernel.loaded["c"] = 1
    assert remove(modules("a: b c; b:; c:"), "a", kernel)[0] == 0
    assert kernel.done == ["unload a", "unload b"]


def test_soft_dependencies_are_unloaded_around_a_module(modules: Callable[..., Modules]) -> None:
    """In the reverse of the order in which they were loaded."""
    kernel = Kernel(("a", "b", "c", "d", "e"))
    found = modules("a:; b:; c:; d:; e:", "softdep a pre: b c post: d e\n")
    assert remove(found, "a", kernel)[0] == 0
    assert kernel.done == ["unload e", "unload d", "unload a", "unload c", "unload b"]


def test_a_ring_of_soft_dependencies_is_unloaded_once(modules: Callable[..., Modules]) -> None:
    """Also where unloading changes nothing, as in a dry run."""
    found = modules("a:; b:", "softdep a pre: b\nsoftdep b pre: a\n")
    error, heard = remove(found, "a", Kernel(("a", "b")), dry_run=True)
    assert error == 0
    assert heard.actions == ["rmmod a", "rmmod b"]


def test_waiting_ends(modules: Callable[..., Modules]) -> None:
    """What is still in use then is said."""
    kernel = Kernel(("a",), fail={"a": errno.EAGAIN})
    error, heard = remove(modules("a:"), "a", kernel, wait=0.01)
    assert error == errno.EAGAIN
    assert heard.texts == ["could not remove 'a': no"]
    assert len(kernel.done) > 1


def test_an_explanation_says_why_each_module_comes(modules: Callable[..., Modules]) -> None:
    """With the line, where one says so."""
    found = modules("a: b; b:; c:", "softdep a post: c\nalias nick a\nblacklist b\n")
    explanation = explain(found, "nick")
    assert explanation.meaning == "alias line"
    (module,) = explanation.modules
    assert str(module.because.origin) == "x.conf:2"
    reasons = {step.name: step.because[0] for step in module.steps}
    assert reasons["b"] == ("a needs it", None)
    assert str(reasons["c"].origin) == "x.conf:1"
    assert [str(step.blacklist) for step in module.steps if step.blacklist] == ["x.conf:3"]


def test_parameters_are_named_as_the_kernel_reads_them() -> None:
    """A quoted value keeps its blanks, and a name may have no value."""
    assert parameter_names('a=1  b="x y=2" "c=d e" f') == ("a", "b", "c", "f")


def test_a_parameter_is_known_in_either_spelling() -> None:
    """And the kernel's own are known for every module."""
    info = parse_modinfo(b"parm=max-loop:How many\0parmtype=debug:int\0")
    assert unknown_parameters(info, "max_loop=1 debug=2 dyndbg=+p async_probe") == ()
    assert unknown_parameters(info, "dbug=1 dbug=2") == ("dbug",)


def test_an_earlier_directory_hides_a_file_of_the_same_name(tmp_path: Path) -> None:
    """Files of all directories sort by base name."""
    for place, name, text in (("one", "b", "x"), ("two", "b", "y"), ("two", "a", "z"), ("one", ".c", "hidden")):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / f"{name}.conf").write_text(f"alias {text} m\n")
    config = load_config(None, [str(tmp_path / "one"), str(tmp_path / "two")], cmdline=None)
    assert [alias.pattern for alias in config.aliases] == ["z", "x"]


def test_the_soft_dependencies_of_the_tree_sort_among_the_files(tmp_path: Path) -> None:
    """They stand behind ``m`` and before ``n``."""
    (tmp_path / "modules.softdep").write_text("softdep a pre: tree\n")
    for name in ("a", "z"):
        (tmp_path / f"{name}.conf").write_text(f"softdep a pre: {name}\n")
    config = load_config(str(tmp_path), [str(tmp_path)], cmdline=None)
    assert [soft.pre for soft in config.softdeps] == [("a",), ("tree",), ("z",)]


def test_what_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """A link to nowhere and a directory are named, and the rest counts."""
    (tmp_path / "a.conf").symlink_to("nowhere")
    (tmp_path / "b.conf").mkdir()
    (tmp_path / "c.conf").write_text("alias a b\n")
    (tmp_path / "d.conf").symlink_to("/dev/null")
    config = load_config(None, [str(tmp_path)], cmdline=str(tmp_path / "no-cmdline"))
    assert [Path(problem.origin.path).name for problem in config.problems] == ["a.conf", "b.conf"]
    assert len(config.aliases) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  -v   -q ", ["-v", "-q"]),
        ("-C '/a b' -v", ["-C", "/a b", "-v"]),
        ('-C "/a b"', ["-C", "/a b"]),
        ('"never closed', ['"never', "closed"]),
    ],
)
def test_the_environment_gives_words(text: str, words: list[str]) -> None:
    """Blanks separate, quotes keep together, and nothing makes an empty word."""
    assert environment_words(text) == words
