"""Gives every test the kernels of its family, for each instruction set that this machine has, and
fails it where a sanitizer reported anything.

SCRN_CUDA_ON_CPU_KIND and SCRN_CUDA_ON_CPU_MODULE choose build and library as they do for the CUDA
kernels; SCRN_CPU_KERNELS_SETS leaves some instruction sets only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.cuda_on_cpu.harness.build import CannotBuild
from tests.cuda_on_cpu.harness.device import Device
from tests.cuda_on_cpu.harness.session import KIND, MODULE, Reports, draw

from .harness import build
from .harness.library import Library


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    draw(config, items, build.FOLDER)


@cache
def load(family: str) -> Library:
    return Library(Path(MODULE) if MODULE else build.build(family, KIND), KIND)


@pytest.fixture(params=build.available())
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """The family's kernels, with default order and placement."""
    monkeypatch.setenv("SCRN_OPS_CPU", request.param)
    family = request.path.relative_to(build.FOLDER).parts[0]
    try:
        device = Device(load(family))
    except CannotBuild as error:
        pytest.skip(str(error))
    yield device
    device.set_order()


@pytest.fixture(autouse=True)
def no_reports(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    reports = Reports(capfd)
    yield
    report = reports.take()
    assert not report, f"the {KIND} build reported:\n{report[:20000]}"
