"""Timing on the CPU and on CUDA: every implementation in turn, in several rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.utils.benchmark import Timer

ROUNDS = 5
SLOW = 3  # times its share of the time, and a call takes no further turn
Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call. ``best`` is what ratios are formed of: on a CPU the minimum, since
    whatever else runs can only add to a time, on CUDA the median."""

    minimum: float
    median: float
    best: float
    runs: int


def time_all(
    calls: Mapping[str, Call], device: str, threads: int, seconds: float
) -> dict[str, Timing]:
    """Times the calls, about ``seconds`` each. They take turns, so that a slow spell of the
    machine hits them all."""
    if device != "cpu":
        return {name: time_cuda(call, seconds) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    timers = {
        name: Timer("call()", globals={"call": call}, num_threads=threads)
        for name, call in calls.items()
    }
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            if sum(times[name]) <= SLOW * seconds:
                times[name] += timer.blocked_autorange(min_run_time=seconds / ROUNDS).times
    return {
        name: Timing(min(each), statistics.median(each), min(each), len(each))
        for name, each in times.items()
    }


def time_cuda(call: Call, seconds: float, warmup: int = 25, least: int = 50) -> Timing:
    """``warmup`` and ``least`` are milliseconds."""
    from triton.testing import do_bench  # flushes the L2 cache before every run

    rep = max(int(seconds * 1000), least)
    times = [each / 1000 for each in do_bench(call, warmup=warmup, rep=rep, return_mode="all")]
    return Timing(min(times), statistics.median(times), statistics.median(times), len(times))


def in_turns(
    calls: Mapping[str, Call], device: str, rounds: int, seconds: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of each call, one that takes seconds itself, in every round: ``rounds`` of them, and
    more until ``seconds`` have passed. A first round warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        once(call, device)
    start, done = time.perf_counter(), 0
    while done < rounds or time.perf_counter() - start < seconds:
        for name, call in calls.items():
            times[name].append(once(call, device))
        done += 1
    return times


def once(call: Call, device: str) -> float:
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if on_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def matrix_product_rate(dtype: torch.dtype, device: str, threads: int) -> float:
    """FLOP/s of a product of square matrices of that type: what the device's units reach.

    In float32 on a CPU by the faster of two libraries: MKL, which is behind ``torch.mm``, keeps to
    AVX2 on processors of other makers, and reaches less than half there of what oneDNN does.
    """
    size = 1024 if device == "cpu" else 8192
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(a)
    products: dict[str, Call] = {"torch.mm": lambda: torch.mm(a, b, out=out)}
    if device == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
        linear = torch.ops.mkldnn._linear_pointwise
        products["oneDNN"] = lambda: linear(a, b, None, "none", [], "")
    timings = time_all(products, device, threads, 0.1)
    return 2 * size**3 / min(each.best for each in timings.values())
