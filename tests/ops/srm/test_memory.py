"""What is kept for the backward."""

from __future__ import annotations

import pytest
import torch

import scrn_ops
from benchmarks.common.memory import saved

from ..common.maps import BF16, DENSE_LAYOUTS, F32
from .cases import Size, refine_inputs


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_inputs_and_two_coordinates_are_saved_and_never_the_skip(device, dtype, layout, capsys):
    size = Size(2, 32, (16, 24), (32, 48))
    inputs = refine_inputs(size, dtype, device, layout=layout)
    low, offset, mask, skip = inputs
    backends = {}
    for backend in ("fused", "eager", "reference"):
        storages = saved(
            lambda backend=backend: scrn_ops.semantic_refine(
                low, offset, mask, skip, mask_is_logits=True, backend=backend
            )
        )
        backends[backend] = sum(storages.values())
        if backend == "fused":
            assert skip.untyped_storage().data_ptr() not in storages
    pixels = 2 * 32 * 48
    own = sum(t.untyped_storage().nbytes() for t in (low, offset, mask))
    assert backends["fused"] == own + pixels * 2 * 4
    with capsys.disabled():
        figures = ", ".join(f"{name} {n / pixels:.0f}" for name, n in backends.items())
        print(f"\nbytes saved per pixel, C=32, {dtype}, {layout}: {figures}", end=" ")
    assert backends["fused"] < min(backends["eager"], backends["reference"]) / 2


def test_nothing_is_saved_without_need(device):
    low, offset, mask, skip = refine_inputs(Size(1, 4, (3, 3), (6, 6)), F32, device)

    def refine():
        return scrn_ops.semantic_refine(low, offset, mask, skip)

    for tensor in (low, offset, mask):
        tensor.requires_grad_(False)
    assert not saved(refine)  # the skip's gradient is the incoming one
    (gradient,) = torch.autograd.grad(refine().sum(), skip)
    assert torch.equal(gradient, torch.ones_like(skip))
    skip.requires_grad_(False)
    assert not refine().requires_grad
    low.requires_grad_()
    with torch.no_grad():
        assert not saved(refine)


def test_sampling_and_aggregation_save_their_inputs_alone(device):
    low, offset, mask, _ = refine_inputs(Size(1, 4, (6, 6), (6, 6)), F32, device)
    for op, inputs in (
        (scrn_ops.offset_sample, (low, offset)),
        (scrn_ops.aggregate_offsets, (offset, mask)),
    ):
        storages = saved(lambda op=op, inputs=inputs: op(*inputs))
        assert set(storages) == {t.untyped_storage().data_ptr() for t in inputs}


def test_what_does_not_fit_says_so():
    """Programs that then try a smaller batch look for the words."""
    input, offset = torch.zeros(1, 1 << 24, 1, 1), torch.zeros(1, 2, 2048, 2048)
    wide = torch.zeros(1, 1, 1, 1).expand(1, 1 << 40, 1, 1)  # does not fit once it is dense
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator: can't allocate memory"):
        scrn_ops.offset_sample(input, offset)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator: can't allocate memory"):
        scrn_ops.offset_sample(wide, offset[..., :1, :1])
