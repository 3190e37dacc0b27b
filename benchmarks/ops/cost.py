"""What a case costs at the least, from its shapes alone, and how many kernels carry it out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from .case import OURS, Arguments, Case, inputs_of, leaves_of, shapes

aten = torch.ops.aten

# Operators that launch nothing: they give another view of a tensor, or memory.
_FREE = {
    aten.view, aten._unsafe_view, aten.reshape, aten.permute, aten.transpose, aten.t, aten.expand,
    aten.unsqueeze, aten.squeeze, aten.slice, aten.select, aten.as_strided, aten.alias, aten.detach,
    aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided,
}  # fmt: skip
# Operators whose CUDA implementation fills its result with zeros first, to add to it.
_FILL_FIRST = {
    aten.upsample_bilinear2d_backward,
    aten.grid_sampler_2d_backward,
    aten.select_backward,
}
# Operators whose CUDA implementation goes through the images one by one.
_BY_IMAGE = {aten.im2col, aten.col2im}


@dataclass(frozen=True)
class Cost:
    """``bytes``: every argument that the direction needs read once, every result written once.
    ``flops``: a multiplication and an addition count one each."""

    bytes: int
    flops: int

    def floor(self, bytes_per_second: float, flops_per_second: float) -> float:
        """Seconds: what the slower of the two takes, the other one hidden behind it."""
        return max(self.bytes / bytes_per_second, self.flops / flops_per_second)


@functools.cache
def cost(case: Case) -> Cost:
    """Of the op itself, whatever carries it out."""
    with FakeTensorMode():
        made, output, forward, backward = _watched(
            case, OURS, functools.partial(FlopCounterMode, display=False)
        )
    passed = case.operation.passed
    needed = [tensor for name, tensor in made.items() if name not in passed]
    total, flops = 0, 0
    if case.direction != "backward":
        total += _bytes(made.values()) + output.nbytes
        flops += forward.get_total_flops()
    if case.direction != "forward":
        written = [tensor for name, tensor in leaves_of(made).items() if name not in passed]
        total += output.nbytes + _bytes(needed) + _bytes(written)
        flops += backward.get_total_flops()
    return Cost(total, flops)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def launches(case: Case, implementation: str) -> int:
    """Kernels that one call launches on CUDA."""
    if implementation == OURS and case.launches is not None:
        return case.launches
    # They depend on neither sizes nor layout, but on the batch.
    return _launches_by_operator(case.small.group, implementation)


@functools.cache
def _launches_by_operator(case: Case, implementation: str) -> int:
    """One for each operator of torch that is no view, and more where it is known to need more:
    a lower bound, since some of them launch several."""
    with FakeTensorMode():
        watcher = functools.partial(_Launches, case.batch)
        *_, forward, backward = _watched(case, implementation, watcher)
    return forward.total * (case.direction != "backward") + backward.total * (
        case.direction != "forward"
    )


def _watched(
    case: Case, implementation: str, watcher: Callable[[], Any]
) -> tuple[Arguments, Tensor, Any, Any]:
    """A call without numbers: its arguments and output, and the modes that its forward and its
    backward ran within."""
    made = shapes(case)
    grad = made.pop("grad")
    made = inputs_of(made, case.operation.differentiable)
    leaves = list(leaves_of(made).values())
    with watcher() as forward:
        output = case.operation.implementations[implementation](**made)
    with watcher() as backward:
        if leaves:
            torch.autograd.grad(output, leaves, grad.to(output.dtype))
    return made, output, forward, backward


class _Launches(TorchDispatchMode):
    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        packet = func.overloadpacket
        if func.namespace == "aten" and packet not in _FREE and not func.is_view:
            self.total += self.batch if packet in _BY_IMAGE else 1 + (packet in _FILL_FIRST)
        call: Callable[..., object] = func
        return call(*args, **(kwargs or {}))
