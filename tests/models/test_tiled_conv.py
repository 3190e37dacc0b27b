"""Packed convolutions that are conv3x3, and those that are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrn.models import packed_conv

from .helpers import relative
from .test_packed_conv import ACTIVATIONS, LAST, Calls, definition, maps, packed


def tiled(conv: nn.Conv2d, *args: Tensor, **named: Tensor) -> tuple[Tensor, int]:
    """The result, and how many calls of conv3x3 it took."""
    with Calls() as calls:
        result = conv(*args, **named)
    return result, calls.names["scrn_ops.conv3x3"]


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_a_3x3_convolution_is_by_tiles(
    activation: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_conv, "cpu_instruction_set", lambda: "avx2")
    conv, x = packed(16, 18, kernel_size=3, padding=1), 4 * maps(16, 9, 11)
    conv.activation = activation
    expected = definition(conv, x)
    expected = getattr(F, activation)(expected) if activation else expected
    result, calls = tiled(conv, x)
    assert calls == 1
    assert relative(result, expected) < 2e-6
    assert result.is_contiguous(memory_format=LAST)
    conv.weight.mul_(2)
    conv.activation = None
    assert relative(conv(x), definition(conv, x)) < 2e-6


def test_where_tiles_are_not_the_faster_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_conv, "cpu_instruction_set", lambda: "avx2")
    conv, x = packed(16, 18, kernel_size=3, padding=1), maps(16, 9, 11)
    other = maps(18, 9, 11)
    assert tiled(conv, x, times=other)[1] == 0
    assert tiled(conv, x, onto=other)[1] == 0
    assert tiled(conv, maps(16, 7, 9))[1] == 0
    assert tiled(conv.to(torch.bfloat16), x.bfloat16())[1] == 0
    geometries: list[dict[str, Any]] = [
        {"stride": 2},
        {"dilation": 2, "padding": 2},
        {"padding": 0},
        {"kernel_size": 5, "padding": 2},
        {"groups": 2},
        {"channels": 15},
        {"out": 15},
    ]
    for geometry in geometries:
        conv = packed(**{"channels": 16, "out": 18, "kernel_size": 3, "padding": 1} | geometry)
        x = maps(conv.in_channels, 9, 11)
        result, calls = tiled(conv, x)
        assert calls == 0
        assert relative(result, definition(conv, x)) < 1e-6
    monkeypatch.setattr(packed_conv, "cpu_instruction_set", lambda: "portable")
    assert tiled(packed(16, 18, kernel_size=3, padding=1), maps(16, 9, 11))[1] == 0


def test_sizes_of_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a weight of its own, and the one for all sizes stays."""
    monkeypatch.setattr(packed_conv, "cpu_instruction_set", lambda: "avx2")
    conv, large = packed(16, 18, kernel_size=3, padding=1), maps(16, 16, 16)
    for edge in (5, 6, 7, 16, 4, 3, 2, 5, 16, 6, 7):
        x = maps(16, edge, edge)
        result, calls = tiled(conv, x)
        assert calls == (edge == 16)
        assert relative(result, definition(conv, x)) < 2e-6
    assert conv._packed is not None
    kept = conv._packed[2][None, (0, 0)]
    conv(large)
    assert conv._packed[2][None, (0, 0)] is kept
    conv(large, onto=maps(18, 16, 16))
    assert relative(conv(large), definition(conv, large)) < 2e-6


def test_the_variable_that_forces_an_instruction_set_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCRN_OPS_CPU", "portable")
    assert tiled(packed(16, 18, kernel_size=3, padding=1), maps(16, 9, 11))[1] == 0
