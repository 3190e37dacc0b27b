"""Convolutions whose weights oneDNN has packed, with what follows them in the same pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
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
_NAMES = {nn.ReLU: "relu", nn.ReLU6: "relu6", nn.SiLU: "silu", nn.Hardswish: "hardswish"}


class PackedConv2d(nn.Conv2d):
    """A convolution for inference, with the activation behind it, a product or a sum.

    On the CPU, in float32 and channels_last, oneDNN computes it with a copy of the weight in its
    own order, made in the first such call, and again when the weight was replaced or written
    to; what is written through ``weight.data`` goes unnoticed. Everything else takes PyTorch's
    convolution with the weight itself: other types, layouts and devices, autocast, gradients,
    transforms of functions, what torch.jit.trace, torch.compile and torch.export see, and weights
    made in inference mode, which do not tell of writes. State and copies of the module are without
    the packed weight.

    ``activation`` is None, ``"relu"``, ``"relu6"``, ``"silu"``, ``"hardswish"`` or ``"gelu"``.
    oneDNN's ReLU and ReLU6 make 0 of NaN.
    """

    activation: str | None
    # The weight that was packed, whose memory is no other's as long as it is held; the number of
    # writes to it until then; and the packed one.
    _packed: tuple[Tensor, int, Tensor] | None

    @classmethod
    def of(cls, conv: nn.Conv2d) -> PackedConv2d:
        """Takes over the parameters and the hooks of a convolution.

        Raises:
            ValueError: it is not one that :func:`is_packable`.
        """
        if not is_packable(conv):
            raise ValueError(f"conv: expected a plain Conv2d, padded by zeros, got {conv}")
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
        weight = self._packed_for(input, times if onto is None else onto)
        if weight is None:
            result = self._conv_forward(input, self.weight, self.bias)
            if self.activation is not None:
                return _APPLIED[self.activation](result)
            if times is not None:
                return result.mul_(times)
            if onto is None:
                return result
            # What a gradient needs must not be overwritten.
            needed = self._is_differentiated(input, onto)
            return result.add_(onto) if needed else onto.add_(result)
        geometry = (self.padding, self.stride, self.dilation, self.groups)
        if onto is not None:
            return _mkldnn._convolution_pointwise_.binary(
                onto, input, weight, self.bias, *geometry, "add", None, None, [], None
            )
        if times is not None:
            return _mkldnn._convolution_pointwise.binary(
                input, times, weight, self.bias, *geometry, "mul", None, None, [], None
            )
        behind = _ATTRIBUTES[self.activation]
        return _mkldnn._convolution_pointwise(input, weight, self.bias, *geometry, *behind)

    def absorb(self, layer: nn.Module) -> bool:
        """Takes over what a layer does that follows this one alone; False where it cannot."""
        activation = _activation_of(layer)
        if activation is None or self.activation is not None:
            return False
        if is_hooked(self) or is_hooked(layer):
            return False
        self.activation = activation
        return True

    def _packed_for(self, input: Tensor, other: Tensor | None) -> Tensor | None:
        """The packed weight for this call; None where PyTorch's convolution takes it."""
        weight = self.weight
        if (
            torch.compiler.is_compiling()
            or torch._C._are_functorch_transforms_active()
            or not _is_dense_map(input)
            or not (other is None or _is_dense_map(other))
            or weight.dtype != torch.float32
            or weight.device.type != "cpu"
            or weight.is_inference()
            or not torch.backends.mkldnn.is_available()
            or not torch.backends.mkldnn.enabled
            or type(weight) not in (nn.Parameter, Tensor)
            or torch.is_autocast_enabled("cpu")
            or torch._C._get_tracing_state() is not None
            or self._is_differentiated(input, other)
        ):
            return None
        held = self._packed
        if held is None or not _is_same(held[0], weight) or held[1] != weight._version:
            packed = _mkldnn._reorder_convolution_weight(
                weight.detach(), self.padding, self.stride, self.dilation, self.groups,
                list(input.shape),
            )  # fmt: skip
            self._packed = held = (weight.detach(), weight._version, packed)
        return held[2]

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


def _is_same(held: Tensor, weight: Tensor) -> bool:
    return held.data_ptr() == weight.data_ptr() and held.stride() == weight.stride()


def is_packable(conv: nn.Module) -> bool:
    """Of exactly PyTorch's class, padded by zeros and by numbers."""
    return (
        type(conv) is nn.Conv2d
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def _is_dense_map(map: Tensor) -> bool:
    """Not a subclass, which may have no memory to read."""
    return (
        type(map) is Tensor
        and map.device.type == "cpu"
        and map.dtype == torch.float32
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
        if is_packable(child):
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
