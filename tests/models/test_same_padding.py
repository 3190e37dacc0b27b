"""Convolutions that pad as TensorFlow does, by packed weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame

from scrn.models.packed_conv import PackedSameConv2d, packed_form

from .helpers import relative
from .test_packed_conv import is_used, maps


@pytest.mark.parametrize("size", [(9, 11), (8, 12), (8, 11), (1, 1), (2, 1)], ids=str)
@pytest.mark.parametrize(
    "geometry",
    [
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 5, "stride": 2, "groups": 6},
        {"kernel_size": (4, 3), "stride": (1, 3), "groups": 2},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 2, "bias": False},
    ],
    ids=str,
)
def test_padding_as_in_tensorflow(geometry: dict[str, Any], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    original = Conv2dSame(6, 12, **geometry).requires_grad_(False)
    conv, x = PackedSameConv2d.of(original), maps(6, *size)
    expected = original.double()(x.double())
    conv.float()
    assert relative(conv(x), expected) < 1e-6
    assert is_used(conv) == (size != (1, 1))
    for given in (x.contiguous(), x.clone().requires_grad_()):
        assert relative(conv(given), expected) < 1e-6
    conv.activation = "relu6"
    assert relative(conv(x), F.relu6(expected)) < 1e-6
    exported = torch.export.export(conv, (x,)).module()
    assert relative(exported(x), F.relu6(expected)) < 1e-6


def test_one_packed_for_another_number_of_zeros_is_not_taken() -> None:
    conv = PackedSameConv2d.of(Conv2dSame(4, 4, 3, stride=2)).requires_grad_(False)
    for height, width in ((8, 8), (10, 8), (12, 8), (14, 8), (9, 8), (9, 11), (16, 8)):
        x = maps(4, height, width)
        assert relative(conv(x), conv(x.contiguous())) < 1e-6


def test_only_undilated_padding_as_in_tensorflow() -> None:
    dilated = Conv2dSame(4, 4, 3, dilation=2)
    assert packed_form(dilated) is None
    with pytest.raises(ValueError, match="conv: expected timm's Conv2dSame without dilation"):
        PackedSameConv2d.of(dilated)
