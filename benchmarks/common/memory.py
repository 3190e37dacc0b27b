"""Memory: of a call beside its arguments, of what it keeps for a backward, of the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

# Without it the profiler reports on stderr that it found no GPU.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from . import resident
from .checkout import ROOT


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """The most memory that was held at once beside what was held before."""
    if torch.device(device).type == "cuda":
        before = start(device)
        call()
        return peak(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    held = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def saved(call: Callable[[], object]) -> dict[int, int]:
    """The storages, by their address, that the graph of the result holds on to, the arguments' own
    included, and their bytes."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = call()
    del output
    return storages


def start(device: str) -> int:
    """Resets the peak of the process, on a GPU that of torch's allocator, and returns the bytes
    in use."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return resident.forget_peak()


def peak(device: str) -> int:
    """The most bytes in use since :func:`start`."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return resident.peak()


def in_own_process(module: str, *arguments: object) -> int:
    """The bytes that ``python -m module`` prints, given the arguments as JSON: one that has run
    other things would reuse their memory.

    Raises:
        RuntimeError: the process failed; its last words are quoted.
    """
    command = [sys.executable, "-m", module, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return int(done.stdout)
