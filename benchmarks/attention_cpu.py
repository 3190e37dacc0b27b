"""``python -m benchmarks.attention_cpu``: the attention on the CPU against what PyTorch users have,
forward and forward with backward, by the way and the gate of ``python -m benchmarks``. Last, the
additional memory of a long sequence.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scrn_ops import whitened_attention

from .common import memory
from .ops.cases.attention import AttentionCase
from .ops.report import page
from .ops.run import Options, Runner

SHAPES = ((2048, 256, 256), (2048, 256, 1024), (920, 256, 256), (2048, 64, 64))
LONG = (16384, 64, 64)


def inputs(shape: tuple[int, int, int]) -> list[Tensor]:
    n, width, channels = shape
    generator = torch.Generator().manual_seed(0)
    sizes = ((1, n, width), (1, n, width), (1, n), (1, n, channels))
    return [torch.randn(size, generator=generator).requires_grad_() for size in sizes]


def gradients(call: Callable[..., Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    output = call(*tensors)
    return [output.detach(), *torch.autograd.grad(output, tensors, torch.ones_like(output))]


def additional_memory() -> float:
    """MiB that forward and backward of the long sequence add to the process's memory."""
    tensors = inputs(LONG)
    gradients(whitened_attention, inputs((64, 64, 64)))  # what is loaded at first use
    before = memory.start("cpu")
    gradients(whitened_attention, tensors)
    return (memory.peak("cpu") - before) / 2**20


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention_cpu", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2, help="for every timing")
    parser.add_argument("--long", action="store_true", help="print the long sequence's MiB alone")
    options = parser.parse_args(argv)
    if options.long:
        torch.set_num_threads(options.threads)
        print(f"{additional_memory():.0f}")
        return 0
    print(f"torch {torch.__version__}, {options.threads} threads")
    runner = Runner(Options("cpu", (options.threads,), options.seconds, float("inf")))
    cases = [AttentionCase(*s, direction=way) for s in SHAPES for way in ("forward", "both")]
    results = runner.run(cases, lambda text: print(text, file=sys.stderr, flush=True))
    print(*page.measured(results), sep="\n")
    command = [sys.executable, "-m", "benchmarks.attention_cpu", "--long"]
    command += ["--threads", str(options.threads)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    print(f"\n{'x'.join(map(str, LONG))} forward + backward: {found} MiB of additional memory")
    return int(bool(results.failures))


if __name__ == "__main__":
    sys.exit(main())
