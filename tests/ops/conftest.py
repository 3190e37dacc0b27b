from __future__ import annotations

import os

import pytest
import torch

from scrn_ops._core import load

# test_kernels.py names those that are missing here.
CPU_KERNELS = [
    name for name in ("avx512", "avx2", "portable") if load.cpu_has_instruction_set(name)
]
KERNELS = [f"cpu-{name}" for name in CPU_KERNELS]
if torch.cuda.is_available():
    KERNELS += [
        pytest.param(f"cuda-{mode}", marks=pytest.mark.cuda) for mode in ("deterministic", "atomic")
    ]


@pytest.fixture(autouse=True)
def _poisoned(request: pytest.FixtureRequest) -> None:
    """Large maps are not poisoned: filling them would double the time, and what is compared of them
    is finite everywhere."""
    if request.node.get_closest_marker("large") is None:
        request.getfixturevalue("poisoned_memory")
    elif "SCRN_OPS_LARGE" not in os.environ:
        pytest.skip("needs 20 GiB, 30 on a GPU: set SCRN_OPS_LARGE=1")


@pytest.fixture(params=KERNELS)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every set of kernels that this machine can run, as the device to run them on."""
    device, _, variant = request.param.partition("-")
    if device == "cpu":
        monkeypatch.setenv("SCRN_OPS_CPU", variant)
        assert load.cpu_instruction_set() == variant
    elif variant == "atomic":
        torch.use_deterministic_algorithms(False)
        # The allocator hands these out again: in this mode torch fills nothing itself.
        blocks = [torch.full((size,), torch.nan, device=device) for size in (1 << 18, 1 << 22)]
        del blocks
    return device


@pytest.fixture(params=CPU_KERNELS)
def cpu_kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an op that has no others."""
    monkeypatch.setenv("SCRN_OPS_CPU", request.param)
