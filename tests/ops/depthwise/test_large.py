"""More than 2**31 elements: 19 GiB, and 30 on a GPU, so only where SCRN_OPS_LARGE is set."""

from __future__ import annotations

import pytest
import torch

from ..common.maps import BF16, F32
from .cases import UNITS

pytestmark = [pytest.mark.slow, pytest.mark.large]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_more_than_2_31_elements(device, unit, layout):
    """The last channels of the large problem are those of the small one with them alone."""
    # The last 16 channels, which a kernel takes together, begin beyond 2**31 elements, too.
    channels, height, width, last = 144, 4100, 4096, 2
    assert (channels - 16) * height * width > 2**31
    format = torch.contiguous_format if layout == "nchw" else torch.channels_last
    input = torch.zeros(1, channels, height, width, device=device, dtype=BF16)
    input = input.contiguous(memory_format=format)
    input[:, -last:].normal_()
    _, *weights = unit.inputs((1, channels, 1, 1), BF16, device, weight_dtype=F32)
    large = [input.requires_grad_(), *weights]
    small = [input.detach()[:, -last:].contiguous(memory_format=format).requires_grad_()]
    small += [weight.detach()[-last:].requires_grad_() for weight in weights]
    output, wanted = unit(*large), unit(*small)
    torch.testing.assert_close(output[:, -last:], wanted, rtol=0, atol=0)
    # The same incoming gradient for every channel, with no memory of its own.
    grad = torch.randn(1, 1, height, width, device=device).to(BF16)
    expected = torch.autograd.grad(wanted, small, grad.expand_as(wanted))
    actual = torch.autograd.grad(output, large, grad.expand_as(output))
    torch.testing.assert_close(actual[0][:, -last:], expected[0], rtol=0, atol=0)
    for got, want in zip(actual[1:], expected[1:], strict=True):
        torch.testing.assert_close(got[-last:], want, rtol=1e-4, atol=1e-2)
