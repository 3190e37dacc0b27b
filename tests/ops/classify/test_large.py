"""More than 2**31 elements: up to 17 GiB, so only where SCRN_OPS_LARGE is set."""

from __future__ import annotations

import pytest
import torch

import scrn_ops

from ..common.maps import BF16, F32

pytestmark = [pytest.mark.slow, pytest.mark.large]
IGNORED = 255


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_logits_of_more_than_2_31_elements(device, layout):
    """All but the last rows is ignored: loss, gradient and labels are those of these alone."""
    classes, side, rows = 1000, 1500, 2
    assert classes * side * side > 2**31
    format = torch.contiguous_format if layout == "nchw" else torch.channels_last
    logits = torch.zeros(1, classes, side, side, device=device, dtype=BF16)
    logits = logits.contiguous(memory_format=format)
    logits[:, :, -rows:].normal_()
    small = logits[:, :, -rows:].contiguous(memory_format=format).requires_grad_()
    target = torch.full((1, side, side), -100, device=device)
    target[:, -rows:] = torch.randint(classes, (1, rows, side), device=device)
    labels = scrn_ops.upsampled_argmax(logits, (side, side), dtype=torch.int64)
    wanted = scrn_ops.upsampled_argmax(small.detach(), (rows, side), dtype=torch.int64)
    assert (labels[:, :-rows] == 0).all()
    assert torch.equal(labels[:, -rows:], wanted)
    logits.requires_grad_()
    loss, expected = (
        scrn_ops.upsampled_cross_entropy(x, y, reduction="sum")
        for x, y in ((logits, target), (small, target[:, -rows:]))
    )
    torch.testing.assert_close(loss, expected)
    (grad,) = torch.autograd.grad(loss, logits)
    (wanted,) = torch.autograd.grad(expected, small)
    torch.testing.assert_close(grad[:, :, -rows:], wanted, rtol=1e-4, atol=0)
    assert (grad[:, :, :-rows] == 0).all()


def test_targets_of_more_than_2_31_pixels(device):
    low, factor, rows = 2900, 16, 3
    side = low * factor
    assert side * side > 2**31
    logits = torch.zeros(1, 2, low, low, device=device, dtype=F32)
    logits[:, :, -rows:].normal_()
    small = logits[:, :, -rows:].clone().requires_grad_()
    # What the last row of the logits alone decides, and its upper neighbour.
    labels = scrn_ops.upsampled_argmax(logits, (side, side), dtype=torch.uint8)
    wanted = scrn_ops.upsampled_argmax(small.detach(), (rows * factor, side), dtype=torch.uint8)
    assert torch.equal(labels[:, -factor:], wanted[:, -factor:])
    assert (labels[:, : -(rows + 1) * factor] == 0).all()
    target = torch.full((1, side, side), IGNORED, device=device, dtype=torch.uint8)
    target[:, -factor:] = wanted[:, -factor:] ^ 1
    logits.requires_grad_()
    loss, expected = (
        scrn_ops.upsampled_cross_entropy(x, y, ignore_index=IGNORED, reduction="sum")
        for x, y in ((logits, target), (small, target[:, -rows * factor :]))
    )
    torch.testing.assert_close(loss, expected)
    (grad,) = torch.autograd.grad(loss, logits)
    (wanted,) = torch.autograd.grad(expected, small)
    torch.testing.assert_close(grad[:, :, -rows:], wanted, rtol=1e-4, atol=0)
    assert (grad[:, :, :-rows] == 0).all()
