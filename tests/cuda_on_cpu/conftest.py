"""Builds the modules once, and fails a test in which a sanitizer reported anything.

SCRN_CUDA_ON_CPU_KIND chooses the build; asan and tsan need the sanitizer preloaded and its reports
sent to a log (build.environment does both). SCRN_CUDA_ON_CPU_MODULE names a module of the kernels
that is built already, as the planted bugs are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from . import build
from .device import Device

KIND = os.environ.get("SCRN_CUDA_ON_CPU_KIND", "plain")
LOG = os.environ.get("SCRN_CUDA_ON_CPU_LOG", "")
MODULE = os.environ.get("SCRN_CUDA_ON_CPU_MODULE", "")


def load_device(name: str, kind: str, units: Sequence[str] = ()) -> Device:
    try:
        return Device(build.load(build.build(name, kind, units=units)))
    except build.CannotBuild as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kernels() -> Device:
    if MODULE:
        return Device(build.load(Path(MODULE)))
    return load_device("kernels", KIND)


@pytest.fixture(scope="session")
def selftest() -> Device:
    return load_device("selftest", KIND)


@pytest.fixture
def device(kernels: Device) -> Iterator[Device]:
    """The project's kernels, with default order and placement."""
    yield kernels
    kernels.set_order()
    kernels.placement, kernels.misalignment = "end", 0


class Reports:
    """What the sanitizers have written since the last look: AddressSanitizer and ThreadSanitizer
    into their log, UndefinedBehaviorSanitizer to stderr."""

    seen = 0

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture

    def take(self) -> str:
        text = self.capture.readouterr().err
        report = text if "runtime error:" in text else ""
        path = Path(f"{LOG}.{os.getpid()}")
        if LOG and path.is_file():
            whole = path.read_text(errors="replace")
            report += whole[Reports.seen :]
            Reports.seen = len(whole)
        return report


@pytest.fixture
def reports(capfd: pytest.CaptureFixture[str]) -> Reports:
    return Reports(capfd)


@pytest.fixture
def take_reports(reports: Reports) -> Callable[[], str]:
    """For tests that expect a report."""
    return reports.take


@pytest.fixture(autouse=True)
def no_reports(reports: Reports) -> Iterator[None]:
    yield
    report = reports.take()
    assert not report, f"the {KIND} build reported:\n{report[:20000]}"
