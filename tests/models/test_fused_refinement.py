"""The refinement module rewritten for inference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scrn.models import fusion, packed_conv
from scrn.models.conv_folding import of_halves
from scrn.models.fused_layers import FusedRefinement
from scrn_ops import SemanticRefinement

from .helpers import randomise, relative

LAST = torch.channels_last


@pytest.fixture(autouse=True)
def tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the processor's registers are narrow."""
    monkeypatch.setattr(packed_conv, "_has_tiles", lambda forced: True)


def refinement() -> tuple[SemanticRefinement, Tensor, Tensor]:
    torch.manual_seed(0)
    module = randomise(SemanticRefinement(6, 6, compress=8, hidden=20).eval())
    nn.init.normal_(module.offset[3].weight, std=0.3)
    return module, torch.randn(2, 6, 7, 9), torch.randn(2, 6, 14, 17)


def called(fused: FusedRefinement, *maps: Tensor) -> tuple[Tensor, list[str]]:
    """The result, and which convolutions have predicted offsets and mask."""
    names: list[str] = []
    forwards = {name: getattr(fused, name).forward for name in ("offset", "mask", "both")}
    for name, forward in forwards.items():

        def spied(x: Tensor, name: str = name, forward: Any = forward) -> Tensor:
            names.append(name)
            result: Tensor = forward(x)
            return result

        getattr(fused, name).forward = spied
    result = fused(*maps)
    for name in forwards:
        del getattr(fused, name).forward
    return result, names


@pytest.mark.parametrize(
    ("dtype", "layout", "expected"),
    [
        (torch.float32, LAST, ["both"]),
        (torch.float32, torch.contiguous_format, ["offset", "mask"]),
        (torch.float64, LAST, ["offset", "mask"]),
        (torch.bfloat16, LAST, ["offset", "mask"]),  # whose digits would not do for offsets
    ],
    ids=str,
)
@torch.no_grad()
def test_one_convolution_predicts_where_it_is_the_faster_one(
    dtype: torch.dtype, layout: torch.memory_format, expected: list[str]
) -> None:
    module, low, high = refinement()
    wanted = module(low, high)
    fused = FusedRefinement(module)
    if dtype == torch.bfloat16:
        fusion.round_layers(fused, dtype)
    else:
        fused.to(dtype)
    got, names = called(fused, *(x.to(dtype).to(memory_format=layout) for x in (low, high)))
    assert relative(got, wanted) < (3e-2 if dtype == torch.bfloat16 else 2e-6)
    assert names == expected


@torch.no_grad()
def test_hooks_are_called() -> None:
    """Also one that changes the offsets."""
    module, *maps = refinement()
    maps = [x.to(memory_format=LAST) for x in maps]
    module.offset[3].register_forward_hook(lambda *args: torch.zeros_like(args[2]))
    wanted = module(*maps)
    assert relative(FusedRefinement(module)(*maps), wanted) < 2e-6


@torch.no_grad()
def test_other_convolutions_in_the_place_of_the_last_ones() -> None:
    for name, conv in (
        ("mask", nn.Conv2d(20, 9, 3, padding=1)),
        ("mask", nn.Conv2d(20, 9, 1, groups=1, bias=False)),
        ("offset", nn.Conv2d(20, 2, 3, padding=2, dilation=2)),
        ("offset", nn.Conv2d(20, 2, 5, padding=2)),
        ("offset", nn.Conv2d(20, 2, 3, padding=1, groups=2)),
        ("offset", nn.Conv2d(20, 2, 3, padding=1, padding_mode="reflect")),
    ):
        module, *maps = refinement()
        getattr(module, name)[3] = conv
        maps = [x.to(memory_format=LAST) for x in maps]
        assert relative(FusedRefinement(module)(*maps), module(*maps)) < 2e-6


@torch.no_grad()
def test_two_halves_are_one_convolution() -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(4, 3, 3, padding=1, bias=False), nn.Conv2d(5, 2, 1)
    x, y = torch.randn(2, 4, 7, 9), torch.randn(2, 5, 7, 9)
    both = of_halves(first, second)
    assert both is not None
    assert relative(both(torch.cat((x, y), 1)), torch.cat((first(x), second(y)), 1)) < 1e-6
    assert of_halves(nn.Conv2d(4, 3, 3), second) is None
    assert of_halves(first, nn.Conv2d(5, 2, 1, stride=2)) is None
