"""These units' kernels are for the CPU: nothing else is tested where there is a GPU, too."""

from __future__ import annotations

import pytest

from scrn_ops._core import load

from ..conftest import KERNELS


@pytest.fixture(params=[each for each in KERNELS if isinstance(each, str)])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every instruction set that this machine can run; the device to run them on."""
    device, _, variant = request.param.partition("-")
    monkeypatch.setenv("SCRN_OPS_CPU", variant)
    assert load.cpu_instruction_set() == variant
    return device


@pytest.fixture
def device() -> str:
    return "cpu"
