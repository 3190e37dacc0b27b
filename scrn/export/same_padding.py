"""Convolutions padded as in TensorFlow, of timm's ``tf_`` models, for exporters.

How much they pad depends on the size of their input. Of several in a row torch.export makes
expressions that it does not come to an end with. Of an operator it needs to know the size of the
result alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.packed_conv import PackedSameConv2d, activated, missing


@torch.library.custom_op("scrn::conv2d_same", mutates_args=())
def conv2d_same(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """A convolution to ceil(H / stride) rows, padded by zeros, an odd one behind the map."""
    padding: list[int] = []
    for dim in (1, 0):
        length, step = input.shape[2 + dim], stride[dim]
        reach = (weight.shape[2 + dim] - 1) * dilation[dim] + 1
        zeros = missing(length, step, reach)
        padding += [zeros // 2, zeros - zeros // 2]
    return F.conv2d(F.pad(input, padding), weight, bias, stride, 0, dilation, groups)


@conv2d_same.register_fake
def _(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    height, width = ((input.shape[2 + i] - 1) // stride[i] + 1 for i in (0, 1))
    return input.new_empty(input.shape[0], weight.shape[0], height, width)


class _SameConv2d(nn.Module):
    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.geometry = (list(conv.stride), list(conv.dilation), conv.groups)
        self.activation = conv.activation if isinstance(conv, PackedSameConv2d) else None

    def forward(self, input: Tensor) -> Tensor:
        result = conv2d_same(input, self.weight, self.bias, *self.geometry)
        return activated(self.activation, result)


def replace_same_padding(model: nn.Module) -> None:
    """In place.

    Raises:
        NotImplementedError: of a dilated one, which ONNX Runtime does not pad like that.
    """
    try:
        from timm.layers.conv2d_same import Conv2dSame
    except ModuleNotFoundError:
        return  # and then the model has none
    for name, module in list(model.named_modules()):
        if isinstance(module, Conv2dSame | PackedSameConv2d):
            if set(module.dilation) != {1}:
                raise NotImplementedError(
                    f"model: expected convolutions padded as in TensorFlow not to be dilated, got "
                    f"{name} with a dilation of {module.dilation}"
                )
            model.set_submodule(name, _SameConv2d(module))
