"""Convolutions with packed weights, oneDNN's and conv3x3's, and with what follows them in the same
pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrn_ops import conv3x3, pack_conv3x3
from scrn_ops._core.load import cpu_instruction_set

_mkldnn, _aten = torch.ops.mkldnn, torch.ops.aten
_APPLIED: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": _aten.relu_,
    "relu6": lambda x: _aten.hardtanh_(x, 0, 6),
    "silu": _aten.silu_,
    "hardswish": _aten.hardswish_,
    "gelu": _aten.gelu_,
}
# oneDNN's name of it, its bounds, and its algorithm.
_ATTRIBUTES: dict[str | None, tuple[str, list[float], str]] = {
    None: ("none", [], ""),
    "relu": ("relu", [], ""),
    "relu6": ("hardtanh", [0.0, 6.0], ""),
    "silu": ("swish", [], ""),
    "hardswish": ("hardswish", [], ""),
    "gelu": ("gelu", [], "none"),
}
_SIZES = 4  # a band at the top, between, and at the bottom, and one more
_NO_ACTIVATION: tuple[Any, ...] = (None, None, [], None)  # behind a sum or a product
_Pair = tuple[int, int]  # of rows and columns
# A packed weight's: the map's size, None for all, and the zeros before the weight.
_Form = tuple[torch.Size | None, _Pair]
_ANY_SIZE: _Form = (None, (0, 0))
# Activations that are bounds of conv3x3's results.
_BOUNDS: dict[str | None, tuple[float | None, float | None]] = {
    None: (None, None),
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
}
# From which on conv3x3 is the faster one.
_TILED_CHANNELS, _TILED_PIXELS = 16, 128  # of channels in and out
_NAMES = {nn.ReLU: "relu", nn.ReLU6: "relu6", nn.SiLU: "silu", nn.Hardswish: "hardswish"}


class PackedConv2d(nn.Conv2d):
    """A convolution for inference, with the activation behind it, a product or a sum.

    On the CPU, in channels_last, oneDNN computes it with a copy of the weight in its own order, in
    float32 and in those half types that it has for this processor. In float32 a 3x3 one of stride
    and dilation 1, padded by 1, in one group, of more than a few channels and pixels and without a
    product or a sum, is :func:`scrn_ops.conv3x3`, which has an order of its own. oneDNN's depends
    on the map's size; of a convolution that is a matrix product and no more it does not. Copies
    for up to four sizes are kept; once there are as many, another size takes the last one, which
    oneDNN brings into its order in every call, until it comes twice running. They are made anew
    when the weight was replaced or written to; what is written through ``weight.data`` goes
    unnoticed. Everything else takes PyTorch's convolution with the weight itself: other types,
    layouts and devices, autocast, gradients, transforms of functions, what torch.jit.trace,
    torch.compile and torch.export see, and weights made in inference mode, which do not tell of
    writes. State and copies of the module are without the packed weights.

    ``activation`` is None, ``"relu"``, ``"relu6"``, ``"silu"``, ``"hardswish"`` or ``"gelu"``.
    oneDNN's ReLU and ReLU6 make 0 of NaN; conv3x3's keep it, and spread it over the 4x4 results
    that are computed together.
    """

    activation: str | None
    # The weight that was packed, whose memory is no other's as long as it is held; the number of
    # writes to it until then; and the packed ones, oldest first.
    _packed: tuple[Tensor, int, dict[_Form, Tensor]] | None
    _passed_over: _Form | None  # the last one that was not packed

    _taken = "a plain Conv2d, padded by zeros"

    @classmethod
    def takes(cls, conv: nn.Module) -> bool:
        """Of exactly PyTorch's class, padded by zeros and by numbers."""
        return (
            type(conv) is nn.Conv2d
            and conv.padding_mode == "zeros"
            and not isinstance(conv.padding, str)
        )

    @classmethod
    def of(cls, conv: nn.Conv2d) -> PackedConv2d:
        """Takes over the parameters and the hooks of a convolution.

        Raises:
            ValueError: it is not one that this class takes.
        """
        if not cls.takes(conv):
            raise ValueError(f"conv: expected {cls._taken}, got {conv}")
        made = cls.__new__(cls)
        made.__dict__.update(conv.__dict__)
        made.__dict__["_parameters"] = dict(conv._parameters)
        made.activation = None
        made._packed = made._passed_over = None
        return made

    def forward(
        self, input: Tensor, times: Tensor | None = None, onto: Tensor | None = None
    ) -> Tensor:
        """``activation(conv(input))``; instead with ``times`` its product by that map, with
        ``onto`` its sum with that map, which may be overwritten."""
        if (times is not None or onto is not None) and self.activation is not None:
            raise ValueError("activation: expected None beside a product or a sum")
        other = times if onto is None else onto
        # To ask a module for a parameter takes about a microsecond.
        weight, bias = self.weight, self.bias
        if not self._is_packed_for(input, weight, bias, other):
            return self._unpacked(input, weight, bias, times, onto)
        behind = _ATTRIBUTES[self.activation]
        if other is None and self._is_product():
            packed = self._packed_weight(weight, _ANY_SIZE, _pack_product)
            pixels = input.permute(0, 2, 3, 1)
            return _mkldnn._linear_pointwise(pixels, packed, bias, *behind).permute(0, 3, 1, 2)
        if other is None and self._is_tiled(input):
            packed = self._packed_weight(weight, _ANY_SIZE, pack_conv3x3)
            bounds = _BOUNDS.get(self.activation)
            low, high = bounds or (None, None)
            result = conv3x3(input, weight, bias, packed=packed, minimum=low, maximum=high)
            return result if bounds else activated(self.activation, result)
        padding, before = self._padding(input)
        geometry = (padding, self.stride, self.dilation, self.groups)

        def pack(plain: Tensor) -> Tensor:
            longer = F.pad(plain, (before[1], 0, before[0], 0))
            return _mkldnn._reorder_convolution_weight(longer, *geometry, list(input.shape))

        packed = self._packed_weight(weight, (input.shape, before), pack)
        given = (input, packed, bias, *geometry)
        if onto is not None:
            return _mkldnn._convolution_pointwise_.binary(onto, *given, "add", *_NO_ACTIVATION)
        if times is not None:
            others = (*given[1:], "mul", *_NO_ACTIVATION)
            return _mkldnn._convolution_pointwise.binary(input, times, *others)
        return _mkldnn._convolution_pointwise(*given, *behind)

    def _unpacked(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        times: Tensor | None,
        onto: Tensor | None,
    ) -> Tensor:
        result = self._conv_forward(input, weight, bias)
        if times is not None:
            return result.mul_(times)
        if onto is None:
            return activated(self.activation, result)
        # What a gradient needs must not be overwritten.
        differentiated = _is_differentiated(input, weight, bias, onto)
        return result.add_(onto) if differentiated else onto.add_(result)

    def absorb(self, layer: nn.Module) -> bool:
        """Takes over what a layer does that follows this one alone; False where it cannot."""
        activation = _activation_of(layer)
        if activation is None or self.activation is not None:
            return False
        if is_hooked(self) or is_hooked(layer):
            return False
        self.activation = activation
        return True

    def _padding(self, input: Tensor) -> tuple[_Pair, _Pair]:
        """Zeros on either side of the map, and before the weight's rows and columns."""
        return cast(_Pair, self.padding), (0, 0)

    def _is_product(self) -> bool:
        """Of every pixel by itself."""
        is_single = self.kernel_size == self.stride == (1, 1)
        return is_single and self.padding == (0, 0) and self.groups == 1

    def _is_tiled(self, input: Tensor) -> bool:
        return (
            self.kernel_size == (3, 3)
            and self.stride == self.padding == self.dilation == (1, 1)
            and self.groups == 1
            and min(self.in_channels, self.out_channels) >= _TILED_CHANNELS
            and input.numel() >= _TILED_PIXELS * self.in_channels
            and input.dtype == torch.float32
            # Without wide registers oneDNN's own convolution is the faster one.
            and cpu_instruction_set() != "portable"
        )

    def _is_packed_for(
        self, input: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None
    ) -> bool:
        """Whether this call takes a packed weight; the others take PyTorch's convolution."""
        dtype = input.dtype
        return not (
            torch.compiler.is_compiling()
            or torch._C._are_functorch_transforms_active()
            or not _is_dense_map(input)
            or weight.dtype != dtype
            or (bias is not None and bias.dtype != dtype)
            or (other is not None and (other.dtype != dtype or not _is_dense_map(other)))
            or not weight.is_cpu
            or weight.is_inference()
            or not torch._C._get_mkldnn_enabled()
            or type(weight) not in (nn.Parameter, Tensor)
            or torch.is_autocast_enabled("cpu")
            or torch._C._get_tracing_state() is not None
            or _is_differentiated(input, weight, bias, other)
        )

    def _packed_weight(
        self, weight: Tensor, form: _Form, pack: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The packed weight for maps of a size, or one that does for them."""
        held = self._packed
        if held is None or not _is_same(held[0], weight) or held[1] != weight._version:
            held = (weight.detach(), weight._version, {})
        found = held[2].get(form)
        if found is not None:
            return found
        kept = dict(held[2])
        if form != _ANY_SIZE:
            sized = [other for other in kept if other != _ANY_SIZE]
            if len(sized) >= _SIZES and form != self._passed_over:
                self._passed_over = form
                alike = [kept[other] for other in sized if other[1] == form[1]]
                if alike:
                    return alike[-1]
            for other in sized[: max(0, len(sized) - _SIZES + 1)]:
                del kept[other]
        found = pack(weight.detach())
        # Other threads may read the one that was there.
        self._packed = (*held[:2], kept | {form: found})
        return found

    def _apply(self, fn: Any, recurse: bool = True) -> PackedConv2d:
        self._packed = self._passed_over = None  # This moves or casts the weight.
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None, "_passed_over": None}

    def extra_repr(self) -> str:
        text = super().extra_repr()  # type: ignore[no-untyped-call]
        return text if self.activation is None else f"{text}, activation={self.activation}"


class PackedSameConv2d(PackedConv2d):
    """One of timm's that pads as TensorFlow does: to ceil(size / stride) rows, by as many zeros as
    that needs; of an odd number one more behind the map than before it.

    oneDNN is told the same number on both sides, of a kernel that is one zero longer: a padded copy
    of the map takes longer than the convolution. What is not finite makes NaN of the result where
    that zero meets it, too.
    """

    _taken = "timm's Conv2dSame without dilation"

    @classmethod
    def takes(cls, conv: nn.Module) -> bool:
        kind = type(conv)
        return (
            kind.__name__ == "Conv2dSame"
            and kind.__module__.startswith("timm.")
            and conv.dilation == (1, 1)
        )

    def _missing(self, input: Tensor) -> _Pair:
        rows, columns = (
            missing(size, step, length)
            for size, step, length in zip(
                input.shape[-2:], self.stride, self.kernel_size, strict=True
            )
        )
        return rows, columns

    def _padding(self, input: Tensor) -> tuple[_Pair, _Pair]:
        rows, columns = self._missing(input)
        return ((rows + 1) // 2, (columns + 1) // 2), (rows % 2, columns % 2)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows, columns = self._missing(input)
        sides = (columns // 2, (columns + 1) // 2, rows // 2, (rows + 1) // 2)
        return F.conv2d(F.pad(input, sides), weight, bias, self.stride, 0, 1, self.groups)


def missing(size: int, step: int, reach: int) -> int:
    """Zeros that a convolution needs for ceil(size / step) results."""
    return max((-(-size // step) - 1) * step + reach - size, 0)


def activated(activation: str | None, result: Tensor) -> Tensor:
    """What an activation makes of a convolution's result, which it may overwrite."""
    return result if activation is None else _APPLIED[activation](result)


def _pack_product(weight: Tensor) -> Tensor:
    made: Tensor = _mkldnn._reorder_linear_weight(weight.flatten(1).contiguous())
    return made


def _is_differentiated(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _is_same(held: Tensor, weight: Tensor) -> bool:
    return held.data_ptr() == weight.data_ptr() and held.stride() == weight.stride()


def packed_form(conv: nn.Module) -> PackedConv2d | None:
    """The packed form of a convolution; None where it has none."""
    for kind in (PackedConv2d, PackedSameConv2d):
        if isinstance(conv, nn.Conv2d) and kind.takes(conv):
            return kind.of(conv)
    return None


@functools.cache
def _multiplies(dtype: torch.dtype) -> bool:
    """oneDNN has convolutions of the type for this processor."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(_mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(_mkldnn._is_mkldnn_fp16_supported())
    return dtype == torch.float32


def _is_dense_map(map: Tensor) -> bool:
    """Not a subclass, which may have no memory to read."""
    return (
        type(map) is Tensor
        and map.is_cpu
        and _multiplies(map.dtype)
        and map.layout == torch.strided
        and map.dim() == 4
        and map.numel() > 0
        # The strides of a single pixel say no layout, and torch 2.11 then finds none.
        and map.shape[2:].numel() > 1
        and map.is_contiguous(memory_format=torch.channels_last)
    )


def pack_convolutions(module: nn.Module) -> None:
    """Replaces, in place, all convolutions of a module that can be, and within ``nn.Sequential``
    the activations behind them."""
    for name, child in list(module.named_children()):
        if (quick := packed_form(child)) is not None:
            setattr(module, name, quick)
        else:
            pack_convolutions(child)
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        _absorb_activations(module)


def _absorb_activations(layers: nn.Sequential) -> None:
    last: nn.Module | None = None
    for i, layer in enumerate(layers):
        if type(layer) is nn.Identity:
            continue
        if isinstance(last, PackedConv2d) and last.absorb(layer):
            layers[i] = nn.Identity()
        last = layer


def is_hooked(layer: nn.Module) -> bool:
    """A hook would see another map, or none."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def _activation_of(layer: nn.Module) -> str | None:
    if type(layer) is nn.GELU and layer.approximate == "none":
        return "gelu"
    return _NAMES.get(type(layer))
