"""What follows from shapes and compiled code alone for the CUDA cases: derived, not measured."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from .cases import AnyCase, Case, full
from .cost import Cost, cost, eager_launches, launches
from .kernel_report.kernels import Kernel
from .kernel_report.library import LIBRARY, CannotReport, read
from .ops import OPS, OURS

# Measured once on an H200: a copy, bytes read plus bytes written, and a product of bfloat16
# matrices. The rate of float32 is the data sheet's, without tensor cores.
H200_BYTES_PER_SECOND = 4.3e12
H200_FLOPS_PER_SECOND = {
    torch.bfloat16: 788e12,
    torch.float16: 788e12,
    torch.float32: 67e12,
}
H200_ARCHITECTURE = 90
FEATURE_TYPES = {
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
}


@dataclass(frozen=True)
class Derived:
    """``occupancy`` is the share of the warps that a multiprocessor could hold, by kernel."""

    case: AnyCase
    cost: Cost
    floor_seconds: float
    eager_launches: int
    launches: int | None
    occupancy: dict[str, float]


def derive(chosen: Iterable[AnyCase] | None = None) -> list[Derived]:
    return [_derive(case) for case in (full("cuda") if chosen is None else chosen)]


def _derive(case: AnyCase) -> Derived:
    least = cost(case)
    return Derived(
        case,
        least,
        least.floor(H200_BYTES_PER_SECOND, H200_FLOPS_PER_SECOND[case.dtype]),
        eager_launches(case),
        None if OPS[case.op].launches is None else launches(case, OURS),
        occupancy(case),
    )


def occupancy(case: AnyCase) -> dict[str, float]:
    """Of the kernels that carry the case out; empty where there is no library to read."""
    if not isinstance(case, Case):
        return {}
    accumulate = "fp64" if case.dtype == torch.float64 else "fp32"
    found = {}
    for name in kernels_of(case):
        feature_type = accumulate if name.startswith("aggregate") else FEATURE_TYPES[case.dtype]
        for kernel in _compiled():
            if (kernel.name, kernel.feature_type) == (name, feature_type) and (
                kernel.index_bits in (0, 32)
            ):
                found[name] = kernel.occupancy.share
    return found


def kernels_of(case: Case) -> tuple[str, ...]:
    """The kernels that do the work, without those that fill and round."""
    if case.op == "aggregate_offsets":
        forward, backward = ("aggregate_forward",), ("aggregate_backward",)
    elif case.layout == "channels_last":
        forward, backward = ("sample_forward_channels_last",), ("backward_window",)
    else:
        forward, backward = ("sample_forward_planes",), ("offset_grad_planes", "scatter_planes")
    if case.op == "semantic_refine":
        backward += ("aggregate_backward",)
    return {"forward": forward, "backward": backward, "both": forward + backward}[case.direction]


@functools.lru_cache(maxsize=1)
def _compiled() -> tuple[Kernel, ...]:
    try:
        return tuple(read(LIBRARY, [H200_ARCHITECTURE]))
    except CannotReport:
        return ()
