"""Other models' warps, evaluated as they are published, and the offsets that the docs of
offset_sample give for them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import scrn_ops

H, W = 12, 20


def base_grid(batch, height, width):
    y = torch.linspace(-1, 1, height, dtype=torch.float64)
    x = torch.linspace(-1, 1, width, dtype=torch.float64)
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((x, y), -1).expand(batch, -1, -1, -1)


def sfnet(features, flow):
    """The flow in units of the output's width and height on a grid from -1 to 1."""
    height, width = flow.shape[2:]
    units = torch.tensor([width, height], dtype=torch.float64)
    grid = base_grid(len(flow), height, width) + flow.permute(0, 2, 3, 1) / units
    return F.grid_sample(features, grid, align_corners=True)


def alignseg_published(features, flow):
    """The same in units of the input's width and height."""
    units = torch.tensor([features.shape[3], features.shape[2]], dtype=torch.float64)
    grid = base_grid(len(flow), *flow.shape[2:]) + flow.permute(0, 2, 3, 1) / units
    return F.grid_sample(features, grid, align_corners=True)


def alignseg_recommended(features, flow):
    """Pixels of the output."""
    height, width = flow.shape[2:]
    units = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    grid = base_grid(len(flow), height, width) + flow.permute(0, 2, 3, 1) / units
    return F.grid_sample(features, grid, align_corners=True)


def optical_flow(features, flow):
    """Pixels, added to pixels, normalised at the end."""
    height, width = flow.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    position = torch.stack((x, y)) + flow
    x = 2 * position[:, 0] / max(width - 1, 1) - 1
    y = 2 * position[:, 1] / max(height - 1, 1) - 1
    return F.grid_sample(features, torch.stack((x, y), -1), align_corners=True)


def halves(width, height):
    return (W - 1) / (2 * width), (H - 1) / (2 * height)


@pytest.mark.parametrize(
    ("warp", "in_size", "factors"),
    [
        (sfnet, (6, 10), halves(W, H)),
        (sfnet, (H, W), halves(W, H)),
        (alignseg_published, (6, 10), halves(10, 6)),
        (alignseg_published, (H, W), halves(W, H)),
        (alignseg_recommended, (6, 10), (1, 1)),
        (alignseg_recommended, (H, W), (1, 1)),
        (optical_flow, (H, W), (1, 1)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("backend", ["fused", "eager", "reference"])
def test_factor(warp, in_size, factors, backend):
    features = torch.randn(2, 3, *in_size, dtype=torch.float64, requires_grad=True)
    flow = (torch.randn(2, 2, H, W, dtype=torch.float64) * 4).requires_grad_()
    factor = torch.tensor(factors, dtype=torch.float64).view(1, 2, 1, 1)
    expected = warp(features, flow)
    output = scrn_ops.offset_sample(features, flow * factor, align_corners=True, backend=backend)
    torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-9)
    grad = torch.randn_like(output)
    for got, want in zip(
        torch.autograd.grad(output, (features, flow), grad),
        torch.autograd.grad(expected, (features, flow), grad),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_the_docs_say_so():
    text = " ".join(scrn_ops.offset_sample.__doc__.split())
    assert "SFNet" in text
    assert "flow_x * (W - 1) / (2 * W), flow_y * (H - 1) / (2 * H)" in text
    assert "flow_x * (W - 1) / (2 * w), flow_y * (H - 1) / (2 * h)" in text
