"""Counts operations while a model runs, on tensors without data if need be.

Two conventions. The paper's "GFLOPs" are what counters that look at modules give: one for
every multiply-accumulate of convolutions and linear layers, 2 per element of a batch norm and
1 of a ReLU; nothing for matrix products of attention, sampling, GELU or softmax. The full
count looks at operators, and takes every multiplication, addition, comparison, division, square
root, exponential and erf as one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from scrn_ops import SemanticRefinement

from .models.backbones.large_kernel import DepthwiseUnit
from .models.fused_layers import FusedGate, FusedMlp

aten = torch.ops.aten

# Operations per element of the output.
_PER_OUTPUT = {
    aten.gelu: 5,  # x * 0.5 * (1 + erf(x / sqrt(2)))
    aten._softmax: 5,  # maximum, subtraction, exponential, sum, division
    aten.sigmoid: 3,
    aten.silu: 4,
    aten.tanh: 4,
    aten.hardswish: 4,
    aten.hardsigmoid: 3,
    aten.hardtanh: 2,
    aten.leaky_relu: 2,
    aten.upsample_bilinear2d: 7,  # 4 products and their sum
    aten.upsample_nearest2d: 0,
    aten.native_layer_norm: 8,  # mean, variance and the normalisation itself
    aten.native_group_norm: 8,
    aten.native_batch_norm: 2,  # with running statistics, a product and a sum
    aten._native_batch_norm_legit_no_training: 2,
    aten.grid_sampler_2d: 7,
}

# Operations per element of the output beside the products that the operator's formula counts:
# biases, sums and GELU.
_BESIDE_PRODUCTS = {
    torch.ops.scrn_ops.multi_scale_depthwise: 7 + 3,
    torch.ops.scrn_ops.large_kernel_depthwise: 2,
    torch.ops.scrn_ops.depthwise_gelu: 1 + 5,
}

# Convolutions by packed weights, and operations per element of what they apply to the result.
# A torch without oneDNN has none.
_PACKED = {
    getattr(torch.ops.mkldnn, name, None)
    for name in ("_convolution_pointwise", "_convolution_pointwise_", "_linear_pointwise")
}
_BEHIND = {
    "none": 0,
    "relu": 1,
    "hardtanh": _PER_OUTPUT[aten.hardtanh],
    "swish": _PER_OUTPUT[aten.silu],
    "hardswish": _PER_OUTPUT[aten.hardswish],
    "gelu": _PER_OUTPUT[aten.gelu],
}

# Operations per element of the input.
_PER_INPUT = {
    aten.mean: 1,
    aten.sum: 1,
    aten.amax: 1,
    aten.amin: 1,
    aten.max: 1,
    aten.var_mean: 4,
    aten._adaptive_avg_pool2d: 1,
    aten.adaptive_avg_pool2d: 1,
    aten.linalg_vector_norm: 2,
}

_NOTHING = {
    aten.arange,
    aten.bitwise_not,
    aten.cat,
    aten.clone,
    aten.constant_pad_nd,
    aten.copy_,
    aten.detach,
    aten.empty,
    aten.eye,
    aten.fill_,
    aten.full,
    aten.gather,
    aten.im2col,
    aten.index,
    aten.index_select,
    aten.lift_fresh,
    aten.lift_fresh_copy,
    aten.linspace,
    aten.masked_fill,
    aten.new_empty,
    aten.new_zeros,
    aten.ones,
    aten.repeat,
    aten.roll,
    aten.scalar_tensor,
    aten.stack,
    aten.tril,
    aten.zeros,
    aten.zeros_like,
    aten.empty_like,
    aten.ones_like,
    aten.zero_,
    aten._to_copy,
    aten._unsafe_view,
    aten._reshape_copy,
    torch.ops.mkldnn._reorder_convolution_weight,
    torch.ops.mkldnn._reorder_linear_weight,
}


def module_counts(model: nn.Module, image: Tensor) -> dict[nn.Module, int]:
    """The paper's count of every module that has one.

    A refinement module compresses ``low`` before it upsamples it; the paper compresses behind,
    and that is counted.
    """
    counts: Counter[nn.Module] = Counter()

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, SemanticRefinement):
            low, high = inputs
            pixels = high.shape[2] * high.shape[3] - low.shape[2] * low.shape[3]
            counts[module.compress_low] += (
                low.shape[0] * pixels * module.compress_low.weight.numel()
            )
        elif isinstance(module, nn.Conv2d | nn.Linear):
            # The weight's first dimension is the output's channels.
            counts[module] += output.numel() * math.prod(module.weight.shape[1:])
        elif isinstance(module, DepthwiseUnit | FusedGate | FusedMlp):
            # They return maps of the size of their input.
            for conv in module.uncalled(inputs[0]):
                batch, _, height, width = output.shape
                counts[conv] += batch * height * width * conv.weight.numel()
        elif isinstance(module, nn.BatchNorm2d):
            counts[module] += 2 * output.numel()
        elif isinstance(module, nn.ReLU):
            counts[module] += output.numel()

    with _hooked(model, None, count), torch.no_grad():
        model(image)
    return counts


def operator_counts(
    model: nn.Module, image: Tensor, parts: dict[str, nn.Module]
) -> tuple[dict[str, int], set[str]]:
    """The full count by part, and the operators that it does not know.

    An operation belongs to the innermost part that is running, or to ``"rest"``.
    """
    names = {module: name for name, module in parts.items()}
    running = ["rest"]

    def enter(module: nn.Module, _inputs: Any) -> None:
        if module in names:
            running.append(names[module])

    def leave(module: nn.Module, _inputs: Any, _output: Any) -> None:
        if module in names:
            running.pop()

    counts: Counter[str] = Counter()
    unknown: set[str] = set()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            output = func(*args, **(kwargs or {}))
            count = operations(func, args, kwargs or {}, output)
            if count is None:
                unknown.add(str(func))
            else:
                counts[running[-1]] += count
            return output

    with _hooked(model, enter, leave), torch.no_grad(), Count():  # type: ignore[no-untyped-call]
        model(image)
    return dict(counts), unknown


def operations(func: Any, args: Any, kwargs: Any, output: Any) -> int | None:
    """The full count of one call of an operator; None where it is not known."""
    packet = func.overloadpacket
    if packet in _PACKED:
        return _packed_operations(func, args, output)
    outputs = output if isinstance(output, tuple | list) else (output,)
    if not outputs or not isinstance(outputs[0], Tensor):
        # One that writes its result into an argument may have a formula all the same.
        return int(flop_registry[packet](*args, **kwargs)) if packet in flop_registry else 0
    size = outputs[0].numel()
    if packet in flop_registry:
        count = int(flop_registry[packet](*args, **kwargs, out_val=output))
        adds_bias = (packet is aten.convolution and args[2] is not None) or packet in (
            aten.addmm,
            aten.baddbmm,
        )
        if packet is torch.ops.scrn_ops.conv3x3:  # with a bias and two bounds, or without
            return count + size * sum(arg is not None for arg in (args[2], *args[4:6]))
        return count + size * (1 if adds_bias else _BESIDE_PRODUCTS.get(packet, 0))
    name = str(packet).removesuffix("_").removeprefix("aten.")
    outplace = getattr(aten, name, packet) if name != "copy" else packet
    if outplace in _PER_OUTPUT:
        return _PER_OUTPUT[outplace] * size
    if outplace in _PER_INPUT:
        return _PER_INPUT[outplace] * args[0].numel()
    if packet is aten.avg_pool2d or packet is aten.max_pool2d_with_indices:
        return math.prod(_pair(args[1])) * size
    if packet in _NOTHING or func.is_view:
        return 0
    if torch.Tag.pointwise in func.tags or torch.Tag.pointwise in outplace.default.tags:
        return size
    return None


def _packed_operations(func: Any, args: Any, output: Tensor) -> int:
    """Of a convolution by a packed weight, see :mod:`scrn.models.packed_conv`."""
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False))
    products = 2 * math.prod(given["W"].shape[1:])
    behind = _BEHIND[given["attr"]] if "attr" in given else 1  # a product or a sum
    return output.numel() * (products + (given["B"] is not None) + behind)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


@contextmanager
def _hooked(
    model: nn.Module, before: Callable[..., None] | None, after: Callable[..., None]
) -> Iterator[None]:
    handles = []
    for module in model.modules():
        if before is not None:
            handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
