"""Gives every test the kernels of its family, and fails it where a sanitizer reported anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .harness import build
from .harness.device import Device
from .harness.session import KIND, Reports, draw, load_device


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    draw(config, items, build.FOLDER)


def family_of(request: pytest.FixtureRequest) -> str:
    return request.path.relative_to(build.FOLDER).parts[0]


@pytest.fixture
def kernels(request: pytest.FixtureRequest) -> Device:
    """The kernels of the family in whose folder the test lies."""
    return load_device(family_of(request), KIND)


@pytest.fixture
def selftest() -> Device:
    return load_device("harness", KIND)


@pytest.fixture
def device(kernels: Device) -> Iterator[Device]:
    """The family's kernels, with default order and placement."""
    yield kernels
    kernels.set_order()
    kernels.placement, kernels.misalignment = "end", 0


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
