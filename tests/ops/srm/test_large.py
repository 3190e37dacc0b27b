"""More than 2**31 elements: 15 GiB, so only where SCRN_OPS_LARGE is set."""

from __future__ import annotations

import pytest
import torch

import scrn_ops

pytestmark = [pytest.mark.slow, pytest.mark.large]


def sample(low, offset, mask):
    return scrn_ops.offset_sample(low, offset, align_corners=False)


def refine(low, offset, mask):
    return scrn_ops.semantic_refine(low, offset, mask, mask_is_logits=True)


def test_a_side_of_more_than_2_24(device):
    """Where float32 has no odd numbers: a point at -2 is outside, though -2 - x is rounded to
    what a bound of -1 - x is."""
    width, x = 20_000_005, 20_000_002
    input = torch.ones(1, 1, 1, width, device=device)
    offset = torch.zeros(1, 2, 1, width, device=device)
    offset[0, 0, 0, x] = -2.0 - x
    offset.requires_grad_()
    output = scrn_ops.offset_sample(input, offset)
    assert output[0, 0, 0, x] == 0
    (gradient,) = torch.autograd.grad(output.sum(), offset)
    assert gradient[0, 0, 0, x] == 0


@pytest.mark.parametrize("op", [sample, refine])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_more_than_2_31_elements(device, layout, op):
    """The last channels of the large problem are those of the small one with them alone."""
    h, w, height, width, channels, last = 2050, 2048, 4100, 4096, 128, 2
    assert channels * height * width > 2**31
    format = torch.contiguous_format if layout == "nchw" else torch.channels_last
    low = torch.empty(1, channels, h, w, device=device, dtype=torch.float16, memory_format=format)
    low.normal_().requires_grad_()
    offset = torch.randn(1, 2, height, width, device=device).requires_grad_()
    mask = torch.randn(1, 9, height, width, device=device)
    output = op(low, offset, mask)
    small_low = low.detach()[:, -last:].contiguous(memory_format=format).requires_grad_()
    small = op(small_low, offset.detach(), mask)
    torch.testing.assert_close(output[:, -last:], small)
    # The same incoming gradient for every channel, with no memory of its own.
    grad = torch.randn(1, 1, height, width, device=device, dtype=torch.float16)
    (small_grad,) = torch.autograd.grad(small, small_low, grad.expand_as(small))
    grad = grad.expand_as(output)
    grad_low, grad_offset = torch.autograd.grad(output, (low, offset), grad)
    torch.testing.assert_close(grad_low[:, -last:], small_grad, rtol=1e-2, atol=1e-2)
    assert grad_offset.isfinite().all()
