"""Timing on the CPU and on CUDA: every implementation in turn, in several rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.benchmark import Timer

ROUNDS = 5
SLOW = 3  # times its share of the time, and a call takes no further turn


@dataclass(frozen=True)
class Timing:
    """Seconds of one call. ``best`` is what ratios are formed of: on a CPU the minimum, since
    whatever else runs can only add to a time, on CUDA the median."""

    minimum: float
    median: float
    best: float
    runs: int


def time_all(
    calls: dict[str, Callable[[], object]], device: str, threads: int, seconds: float
) -> dict[str, Timing]:
    """Times the calls, about ``seconds`` each. They take turns, so that a slow spell of the
    machine hits them all."""
    if device != "cpu":
        return {name: _time_cuda(call, seconds) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    timers = {
        name: Timer("call()", globals={"call": call}, num_threads=threads)
        for name, call in calls.items()
    }
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            if sum(times[name]) > SLOW * seconds:
                continue
            times[name] += timer.blocked_autorange(min_run_time=seconds / ROUNDS).times
    return {
        name: Timing(min(each), statistics.median(each), min(each), len(each))
        for name, each in times.items()
    }


def matrix_product_rate(dtype: torch.dtype, device: str, threads: int) -> float:
    """FLOP/s of a product of square matrices of that type: what the device's units reach."""
    size = 1024 if device == "cpu" else 8192
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(a)
    product = {"product": lambda: torch.mm(a, b, out=out)}
    return 2 * size**3 / time_all(product, device, threads, 0.1)["product"].best


def _time_cuda(call: Callable[[], object], seconds: float) -> Timing:
    from triton.testing import do_bench  # flushes the L2 cache before every run

    milliseconds = do_bench(call, warmup=25, rep=max(int(seconds * 1000), 50), return_mode="all")
    times = [each / 1000 for each in milliseconds]
    return Timing(min(times), statistics.median(times), statistics.median(times), len(times))
