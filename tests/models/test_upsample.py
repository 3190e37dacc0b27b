"""The upsamplers against literal evaluations of what was published."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrn.models import UPSAMPLERS, create_upsampler

from .helpers import build, image, randomise, relative

SIZES = [((5, 7), (9, 13)), ((4, 8), (8, 16)), ((6, 5), (6, 5)), ((2, 3), (8, 9))]
WIDTH = 16


def maps(low: tuple[int, int], high: tuple[int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(2, WIDTH, *low, generator=generator),
        torch.randn(2, WIDTH, *high, generator=generator),
    )


def normalised_grid(height: int, width: int) -> Tensor:
    ys, xs = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)


def literal_fam(module: nn.Module, low: Tensor, high: Tensor) -> Tensor:
    """SFNet: the flow, divided by (W, H), is added to a grid with aligned corners."""
    height, width = high.shape[2:]
    compressed = F.conv2d(low, module.compress_low.weight)
    compressed = F.interpolate(
        compressed, size=(height, width), mode="bilinear", align_corners=True
    )
    stacked = torch.cat([compressed, F.conv2d(high, module.compress_high.weight)], dim=1)
    flow = F.conv2d(stacked, module.flow.weight, padding=1)
    grid = normalised_grid(height, width) + flow.permute(0, 2, 3, 1) / torch.tensor([width, height])
    return F.grid_sample(low, grid, align_corners=True)


def literal_align_fa(module: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """AlignSeg: an offset in pixels for each map, from their concatenation."""
    height, width = high.shape[2:]
    up = F.interpolate(low, size=(height, width), mode="bilinear", align_corners=True)
    stacked = torch.cat([high, up], dim=1)
    warped = []
    for branch, feature in ((module.offset_low, up), (module.offset_high, high)):
        hidden = F.conv2d(stacked, branch[0].weight)
        norm = branch[1]
        hidden = F.batch_norm(
            hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5
        )
        hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
        delta = F.conv2d(hidden, branch[3].weight, padding=1)
        half = torch.tensor([(width - 1) / 2, (height - 1) / 2])
        grid = normalised_grid(height, width) + delta.permute(0, 2, 3, 1) / half
        warped.append(F.grid_sample(feature, grid, align_corners=True))
    return warped[0], warped[1]


def literal_srm(module: nn.Module, low: Tensor, high: Tensor) -> Tensor:
    """Fig. 5, Eqs. 3 and 4, in the paper's order: upsample, then compress."""

    def branch(layers: nn.Sequential, x: Tensor, padding: int) -> Tensor:
        norm = layers[1]
        x = F.conv2d(x, layers[0].weight, padding=1)
        x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return F.conv2d(x.relu(), layers[3].weight, layers[3].bias, padding=padding)

    batch, channels = low.shape[:2]
    height, width = high.shape[2:]
    up = F.interpolate(low, size=(height, width), mode="bilinear", align_corners=False)
    stacked = torch.cat(
        [
            F.conv2d(up, module.compress_low.weight, module.compress_low.bias),
            F.conv2d(high, module.compress_high.weight, module.compress_high.bias),
        ],
        dim=1,
    )
    offset = branch(module.offset, stacked, 1)
    mask = branch(module.mask, stacked, 0).softmax(dim=1)
    output = torch.zeros(batch, channels, height, width)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                delta = torch.zeros(2)
                for k in range(9):
                    qx, qy = x + k % 3 - 1, y + k // 3 - 1
                    if 0 <= qx < width and 0 <= qy < height:
                        delta += mask[b, k, y, x] * offset[b, :, qy, qx]
                wx = (1 - (x + delta[0] - torch.arange(width)).abs()).clamp(min=0)
                wy = (1 - (y + delta[1] - torch.arange(height)).abs()).clamp(min=0)
                output[b, :, y, x] = torch.einsum("cmn,m,n->c", up[b], wy, wx)
    return output


def make(name: str, add_skip: bool, backend: str) -> nn.Module:
    torch.manual_seed(0)
    module = create_upsampler(name, WIDTH, WIDTH, add_skip=add_skip, backend=backend)
    return randomise(module).eval()


@pytest.mark.parametrize(("name", "literal"), [("fam", literal_fam), ("srm", literal_srm)])
@pytest.mark.parametrize("backend", ["fused", "eager", "reference"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@torch.no_grad()
def test_fam_is_sfnets_and_srm_the_papers(sizes, backend: str, name: str, literal) -> None:
    low, high = maps(*sizes)
    module = make(name, False, backend)
    expected = literal(module, low, high)
    assert relative(module(low, high), expected) < 1e-5
    assert relative(make(name, True, backend)(low, high), expected + high) < 1e-5


@pytest.mark.parametrize("backend", ["fused", "eager", "reference"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@torch.no_grad()
def test_align_fa_is_alignsegs(sizes, backend: str) -> None:
    low, high = maps(*sizes)
    module = make("align_fa", True, backend)
    aligned_low, aligned_high = literal_align_fa(module, low, high)
    assert relative(module(low, high), aligned_low + aligned_high) < 1e-5
    alone = make("align_fa", False, backend)
    alone.load_state_dict(module.state_dict(), strict=False)
    assert relative(alone(low, high), aligned_low) < 1e-5


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(
    ("name", "align_corners"),
    [("bilinear", False), ("srm", False), ("fam", True), ("align_fa", True)],
)
@torch.no_grad()
def test_untrained_is_bilinear(name: str, align_corners: bool, sizes) -> None:
    low, high = maps(*sizes)
    up = F.interpolate(low, size=sizes[1], mode="bilinear", align_corners=align_corners)
    for add_skip, expected in ((True, up + high), (False, up)):
        module = create_upsampler(name, WIDTH, WIDTH, add_skip=add_skip).eval()
        assert relative(module(low, high), expected) < 1e-6


@torch.no_grad()
def test_an_untrained_network_with_srm_is_the_bilinear_one() -> None:
    srm, bilinear = build(upsampler="srm").eval(), build(upsampler="bilinear").eval()
    for module in srm.upsamplers:
        module.offset[3].reset_parameters()
    bilinear.load_state_dict({k: v for k, v in srm.state_dict().items() if "upsamplers" not in k})
    x = image(97, 131)
    assert relative(srm(x), bilinear(x)) < 1e-5
    # The comparison would see an offset.
    srm.upsamplers[0].offset[3].bias.fill_(0.5)
    assert relative(srm(x), bilinear(x)) > 1e-3


@pytest.mark.parametrize("name", sorted(UPSAMPLERS))
def test_channels_may_differ_without_the_skip(name: str) -> None:
    low, high = maps((4, 5), (8, 9))
    module = create_upsampler(name, WIDTH, 6, add_skip=False)
    assert module(low, high[:, :6]).shape == (2, WIDTH, 8, 9)
    with pytest.raises(ValueError, match=r"add_skip: expected low_channels == high_channels"):
        create_upsampler(name, WIDTH, 6)


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"upsampler: expected one of 'bilinear'.*got 'nearest'"):
        create_upsampler("nearest", 8, 8)
    for name in UPSAMPLERS:
        with pytest.raises(ValueError, match=r"backend: expected .*got 'cuda'"):
            create_upsampler(name, 8, 8, backend="cuda")
