"""What follows from shapes and compiled code alone for the CUDA cases: derived, not measured."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import torch

from ..compiled.kernels import Kernel
from ..compiled.library import LIBRARY, CannotReport, read
from .case import BASELINE, OURS, Case
from .cases import full
from .cost import Cost, cost, launches

# Measured once on an H200: a copy, bytes read plus bytes written, and a product of bfloat16
# matrices. The rate of float32 is the data sheet's, without tensor cores.
H200_BYTES_PER_SECOND = 4.3e12
H200_FLOPS_PER_SECOND = {torch.bfloat16: 788e12, torch.float16: 788e12, torch.float32: 67e12}
H200_ARCHITECTURE = 90


class Derived(NamedTuple):
    """``occupancy`` is the share of the warps that a multiprocessor could hold, by kernel; it is
    empty where there is no library to read."""

    case: Case
    cost: Cost
    floor_seconds: float
    eager_launches: int
    launches: int | None
    occupancy: dict[str, float]


def derive(chosen: Iterable[Case] | None = None) -> list[Derived]:
    return [_derive(case) for case in (full("cuda") if chosen is None else chosen)]


def _derive(case: Case) -> Derived:
    least = cost(case)
    held = {
        kernel.name: kernel.occupancy.share
        for kernel in (_compiled() if case.kernels else ())
        if case.kernels.get(kernel.name) == kernel.feature_type and kernel.index_bits in (0, 32)
    }
    return Derived(
        case,
        least,
        least.floor(H200_BYTES_PER_SECOND, H200_FLOPS_PER_SECOND[case.dtype]),
        launches(case, BASELINE),
        None if case.launches is None else launches(case, OURS),
        held,
    )


@functools.cache
def _compiled() -> tuple[Kernel, ...]:
    try:
        return tuple(read(LIBRARY, [H200_ARCHITECTURE]))
    except CannotReport:
        return ()
