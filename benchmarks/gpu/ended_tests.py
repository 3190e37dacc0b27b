"""A plugin for pytest: which tests have ended, in a file that is whole at every moment. Tests that
it finds there as passed do not run again. ``SCRN_ENDED_TESTS`` is ``PATH::SUITE``."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from .record import OK, Record

EVERY = 0.25  # seconds between two writings: the file grows with the tests


class Ended:
    """With xdist every worker has one, too, which finds what is to be left out; the controller
    alone sees the reports of all, and writes."""

    def __init__(self, path: Path, suite: str, writes: bool) -> None:
        self.record, self.suite, self.writes = Record(path), suite, writes
        before = self.record.row(suite) or {}
        self.passed: list[str] = list(before.get("passed", []))
        self.failed: dict[str, str] = {}
        self.skipped: dict[str, int] = {}
        self.called: set[str] = set()
        self.start = time.monotonic()
        self.written = 0.0

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        before = set(self.passed)
        left_out = [item for item in items if item.nodeid in before]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item.nodeid not in before]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            said = str(getattr(report.longrepr, "reprcrash", report.longrepr) or "")
            self.failed.setdefault(report.nodeid, said.strip()[-300:])
        elif report.skipped:
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
            reason = str(why).removeprefix("Skipped: ")
            self.skipped[reason] = self.skipped.get(reason, 0) + 1
        elif report.when == "call":
            self.called.add(report.nodeid)
        elif report.when == "teardown" and report.nodeid in self.called - self.failed.keys():
            self.passed.append(report.nodeid)
        if time.monotonic() - self.written > EVERY:
            self._write("running")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.setdefault(report.nodeid, str(report.longrepr)[-300:])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.passed:
            session.exitstatus = exitstatus = pytest.ExitCode.OK  # none was left to do
        self._write(OK if exitstatus == pytest.ExitCode.OK else "failed")

    def _write(self, status: str) -> None:
        if not self.writes:
            return
        self.written = time.monotonic()
        self.record.add(
            self.suite, status, seconds=round(self.written - self.start, 1), failed=self.failed,
            skipped=self.skipped, passed=list(dict.fromkeys(self.passed)),
        )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    wanted = os.environ.get("SCRN_ENDED_TESTS")
    if wanted:
        path, suite = wanted.rsplit("::", 1)
        config.pluginmanager.register(
            Ended(Path(path), suite, not hasattr(config, "workerinput")), "ended-tests"
        )
