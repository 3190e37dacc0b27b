"""The context modules against literal evaluations of their published formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrn.models import CONTEXTS, create_context
from scrn.models.context import ContextualRefinement
from scrn.models.context.ccam import criss_cross_attention
from scrn.models.context.crm import ChannelAttention
from scrn.models.context.dam import ChannelAttention as ChannelAttentionModule
from scrn.models.context.dam import PositionAttention

from .helpers import randomise, relative

CHANNELS = (8, 16, 16, 24)
TOTAL = sum(CHANNELS)
OUT = 12


def stages(height: int = 5, width: int = 7) -> list[Tensor]:
    """Maps whose sizes do not divide each other."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, c, (height - 1) * n + 1, (width - 1) * n + 1, generator=generator)
        for c, n in zip(CHANNELS, (8, 4, 2, 1), strict=True)
    ]


def pooled(features: list[Tensor]) -> Tensor:
    """Eq. 7: every cell of the last grid is the mean over the pixels that it covers."""
    height, width = features[-1].shape[2:]
    maps = []
    for feature in features:
        h, w = feature.shape[2:]
        cells = feature.new_zeros(*feature.shape[:2], height, width)
        for y in range(height):
            for x in range(width):
                rows = slice(y * h // height, -(-(y + 1) * h // height))
                columns = slice(x * w // width, -(-(x + 1) * w // width))
                cells[:, :, y, x] = feature[:, :, rows, columns].mean(dim=(2, 3))
        maps.append(cells)
    return torch.cat(maps, dim=1)


def norm(x: Tensor, layer: nn.BatchNorm2d) -> Tensor:
    scale = layer.weight / (layer.running_var + 1e-5).sqrt()
    return x * scale[:, None, None] + (layer.bias - layer.running_mean * scale)[:, None, None]


def pointwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    y = torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], x)
    return y if conv.bias is None else y + conv.bias[:, None, None]


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    return randomise(create_context(name, CHANNELS, OUT)).eval()


