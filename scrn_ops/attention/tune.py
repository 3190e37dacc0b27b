"""``python -m scrn_ops.attention.tune``: times tiles of the Triton kernels on the CUDA device that
is there, and prints the rows of ``table.py`` that were the fastest.

A kernel is timed alone, in a CUDA graph: beside what the host needs for a call, tiles make no
difference. Nothing is changed: put what it prints into the table, and let
``python -m benchmarks.attention_report --table`` check that it fits. Tiles that the device has not
the resources for are left out, those that certainly need more before they are compiled.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch

from . import table

if TYPE_CHECKING:
    from .kernels import replay

QUERIES = 2048
WIDEST = 1024
REGISTERS = 200  # of a thread for sums, beside which addresses and operands need some
# Enough images for the kernel's programs to be many.
BATCHES = {"flash_many": 16}


class Workload(NamedTuple):
    """The call in which a kernel occurs."""

    kernel: str
    width: int
    channels: int
    batch: int
    n: int


Timer = Callable[[Workload, str], float]


def candidates(row: table.Row) -> Iterator[table.Tiles]:
    """Tiles around those of a row."""
    n, m, k, _, _ = row.tiles
    around = ((n // 2, n, 2 * n), (m // 2, m, 2 * m), (k // 2, k, 2 * k), (4, 8), (1, 2, 3, 4))
    for tiles in itertools.product(*around):
        if min(tiles[:3]) >= 16 and max(tiles[:3]) <= 256:
            yield table.Tiles(*tiles)


def fits(kernel: str, tiles: table.Tiles, work: Workload, family: int) -> bool:
    """Whether the operands that are on their way, and the sums, have room in a block."""
    n, m, k, warps, stages = tiles
    elements, sums = stages * (n + m) * k, n * m
    if kernel.startswith("flash"):
        elements, sums = n * work.width + stages * m * (work.width + k), n * (k + m)
    elif kernel == "weighted_values":
        elements, sums = stages * (n + k) * m, n * k
    fit_shared = elements * 2 <= table.SHARED_BYTES[family]
    return fit_shared and sums <= REGISTERS * 32 * warps


@contextmanager
def using(kernel: str, tiles: table.Tiles) -> Iterator[None]:
    """The table with other tiles for one kernel."""
    from .kernels import replay

    original = table.tiles

    def changed(asked: str, width: int, channels: int, family: int) -> table.Tiles:
        return tiles if asked == kernel else original(asked, width, channels, family)

    table.tiles = changed  # type: ignore[assignment]
    replay.forget()
    try:
        yield
    finally:
        table.tiles = original
        replay.forget()


def workload(kernel: str, row: table.Row, n: int = QUERIES) -> Workload:
    width, channels = min(row.width, table.FLASH_WIDTH), min(row.channels, WIDEST)
    return Workload(kernel, width, channels, BATCHES.get(kernel, 1), n)


def call_of(work: Workload, device: str) -> replay.Call:
    """The call of the launchers, for ``replay.record``."""
    from .kernels import backward, forward

    batch, n, width, channels = work.batch, work.n, work.width, work.channels
    sizes = ((batch, n, width), (batch, n, width), (batch, n), (batch, n, channels))
    q, k, m, v = (torch.randn(size, device=device, dtype=torch.bfloat16) for size in sizes)
    scale, flash = width**-0.5, work.kernel.startswith("flash")
    path = "flash" if flash else "split_softmax"
    results, call = forward.prepared(q, k, m, v, scale, path, keep=False)
    if flash or work.kernel in ("exponentials", "weighted_values"):
        return call
    grad = torch.randn_like(results.output)
    return backward.prepared(grad, q, k, m, v, *results, scale, (True,) * 4)[1]


def fastest(
    work: Workload, tried: Iterable[table.Tiles], time: Timer
) -> tuple[float, table.Tiles] | None:
    """Seconds and tiles of the fastest, or None where none can run."""
    from triton.runtime.errors import OutOfResources, PTXASError

    best = None
    for tiles in tried:
        with using(work.kernel, tiles):
            try:
                seconds = time(work, table.FUNCTIONS.get(work.kernel, work.kernel))
            except (OutOfResources, PTXASError):
                continue
        if best is None or seconds < best[0]:
            best = seconds, tiles
    return best


def tune(
    family: int,
    time: Timer,
    tried: Callable[[table.Row], Iterable[table.Tiles]] = candidates,
    n: int = QUERIES,
) -> Iterator[str]:
    """Lines of a new table, each with the microseconds of the old row and of the new one."""
    for kernel in table.KERNELS:
        yield f'"{kernel}": {{ {family}: ('
        for row in table.rows(kernel, family):
            work = workload(kernel, row, n)
            found = fastest(work, [row.tiles], time)
            before = float("inf") if found is None else found[0]
            others = (t for t in tried(row) if t != row.tiles and fits(kernel, t, work, family))
            other = fastest(work, others, time)
            seconds, tiles = min(filter(None, (found, other)), default=(before, row.tiles))
            best = table.Row(row.width, row.channels, tiles)
            yield f"    {best},  # {seconds * 1e6:.1f} us instead of {before * 1e6:.1f}"
        yield ")},"


def main() -> int:
    if not torch.cuda.is_available():
        print("tune: expected a CUDA device, found none", file=sys.stderr)
        return 1
    from triton.testing import do_bench_cudagraph

    from .kernels import replay

    def time(work: Workload, function: str) -> float:
        call = call_of(work, "cuda")
        alone = replay.record(*call).only(function)
        milliseconds = do_bench_cudagraph(lambda: alone.run(call.tensors), return_mode="median")
        return float(milliseconds) / 1000

    print(f"# {torch.cuda.get_device_name()}, torch {torch.__version__}")
    for line in tune(table.family(torch.cuda.get_device_capability()), time):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
