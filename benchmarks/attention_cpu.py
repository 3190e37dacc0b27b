"""``python -m benchmarks.attention_cpu``: the attention on the CPU against what PyTorch users have.

Every shape: the op, the formula ("eager"), the formula under torch.compile, and torch's
scaled_dot_product_attention on whitened inputs plus the unary term; forward and forward with
backward, with the peak of the memory allocated meanwhile. Last, the additional memory of a long
sequence. A result that differs from the formula in float64 is an error, not a row.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from scrn_ops import reference, whitened_attention
from scrn_ops._core.allocator import keep_freed_memory

from . import peers
from .cases import AttentionCase
from .memory import peak_bytes
from .timing import time_all

SHAPES = ((2048, 256, 256), (2048, 256, 1024), (920, 256, 256), (2048, 64, 64))
LONG = (16384, 64, 64)
OURS = "scrn_ops"
Call = Callable[..., Tensor]


def inputs(shape: tuple[int, int, int]) -> list[Tensor]:
    n, width, channels = shape
    generator = torch.Generator().manual_seed(0)
    sizes = ((1, n, width), (1, n, width), (1, n), (1, n, channels))
    return [torch.randn(size, generator=generator).requires_grad_() for size in sizes]


def gradients(call: Call, tensors: Sequence[Tensor]) -> list[Tensor]:
    output = call(*tensors)
    return [output.detach(), *torch.autograd.grad(output, tensors, torch.ones_like(output))]


def check(name: str, call: Call, formula: Call, tensors: Sequence[Tensor]) -> None:
    doubles = [t.detach().double().requires_grad_() for t in tensors]
    expected = gradients(formula, doubles)
    for got, want in zip(gradients(call, tensors), expected, strict=True):
        # Gradients that cancel are small against the values, not against themselves.
        error = float((got.double() - want).norm() / (want.norm() + 1e-3))
        if not error < 1e-3:
            raise SystemExit(f"{name}: differs from the formula by {error:.1e}")


def rows(shape: tuple[int, int, int], seconds: float, threads: int) -> None:
    torch._dynamo.reset()
    tensors = inputs(shape)
    scaled = {"scale": shape[1] ** -0.5}  # as torch's attention does
    formula = partial(reference.whitened_attention, **scaled)
    calls: dict[str, Call] = {
        OURS: partial(whitened_attention, **scaled),
        "eager": formula,
        "torch.compile": torch.compile(formula),
    }
    calls |= peers.attend(AttentionCase(shape[0], *shape[1:], 1, torch.float32, "both"))
    for name, call in calls.items():
        check(name, call, formula, tensors)

    def forward(call: Call) -> Tensor:
        with torch.no_grad():
            return call(*tensors)

    for title, run in (
        ("forward", forward),
        ("forward + backward", lambda call: gradients(call, tensors)),
    ):
        timed = {name: (lambda call=call, run=run: run(call)) for name, call in calls.items()}
        times = time_all(timed, "cpu", threads, seconds)
        best = min(time.best for name, time in times.items() if name != OURS)
        for name, time in times.items():
            peak = peak_bytes(timed[name], "cpu")
            ratio = f"{best / time.best:5.2f} of the best other" if name == OURS else ""
            print(
                f"{'x'.join(map(str, shape)):>14} {title:<19} {name:<14} {time.best * 1e3:8.2f} ms"
                f" {peak / 2**20:8.1f} MiB {ratio}".rstrip(),
                flush=True,
            )


def additional_memory() -> float:
    """MiB that forward and backward of the long sequence add to the process's peak."""
    tensors = inputs(LONG)
    gradients(whitened_attention, inputs((64, 64, 64)))  # what is loaded at first use
    before = peak_resident()
    gradients(whitened_attention, tensors)
    return (peak_resident() - before) / 1024


def peak_resident() -> int:
    """KiB. Not of ``getrusage``, which starts from the parent's."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    return int(line.split()[1])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attention_cpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2, help="for every timing")
    parser.add_argument("--long", action="store_true", help="print the long sequence's MiB alone")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.long:
        print(f"{additional_memory():.0f}")
        return 0
    keep_freed_memory()
    print(f"torch {torch.__version__}, {options.threads} threads; N = M, Dk, Dv")
    for shape in SHAPES:
        rows(shape, options.seconds, options.threads)
    command = [sys.executable, "-m", "benchmarks.attention_cpu", "--long"]
    command += ["--threads", str(options.threads)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    print(f"{'x'.join(map(str, LONG))} forward + backward: {found} MiB of additional memory")
    return 0


if __name__ == "__main__":
    sys.exit(main())
