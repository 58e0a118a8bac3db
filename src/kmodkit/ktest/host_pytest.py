"""The half of the pytest plugin on the host: group the marked tests, and have each run in a guest."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from kmodkit.errors import KmodError, KtestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kmodkit.ktest.machine import Machine, Snapshot

_MARKER: Final = "ktest"
_COLLECT_TIMEOUT: Final = 240.0
"""Seconds pytest may take to start and collect in the guest; ten on a quiet machine."""


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a guest must be like for a test: tests with equal needs share a snapshot."""

    kernel: str
    devices: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    memory: int = 0
    append: str = ""


@dataclass(slots=True)
class _Group:
    """Tests with equal needs: the files they are in, and the snapshot or what became of making it."""

    files: dict[Path, None] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    failure: KmodError | None = None


class HostHalf:
    """Runs marked tests in guests, or skips them where no kernel was asked for."""

    def __init__(self, config: pytest.Config, kernels: list[str]) -> None:
        self._config = config
        self._kernels = kernels
        self._groups: dict[_Needs, _Group] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the marked tests last, grouped.

        Last, because fixtures of tests that run here must not stay set up around them: pytest takes down what
        the next test does not need, and these need none of them.
        """
        marked = [item for item in items if item.get_closest_marker(_MARKER)]
        if not self._kernels:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="runs in a virtual machine only: give --ktest KERNEL"))
            return
        for item in marked:
            self._groups.setdefault(_needs(item), _Group()).files[item.path] = None
        order = {needs: position for position, needs in enumerate(self._groups)}
        marked.sort(key=lambda item: order[_needs(item)])
        items[:] = [item for item in items if not item.get_closest_marker(_MARKER)] + marked

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Run a marked test in a guest, in place of running it here."""
        if not self._kernels or item.get_closest_marker(_MARKER) is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._run(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Return the reports of one test; whatever goes wrong is a failure of the test."""
        try:
            snapshot = self._snapshot(_needs(item))
        except KmodError as error:
            return [_report(item, "setup", f"no guest for this test: {error}", _sections(error))]
        try:
            reports, console = self._in_guest(item, snapshot)
        except KtestError as error:
            failed = _report(item, "call", str(error), _sections(error))
            return [_report(item, "setup"), failed, _report(item, "teardown")]
        for report in reports:
            if report.failed and console:
                report.sections.append(("Guest kernel log", console.decode(errors="replace")))
        return reports

    def _in_guest(self, item: pytest.Item, snapshot: Snapshot) -> tuple[list[pytest.TestReport], bytes]:
        """Return the reports that the guest made, and its console."""
        from kmodkit.ktest.machine import Machine
        from kmodkit.ktest.process import Completed

        marker = item.get_closest_marker(_MARKER)
        own = marker.kwargs.get("timeout") if marker else None
        timeout = float(own or self._config.getoption("--ktest-timeout"))
        with Machine(snapshot) as machine:
            process = machine.process
            if process is None:
                raise KtestError("the snapshot has no test process in it")
            process.reply({"nodeid": item.nodeid})
            event = process.next(timeout)
            console = machine.console
            if isinstance(event, Completed):
                reason = f"the test's process ended with status {event.status} before it reported"
                raise KtestError(reason, console=console, output=event.output)
        restore = self._config.hook.pytest_report_from_serializable
        reports = [restore(config=self._config, data=_with_tuples(data)) for data in event.get("reports", ())]
        if not reports:
            raise KtestError("the guest's pytest did not find this test", console=console)
        return reports, console

    def _snapshot(self, needs: _Needs) -> Snapshot:
        """Return the snapshot for a group, made on the first call; a failure is not tried again."""
        group = self._groups[needs]
        if group.failure is not None:
            raise group.failure
        if group.snapshot is None:
            try:
                group.snapshot = self._make_snapshot(needs, list(group.files))
            except KmodError as error:
                group.failure = error
                raise
        return group.snapshot

    def _make_snapshot(self, needs: _Needs, files: list[Path]) -> Snapshot:
        from kmodkit.ktest.image import ImageSpec
        from kmodkit.ktest.runner import Setup, prepare
        from kmodkit.ktest.snapshots import snapshot

        config = self._config
        packages = [Path(__file__).parent.parent, *config.getini("ktest_python_path")]
        wanted = [*_test_files(config, files), *config.getini("ktest_files")]
        image = ImageSpec(
            python_path=tuple(packages),
            distributions=("pytest", *config.getini("ktest_distributions")),
            programs=tuple(Path(name) for name in config.getini("ktest_programs")),
            files=tuple((path, str(path)) for path in wanted),
        )
        setup = Setup(
            kernel=self._kernel(needs.kernel),
            modules=needs.modules,
            image=image,
            devices=needs.devices,
            memory=needs.memory,
            append=needs.append,
            accel=config.getoption("--ktest-accel"),
        )
        argv = _guest_arguments(config, files)

        def start(machine: Machine) -> None:
            _start_pytest(machine, argv, needs.kernel, str(config.rootpath))

        return snapshot(prepare(setup), prepare=start, prepared=json.dumps([argv, needs.kernel]))

    def _kernel(self, name: str) -> Path:
        """Return where a kernel is: the project's word first."""
        known = self._config.hook.pytest_ktest_kernel(config=self._config, key=name)
        path = Path(known) if known is not None else Path(name)
        if not path.exists():
            raise KtestError(f"no kernel {name!r}: it is neither a path nor a name this project knows")
        return path


def _needs(item: pytest.Item) -> _Needs:
    marker = item.get_closest_marker(_MARKER)
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    unknown = options.keys() - {"devices", "modules", "memory", "append", "timeout"}
    if unknown or (marker and marker.args):
        words = ", ".join(sorted(unknown)) or "arguments without a name"
        raise pytest.UsageError(f"{item.nodeid}: the marker ktest does not take {words}")
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return _Needs(
        kernel=parameters.get("ktest_kernel", ""),
        devices=tuple(options.get("devices", ())),
        modules=tuple(options.get("modules", ())),
        memory=int(options.get("memory", 0)),
        append=str(options.get("append", "")),
    )


def _test_files(config: pytest.Config, files: Iterable[Path]) -> list[Path]:
    """Return test files, the conftest.py and __init__.py files above them, and the configuration file."""
    found = dict.fromkeys(files)
    for file in tuple(found):
        for directory in file.parents:
            if not directory.is_relative_to(config.rootpath):
                break
            for name in ("conftest.py", "__init__.py"):
                if (directory / name).is_file():
                    found[directory / name] = None
    if config.inipath is not None:
        found[config.inipath] = None
    return list(found)


def _guest_arguments(config: pytest.Config, files: Iterable[Path]) -> list[str]:
    """Return the command that collects the files in the guest as they were collected here."""
    return [
        *("python3", "-m", "pytest", "-q", "-p", "kmodkit.ktest.plugin", "-p", "no:cacheprovider"),
        *(("-c", str(config.inipath)) if config.inipath else ()),
        # The project's own options are for the host: among them may be plugins that the guest does not have.
        *("--rootdir", str(config.rootpath), "-o", "addopts=", "--import-mode", config.getoption("importmode")),
        *config.getini("ktest_pytest_args"),
        *map(str, files),
    ]


def _start_pytest(machine: Machine, argv: list[str], kernel: str, root: str) -> None:
    """Start pytest in the guest and wait until it has collected and asks for a test."""
    from kmodkit.ktest.plugin import GUEST_VARIABLE
    from kmodkit.ktest.process import Completed

    env = {GUEST_VARIABLE: kernel, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    process = machine.start(argv, env=env, cwd=root)
    event = process.next(_COLLECT_TIMEOUT)
    if isinstance(event, Completed):
        text = event.output.decode(errors="replace")
        raise KtestError(f"pytest in the guest ended with status {event.status}:\n{text}", console=event.console)
    if event.get("errors"):
        raise KtestError("pytest in the guest cannot collect:\n" + "\n".join(event["errors"]))


def _with_tuples(data: dict[str, Any]) -> dict[str, Any]:
    """Return a report's data with the tuples that JSON made lists: pytest takes a skip's place for no list."""
    fixed = dict(data)
    for name in ("location", "longrepr"):
        if isinstance(data.get(name), list):
            fixed[name] = tuple(data[name])
    for name in ("sections", "user_properties"):
        fixed[name] = [tuple(pair) for pair in data.get(name, ())]
    return fixed


def _report(
    item: pytest.Item, when: str, failure: str | None = None, sections: Iterable[tuple[str, str]] = ()
) -> pytest.TestReport:
    """Return a report of our own making."""
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="passed" if failure is None else "failed",
        longrepr=failure,
        when=when,  # type: ignore[arg-type]
        sections=list(sections),
    )


def _sections(error: KmodError) -> list[tuple[str, str]]:
    """Return what is known of a failure, as sections of a report."""
    if not isinstance(error, KtestError):
        return []
    texts = (("Guest kernel log", error.console), ("Output in the guest", error.output))
    return [(title, data.decode(errors="replace")) for title, data in texts if data]
