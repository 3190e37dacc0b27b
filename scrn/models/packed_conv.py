"""Convolutions whose weights oneDNN has packed, with what follows them in the same pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
_NAMES = {nn.ReLU: "relu", nn.ReLU6: "relu6", nn.SiLU: "silu", nn.Hardswish: "hardswish"}


class PackedConv2d(nn.Conv2d):
    """A convolution for inference, with the activation behind it, a product or a sum.

    On the CPU, in channels_last, oneDNN computes it with a copy of the weight in its own order, in
    float32 and in those half types that it has for this processor. The order depends on the map's
    size; of a convolution that is a matrix product and no more it does not. The copies of the last
    four sizes are kept. They are made anew when the weight was replaced or written to; what is
    written through ``weight.data`` goes unnoticed. Everything else takes PyTorch's convolution with
    the weight itself: other types, layouts and devices, autocast, gradients, transforms of
    functions, what torch.jit.trace, torch.compile and torch.export see, and weights made in
    inference mode, which do not tell of writes. State and copies of the module are without the
    packed weights.

    ``activation`` is None, ``"relu"``, ``"relu6"``, ``"silu"``, ``"hardswish"`` or ``"gelu"``.
    oneDNN's ReLU and ReLU6 make 0 of NaN.
    """

    activation: str | None
    # The weight that was packed, whose memory is no other's as long as it is held; the number of
    # writes to it until then; and the packed ones, by the size of the map, oldest first.
    _packed: tuple[Tensor, int, dict[torch.Size | None, Tensor]] | None

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
        made._packed = None
        return made

    def forward(
        self, input: Tensor, times: Tensor | None = None, onto: Tensor | None = None
    ) -> Tensor:
        """``activation(conv(input))``; instead with ``times`` its product by that map, with
        ``onto`` its sum with that map, which may be overwritten."""
        if (times is not None or onto is not None) and self.activation is not None:
            raise ValueError("activation: expected None beside a product or a sum")
        other = times if onto is None else onto
        if not self._is_packed_for(input, other):
            return self._unpacked(input, times, onto)
        behind = _ATTRIBUTES[self.activation]
        if other is None and self._is_product():
            weight = self._packed_weight(None, _pack_product)
            pixels = input.permute(0, 2, 3, 1)
            products = _mkldnn._linear_pointwise(pixels, weight, self.bias, *behind)
            return products.permute(0, 3, 1, 2)
        padding, before = self._padding(input)
        geometry = (padding, self.stride, self.dilation, self.groups)

        def pack(weight: Tensor) -> Tensor:
            longer = F.pad(weight, (before[1], 0, before[0], 0))
            return _mkldnn._reorder_convolution_weight(longer, *geometry, list(input.shape))

        given = (input, self._packed_weight(input.shape, pack), self.bias, *geometry)
        if onto is not None:
            return _mkldnn._convolution_pointwise_.binary(onto, *given, "add", *_NO_ACTIVATION)
        if times is not None:
            others = (*given[1:], "mul", *_NO_ACTIVATION)
            return _mkldnn._convolution_pointwise.binary(input, times, *others)
        return _mkldnn._convolution_pointwise(*given, *behind)

    def _unpacked(self, input: Tensor, times: Tensor | None, onto: Tensor | None) -> Tensor:
        result = self._conv_forward(input, self.weight, self.bias)
        if times is not None:
            return result.mul_(times)
        if onto is None:
            return self.activated(result)
        # What a gradient needs must not be overwritten.
        return result.add_(onto) if self._is_differentiated(input, onto) else onto.add_(result)

    def activated(self, result: Tensor) -> Tensor:
        """What the activation makes of the convolution's result, which it may overwrite."""
        return result if self.activation is None else _APPLIED[self.activation](result)

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
        assert not isinstance(self.padding, str)
        rows, columns = self.padding
        return (rows, columns), (0, 0)

    def _is_product(self) -> bool:
        """Of every pixel by itself."""
        is_single = self.kernel_size == self.stride == (1, 1)
        return is_single and self.padding == (0, 0) and self.groups == 1

    def _is_packed_for(self, input: Tensor, other: Tensor | None) -> bool:
        """Whether this call takes a packed weight; the others take PyTorch's convolution."""
        weight = self.weight
        return not (
            torch.compiler.is_compiling()
            or torch._C._are_functorch_transforms_active()
            or not _is_dense_map(input)
            or not (other is None or _is_dense_map(other))
            or weight.dtype != input.dtype
            or weight.device.type != "cpu"
            or weight.is_inference()
            or not torch.backends.mkldnn.enabled
            or type(weight) not in (nn.Parameter, Tensor)
            or torch.is_autocast_enabled("cpu")
            or torch._C._get_tracing_state() is not None
            or self._is_differentiated(input, other)
        )

    def _packed_weight(self, size: torch.Size | None, pack: Callable[[Tensor], Tensor]) -> Tensor:
        """The packed weight for maps of a size, or for all."""
        weight, held = self.weight, self._packed
        if held is None or not _is_same(held[0], weight) or held[1] != weight._version:
            held = (weight.detach(), weight._version, {})
        packed = held[2].get(size)
        if packed is None:
            packed = pack(weight.detach())
            kept = list(held[2].items())[1 - _SIZES :]
            # Other threads may read the one that was there.
            self._packed = (*held[:2], dict([*kept, (size, packed)]))
        return packed

    def _is_differentiated(self, input: Tensor, other: Tensor | None) -> bool:
        given = (input, self.weight, self.bias, other)
        return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given)

    def _apply(self, fn: Any, recurse: bool = True) -> PackedConv2d:
        self._packed = None  # This moves or casts the weight.
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None}

    def extra_repr(self) -> str:
        text = super().extra_repr()  # type: ignore[no-untyped-call]
        return text if self.activation is None else f"{text}, activation={self.activation}"


class PackedSameConv2d(PackedConv2d):
    """One of timm's that pads as TensorFlow does: to ceil(size / stride) rows, by as many zeros as
    that needs; of an odd number one more behind the map than before it.

    oneDNN is told the same number on both sides, of a kernel that is one zero longer: a padded copy
    of the map takes longer than the convolution.
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
            max((-(-size // step) - 1) * step + length - size, 0)
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


def _pack_product(weight: Tensor) -> Tensor:
    packed: Tensor = _mkldnn._reorder_linear_weight(weight.flatten(1).contiguous())
    return packed


def _is_same(held: Tensor, weight: Tensor) -> bool:
    return held.data_ptr() == weight.data_ptr() and held.stride() == weight.stride()


def packed(conv: nn.Conv2d) -> PackedConv2d | None:
    """The packed form of a convolution; None where it has none."""
    kinds = (PackedConv2d, PackedSameConv2d)
    return next((kind.of(conv) for kind in kinds if kind.takes(conv)), None)


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
        and map.device.type == "cpu"
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
        if PackedConv2d.takes(child):
            assert isinstance(child, nn.Conv2d)
            setattr(module, name, PackedConv2d.of(child))
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
