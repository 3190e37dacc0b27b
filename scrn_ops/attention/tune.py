"""``python -m scrn_ops.attention.tune``: times tiles of the Triton kernels on the CUDA device that
is there, and prints the rows of ``table.py`` that were the fastest.

Nothing is changed: put what it prints into the table, and let ``benchmarks.attention_report`` check
that it fits. Tiles that the device has not the resources for are left out.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from . import table
from .functional import whitened_attention

Timer = Callable[[Callable[[], object]], float]
PATH_OF = {"exponentials": "split_softmax", "weighted_values": "split_softmax"}
QUERIES = 2048
WIDEST = 1024


def candidates(row: table.Row) -> Iterator[table.Tiles]:
    """Tiles around those of a row."""
    n, m, k, _, _ = row.tiles
    around = ((n // 2, n, 2 * n), (m // 2, m, 2 * m), (k // 2, k, 2 * k), (4, 8), (1, 2, 3, 4))
    for tiles in itertools.product(*around):
        if min(tiles[:3]) >= 16 and max(tiles[:3]) <= 256:
            yield table.Tiles(*tiles)


@contextmanager
def using(kernel: str, tiles: table.Tiles) -> Iterator[None]:
    """The table with other tiles for one kernel."""
    original = table.tiles

    def changed(asked: str, width: int, channels: int, itemsize: int, family: int) -> table.Tiles:
        return tiles if asked == kernel else original(asked, width, channels, itemsize, family)

    table.tiles = changed  # type: ignore[assignment]
    try:
        yield
    finally:
        table.tiles = original


def workload(
    kernel: str, row: table.Row, half: bool, device: str, n: int = QUERIES
) -> Callable[[], object]:
    """The forward, or the backward, in which the kernel occurs."""
    width, channels = min(row.width, table.FLASH_WIDTH), min(row.channels, WIDEST)
    dtype = torch.bfloat16 if half else torch.float32
    sizes = ((1, n, width), (1, n, width), (1, n), (1, n, channels))
    tensors = [torch.randn(size, device=device, dtype=dtype) for size in sizes]
    path = PATH_OF.get(kernel, "flash" if kernel == "flash" else None)
    if path is None and device == "cpu":
        path = "split_softmax"  # in the interpreter

    def forward() -> Tensor:
        return whitened_attention(*tensors, scale=width**-0.5, path=path)

    if kernel in ("flash", *PATH_OF):
        return forward
    for tensor in tensors:
        tensor.requires_grad_()
    output = forward()
    grad = torch.randn_like(output)
    return lambda: torch.autograd.grad(output, tensors, grad, retain_graph=True)


def fastest(
    kernel: str, tried: Iterable[table.Tiles], call: Callable[[], object], time: Timer
) -> tuple[float, table.Tiles] | None:
    """Seconds and tiles of the fastest, or None where none can run."""
    from triton.runtime.errors import OutOfResources, PTXASError

    best = None
    for tiles in tried:
        with using(kernel, tiles):
            try:
                seconds = time(call)
            except (OutOfResources, PTXASError):
                continue
        if best is None or seconds < best[0]:
            best = seconds, tiles
    return best


def tune(
    device: str,
    family: int,
    time: Timer,
    tried: Callable[[table.Row], Iterable[table.Tiles]] = candidates,
    n: int = QUERIES,
) -> Iterator[str]:
    """Lines of a new table, each with the microseconds of the old row and of the new one."""
    for half in (True, False):
        for kernel in table.KERNELS:
            yield f'("{kernel}", {half}): {{ {family}: ('
            for row in table.rows(kernel, half, family):
                call = workload(kernel, row, half, device, n)
                with using(kernel, row.tiles):
                    before = time(call)
                found = fastest(kernel, tried(row), call, time)
                seconds, tiles = found if found and found[0] < before else (before, row.tiles)
                best = table.Row(row.width, row.channels, tiles)
                yield f"    {best},  # {seconds * 1e6:.1f} us instead of {before * 1e6:.1f}"
            yield ")},"


def main() -> int:
    if not torch.cuda.is_available():
        print("tune: expected a CUDA device, found none", file=sys.stderr)
        return 1
    from triton.testing import do_bench

    def time(call: Callable[[], object]) -> float:
        return float(do_bench(call, return_mode="median")) / 1000

    print(f"# {torch.cuda.get_device_name()}, torch {torch.__version__}")
    for line in tune("cuda", table.family(torch.cuda.get_device_capability()), time):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