@torch.no_grad()
def test_channel_attention_of_the_crm_is_eq_5() -> None:
    torch.manual_seed(0)
    module = randomise(ChannelAttention(CHANNELS))
    features = stages()

    def mlp(x: Tensor, layers: nn.Sequential, width: int) -> Tensor:
        assert layers[0].out_features == max(width // 16, 4)
        hidden = (x @ layers[0].weight.T + layers[0].bias).clamp(min=0)
        return hidden @ layers[2].weight.T + layers[2].bias

    scales = [
        mlp(f.flatten(2).mean(2), layers, c)
        for f, layers, c in zip(features, module.stages, CHANNELS, strict=True)
    ]
    expected = 1 / (1 + (-mlp(torch.cat(scales, dim=1), module.fuse, TOTAL)).exp())
    assert module(features).shape == (2, TOTAL, 1, 1)
    assert relative(module(features).flatten(1), expected) < 1e-5


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("crm", 1.0),
        ("crm_scaled", (TOTAL // 4) ** -0.5),
        ("crm_shortcut", (TOTAL // 4) ** -0.5),
    ],
)
@torch.no_grad()
def test_crm_is_fig_6(name: str, scale: float) -> None:
    module, features = make(name), stages()
    spatial = module.spatial_attention
    assert spatial.query.out_channels == TOTAL // 4
    x = (module.channel_attention(features) * pooled(features)).double()
    height, width = x.shape[2:]
    flat = x.flatten(2)
    q, k, m, g = (
        torch.einsum("oc,bcn->bon", conv.weight[:, :, 0, 0].double(), flat)
        for conv in (spatial.query, spatial.key, spatial.unary, spatial.value)
    )
    g = g + spatial.value.bias.double()[:, None]
    y = torch.zeros_like(g)
    for b in range(2):
        for i in range(height * width):
            scores = (q[b, :, i] - q[b].mean(1)) @ (k[b] - k[b].mean(1, keepdim=True))
            y[b, :, i] = g[b] @ ((scale * scores).softmax(0) + m[b, 0].softmax(0))
    y = y.unflatten(2, (height, width)).float()
    assert y.shape[1] == 256
    assert (module.shortcut is None) == (name != "crm_shortcut")
    if module.shortcut is not None:
        conv, batch_norm, _ = module.shortcut
        y = y + norm(pointwise(x.float(), conv), batch_norm).clamp(min=0)
    layers = module.ffn.layers
    hidden = F.conv2d(pointwise(y, layers[0]), layers[1].weight, layers[1].bias, 1, 1, 1, 512)
    y = y + pointwise(0.5 * hidden * (1 + torch.erf(hidden / 2**0.5)), layers[3])
    assert relative(module(features), pointwise(y, module.project)) < 1e-5


def test_the_widths_of_the_crm() -> None:
    assert make("crm").spatial_attention.key.out_channels == TOTAL // 4
    assert ContextualRefinement((512,) * 4, 8).spatial_attention.key.out_channels == 256


@torch.no_grad()
def test_baselines() -> None:
    features = stages()
    f4, none = make("f4"), make("none")
    assert relative(f4(features), pointwise(features[-1], f4)) < 1e-5
    assert relative(none(features), pointwise(pooled(features), none)) < 1e-5


@torch.no_grad()
def test_ppm_is_pspnets() -> None:
    module, features = make("ppm"), stages()
    x = pooled(features)
    parts = [x]
    for grid, (conv, batch_norm, _) in zip((1, 2, 3, 6), module.branches, strict=True):
        cells = F.adaptive_avg_pool2d(x, grid)
        if grid == 1:
            assert relative(cells, x.mean(dim=(2, 3), keepdim=True)) < 1e-5
        assert conv.out_channels == TOTAL // 4
        y = norm(pointwise(cells, conv), batch_norm).clamp(min=0)
        parts.append(F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=True))
    conv, batch_norm, _ = module.bottleneck
    assert conv.kernel_size == (3, 3)
    expected = norm(F.conv2d(torch.cat(parts, 1), conv.weight, padding=1), batch_norm).clamp(min=0)
    assert relative(module(features), expected) < 1e-5


@torch.no_grad()
def test_dappm_is_ddrnets() -> None:
    module, features = make("dappm"), stages()
    x = pooled(features)

    def norm_act_conv(x: Tensor, layers: nn.Sequential) -> Tensor:
        padding = layers[2].kernel_size[0] // 2
        return F.conv2d(norm(x, layers[0]).clamp(min=0), layers[2].weight, padding=padding)

    def average(x: Tensor, n: int) -> Tensor:
        ones = torch.ones(x.shape[1], 1, n, n) / n**2
        return F.conv2d(x, ones, stride=n // 2, padding=n // 2, groups=x.shape[1])

    def up(y: Tensor) -> Tensor:
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)

    scales, process = module.scales, module.process
    y0 = norm_act_conv(x, scales[0])
    y1 = norm_act_conv(up(norm_act_conv(average(x, 5), scales[1])) + y0, process[0])
    y2 = norm_act_conv(up(norm_act_conv(average(x, 9), scales[2])) + y1, process[1])
    y3 = norm_act_conv(up(norm_act_conv(average(x, 17), scales[3])) + y2, process[2])
    y4 = norm_act_conv(
        up(norm_act_conv(x.mean(dim=(2, 3), keepdim=True), scales[4])) + y3, process[3]
    )
    expected = norm_act_conv(torch.cat([y0, y1, y2, y3, y4], dim=1), module.compression)
    expected = expected + norm_act_conv(x, module.shortcut)
    assert relative(module(features), expected) < 1e-5


@pytest.mark.parametrize("size", [(4, 5), (1, 6), (3, 1), (1, 1)])
@torch.no_grad()
def test_criss_cross_attention_sees_its_row_and_its_column(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 3, *size, generator=generator).double() for _ in range(2))
    v = torch.randn(2, 4, *size, generator=generator).double()
    got = criss_cross_attention(q, k, v)
    for b in range(2):
        for y in range(size[0]):
            for x in range(size[1]):
                seen = {(y, n) for n in range(size[1])} | {(n, x) for n in range(size[0])}
                assert len(seen) == size[0] + size[1] - 1
                weights = {p: math.exp(q[b, :, y, x] @ k[b, :, p[0], p[1]]) for p in seen}
                total = sum(weights.values())
                expected = sum(w / total * v[b, :, p[0], p[1]] for p, w in weights.items())
                assert relative(got[b, :, y, x], expected) < 1e-12


@torch.no_grad()
def test_ccam_is_ccnets() -> None:
    module, features = make("ccam"), stages()

    def block(x: Tensor, layers: nn.Sequential) -> Tensor:
        y = norm(F.conv2d(x, layers[0].weight, padding=1), layers[1])
        return torch.maximum(y, 0.01 * y)

    x = pooled(features)
    y = block(x, module.enter)
    attention = module.attention
    assert attention.query.out_channels == TOTAL // 4 // 8
    for _ in range(2):
        q, k, v = (pointwise(y, c) for c in (attention.query, attention.key, attention.value))
        y = attention.gamma * criss_cross_attention(q, k, v) + y
    expected = block(torch.cat([x, block(y, module.leave)], dim=1), module.bottleneck)
    assert relative(module(features), expected) < 1e-5


@torch.no_grad()
def test_position_attention_is_danets() -> None:
    torch.manual_seed(0)
    module = randomise(PositionAttention(16))
    x = torch.randn(2, 16, 3, 4)
    q, k, v = (pointwise(x, c).flatten(2) for c in (module.query, module.key, module.value))
    assert q.shape[1] == 2
    expected = x.flatten(2).clone()
    for b in range(2):
        for j in range(12):
            weights = torch.stack([q[b, :, j] @ k[b, :, i] for i in range(12)]).exp()
            expected[b, :, j] += module.gamma[0] * (weights / weights.sum() * v[b]).sum(1)
    assert relative(module(x).flatten(2), expected) < 1e-5


@torch.no_grad()
def test_channel_attention_of_dam_is_danets() -> None:
    module = randomise(ChannelAttentionModule())
    assert module.gamma.item() > 0
    x = torch.randn(2, 6, 3, 4) * 0.5
    flat = x.flatten(2)
    expected = flat.clone()
    for b in range(2):
        for j in range(6):
            energy = torch.stack([flat[b, j] @ flat[b, i] for i in range(6)])
            weights = (energy.max() - energy).exp()
            expected[b, j] += module.gamma[0] * (weights / weights.sum()) @ flat[b]
    assert relative(module(x).flatten(2), expected) < 1e-5


@torch.no_grad()
def test_dam_sums_its_branches() -> None:
    module, features = make("dam"), stages()
    x = pooled(features)
    branches = []
    for (conv, batch_norm, _), attention in (module.position, module.channel):
        assert conv.out_channels == TOTAL // 4
        y = norm(F.conv2d(x, conv.weight, padding=1), batch_norm).clamp(min=0)
        branches.append(attention(y))
    assert relative(module(features), pointwise(sum(branches), module.project)) < 1e-5


@pytest.mark.parametrize("name", sorted(CONTEXTS))
def test_every_context_is_usable_alone(name: str) -> None:
    features = stages(3, 2)
    module = create_context(name, CHANNELS, OUT)
    out = module([f.contiguous(memory_format=torch.channels_last) for f in features])
    assert out.shape == (2, OUT, 3, 2)
    assert out.is_contiguous(memory_format=torch.channels_last)
    out.square().mean().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"context: expected one of 'f4', .*got 'aspp'"):
        create_context("aspp", CHANNELS, OUT)
