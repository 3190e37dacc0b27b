"""An addition and a copy beyond the caches: whether figures of this machine can be believed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from . import timing

FLOOR = "torch.add(out=)"
COPY = "copy"  # of as many bytes as an op has to move
FLOATS = 16 << 20  # of each tensor: 64 MiB, of which the addition touches three
SECONDS = 0.1
MOST = 4 / 3  # times as long at one end of a run as at the other
# Times as long as one thread takes; where one is enough for the memory, all take as long.
SLOWER = 1.1
CANNOT_JUDGE = 2  # the exit status

Times = dict[tuple[str, int], float]  # seconds, by name and number of threads


def measure(device: str, threads: int) -> Times:
    """With one thread and with ``threads``; on a GPU, which they do not matter to, with these."""
    first, second = (torch.ones(FLOATS, device=device) for _ in range(2))
    out = torch.empty_like(first)
    calls = {FLOOR: lambda: torch.add(first, second, out=out), COPY: lambda: out.copy_(first)}
    return {
        (name, count): each.best
        for count in sorted({1, threads} if device == "cpu" else {threads})
        for name, each in timing.time_all(calls, device, count, SECONDS).items()
    }


def copy_rate(device: str, threads: int) -> float:
    """Bytes a second of a copy beyond the caches, those read and those written."""
    # A GPU has a tensor of a CPU's size in microseconds, and much of it in its cache.
    floats = FLOATS if device == "cpu" else 16 * FLOATS
    source = torch.ones(floats, device=device)
    out = torch.empty_like(source)
    call = {COPY: lambda: out.copy_(source)}
    return 8 * floats / timing.time_all(call, device, threads, SECONDS)[COPY].best


def disturbance(first: Times, last: Times) -> str | None:
    """What shows best, in the times before and after a run, that something else ran beside it."""
    found = []
    for when, times in (("at the start", first), ("at the end", last)):
        for (name, threads), seconds in times.items():
            one = times.get((name, 1), seconds)
            text = f"{name} took {_ms(seconds)} with {threads} threads, {_ms(one)} with 1, {when}"
            found.append((seconds / one / SLOWER, text))
    for (name, threads), before in first.items():
        after = last[name, threads]
        ends = f"{_ms(before)} at the start, {_ms(after)} at the end"
        text = f"{name} took {ends}, with {threads} thread{'s'[: threads != 1]}"
        found.append((max(before, after) / min(before, after) / MOST, text))
    worst, text = max(found)
    return text if worst > 1 else None


def sentence(disturbed: str) -> str:
    return f"The machine was disturbed, so nothing is judged: {disturbed}."


def refused(path: Path, facts: Mapping[str, object]) -> bool:
    """Says so where the run in that file was a disturbed one; older runs did not look."""
    disturbed = facts.get("disturbed")
    if disturbed:
        print(f"{path}: {sentence(str(disturbed))}", file=sys.stderr)
    return bool(disturbed)


def to_json(times: Times) -> list[dict[str, object]]:
    return [
        {"name": name, "threads": threads, "seconds": seconds}
        for (name, threads), seconds in times.items()
    ]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"
