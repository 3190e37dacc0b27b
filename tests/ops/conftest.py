from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from scrn_ops import _load

# test_kernels.py names those that are missing here.
KERNELS = [
    f"cpu-{name}" for name in ("avx512", "avx2", "portable") if _load.cpu_has_instruction_set(name)
]
if torch.cuda.is_available():
    KERNELS += [
        pytest.param(f"cuda-{mode}", marks=pytest.mark.cuda) for mode in ("deterministic", "atomic")
    ]


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fills what torch allocates with NaN, so that an output left unwritten is seen."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=KERNELS)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every set of kernels that this machine can run, as the device to run them on."""
    device, _, variant = request.param.partition("-")
    if device == "cpu":
        monkeypatch.setenv("SCRN_OPS_CPU", variant)
        assert _load.cpu_instruction_set() == variant
    elif variant == "atomic":
        torch.use_deterministic_algorithms(False)
        # The allocator hands these out again: in this mode torch fills nothing itself.
        blocks = [torch.full((size,), torch.nan, device=device) for size in (1 << 18, 1 << 22)]
        del blocks
    return device
