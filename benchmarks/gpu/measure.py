"""What the stages have in common: their rows, one after the other, and the seconds of a call on the
device: as it is called, replayed from a CUDA graph, and of its kernels alone. On a CPU, where it
is rehearsed, there is only the first."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

from ..common import timing
from .record import OK, Record

CALLS = 10  # that the profiler watches
Call = Callable[[], object]
T = TypeVar("T")


def parser(stage: str, about: str | None, required: bool = True) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.gpu.{stage}", description=about)
    made.add_argument("--device", default="cuda")
    made.add_argument("--json", type=Path, required=required, metavar="PATH")
    return made


def work(
    record: Record, planned: Mapping[str, T], measure: Callable[[T], Mapping[str, Any]]
) -> int:
    """The exit status. Every row is kept at once, and those that ended well before are not
    measured again."""
    for name, item in planned.items():
        if record.ended_well(name):
            continue
        try:
            facts = {"status": OK, **measure(item)}
        except Exception as problem:
            facts = {"status": f"failed: {first_line(problem)}"}
        record.add(name, **facts)
        print(f"{facts['status']}: {name} {facts.get('note', '')}".rstrip(), flush=True)
    return int(not record.all_ended_well)


def first_line(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines() or [""]
    return f"{type(problem).__name__}: {lines[0]}"


def on_cuda(device: str) -> bool:
    return torch.device(device).type == "cuda"


def call_seconds(call: Call, device: str, seconds: float = 0.05) -> float:
    """The median; the L2 cache is flushed before every call."""
    if not on_cuda(device):
        return timing.once(call, device)
    return timing.time_cuda(call, seconds, warmup=10, least=1).median


def graph_seconds(call: Call, device: str) -> float | None:
    if not on_cuda(device):
        return None
    graph, held = captured(call)
    seconds = call_seconds(graph.replay, device)
    del held
    return seconds


def captured(call: Callable[[], T]) -> tuple[torch.cuda.CUDAGraph, T]:
    """A CUDA graph of the call, and the results that a replay overwrites."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = call()
    return graph, results


def kernel_seconds(call: Call, device: str) -> dict[str, dict[str, float]] | None:
    """Launches and seconds of each kernel in a call, by torch's profiler."""
    if not on_cuda(device):
        return None
    call()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(CALLS):
            call()
        torch.cuda.synchronize()
    found: dict[str, list[float]] = {}
    for event in profiler.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            found.setdefault(event.name, []).append(event.device_time / 1e6)
    return {
        name: {"launches": len(each) / CALLS, "seconds": sum(each) / CALLS}
        for name, each in found.items()
    }
