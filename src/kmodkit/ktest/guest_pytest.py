"""The half of the pytest plugin in the guest: collect, wait to be saved, then run the one test asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kmodkit.ktest.guest import call


class GuestHalf:
    """Takes the place of pytest's loop over the tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._errors: list[str] = []
        self._reports: list[dict[str, Any]] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what went wrong."""
        if report.failed:
            self._errors.append(f"{report.nodeid}: {report.longreprtext}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Wait for the name of a test, run it, and send its reports.

        The snapshot is taken during the first call, so all that follows happens once in every copy.
        """
        request = call({"op": "ready", "errors": self._errors})
        found = [item for item in session.items if item.nodeid == request["nodeid"]]
        for item in found[:1]:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        # A report may carry anything a test recorded as a property.
        call({"op": "reports", "reports": json.loads(json.dumps(self._reports, default=repr))})
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the report in the form in which it can be sent."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._reports.append(data)
