"""Units, inputs and calls that the tests of the depthwise units share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import scrn_ops
from scrn_ops.depthwise.functional import pack

from ..common.maps import F64, generator, leaf, normal


@dataclass(frozen=True)
class Unit:
    """One of the functions with its sizes: strips' lengths, dilation, or the kernel's edge."""

    name: str
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}-{'-'.join(map(str, self.sizes))}"

    def shapes(self, channels: int) -> list[tuple[int, ...]]:
        """Of weights and biases, one after the other."""
        c = channels
        if self.name == "depthwise_gelu":
            (k,) = self.sizes
            return [(c, 1, k, k), (c,)]
        shapes: list[tuple[int, ...]] = [(c, 1, 5, 5), (c,)]
        if self.name == "large_kernel_depthwise":
            return [*shapes, (c, 1, 7, 7), (c,)]
        for n in self.sizes:
            shapes += [(c, 1, 1, n), (c,), (c, 1, n, 1), (c,)]
        return shapes

    def inputs(
        self,
        shape: Sequence[int],
        dtype: torch.dtype,
        device: str = "cpu",
        *,
        layout: str = "nchw",
        weight_dtype: torch.dtype | None = None,
        bias: float = 1.0,
    ) -> list[Tensor]:
        """The map, then weights and biases: leaves, with biases of the size ``bias``."""
        numbers = generator(self, tuple(shape), bias)
        tensors = [leaf(normal(shape, numbers), dtype, device, layout)]
        for size in self.shapes(shape[1]):
            values = normal(size, numbers)
            taps = size[-1] * size[-2] if len(size) == 4 else 0
            values = values / taps**0.5 if taps else values * bias
            made = values.to(dtype=weight_dtype or dtype, device=device)
            tensors.append(made.requires_grad_())
        return tensors

    def __call__(self, *tensors: Tensor | None, backend: str | None = None) -> Tensor:
        """The public function, of what :meth:`inputs` makes."""
        function: Callable[..., Tensor] = getattr(scrn_ops, self.name)
        if self.name == "large_kernel_depthwise":
            return function(*tensors, dilation=self.sizes[0], backend=backend)
        if self.name == "depthwise_gelu":
            return function(*tensors, backend=backend)
        rest = tensors[3:]
        groups = [[rest[4 * i + j] for i in range(3)] for j in range(4)]
        return function(*tensors[:3], *groups, backend=backend)

    def operator_arguments(self, tensors: Sequence[Tensor]) -> tuple[Tensor | int, ...]:
        """Of ``torch.ops.scrn_ops.<name>``, from what :meth:`inputs` makes."""
        parts = list(zip(tensors[1::2], tensors[2::2], strict=True))
        return tensors[0], pack(parts).detach(), *self.sizes


MSCA = Unit("multi_scale_depthwise", (7, 11, 21))
LKA = Unit("large_kernel_depthwise", (3,))
GELU = Unit("depthwise_gelu", (3,))
UNITS = (MSCA, LKA, GELU)
# Every length and dilation has code of its own in no kernel but shares it with all others.
OTHER_UNITS = (
    Unit("multi_scale_depthwise", (3, 5, 31)),
    Unit("multi_scale_depthwise", (21, 11, 7)),
    Unit("large_kernel_depthwise", (1,)),
    Unit("large_kernel_depthwise", (8,)),
    Unit("depthwise_gelu", (5,)),
    Unit("depthwise_gelu", (7,)),
)


def results(
    call: Callable[..., Tensor], tensors: Sequence[Tensor], grad_layout: str = "nchw"
) -> tuple[list[Tensor], Tensor]:
    """The output, then the gradient of every tensor; and the gradient that came in."""
    output = call(*tensors)
    values = normal(output.shape, generator("gradient"))
    grad = leaf(values, output.dtype, str(output.device), grad_layout).detach()
    return [output.detach(), *torch.autograd.grad(output, tensors, grad)], grad


def expected(unit: Unit, tensors: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """What :func:`results` should give, by the reference in float64."""
    doubles = [t.detach().cpu().to(F64).requires_grad_() for t in tensors]
    output = unit(*doubles, backend="reference")
    return [output.detach(), *torch.autograd.grad(output, doubles, grad.cpu().to(F64))]
