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
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from scrn_ops import reference, whitened_attention
from scrn_ops._allocator import keep_freed_memory

from .timing import time_all

SHAPES = ((2048, 256, 256), (2048, 256, 1024), (920, 256, 256), (2048, 64, 64))
LONG = (16384, 64, 64)
OURS = "scrn_ops"
Call = Callable[..., Tensor]


def sdpa(query: Tensor, key: Tensor, unary: Tensor, value: Tensor, *, scale: float) -> Tensor:
    """torch's attention on whitened inputs, plus the unary term, which is the same for all."""
    q = query - query.mean(dim=1, keepdim=True)
    k = key - key.mean(dim=1, keepdim=True)
    pairwise = F.scaled_dot_product_attention(
        q.unsqueeze(1), k.unsqueeze(1), value.unsqueeze(1), scale=scale
    )
    return pairwise.squeeze(1) + unary.softmax(dim=1).unsqueeze(1) @ value


def inputs(shape: tuple[int, int, int]) -> list[Tensor]:
    n, width, channels = shape
    generator = torch.Generator().manual_seed(0)
    sizes = ((1, n, width), (1, n, width), (1, n), (1, n, channels))
    return [torch.randn(size, generator=generator).requires_grad_() for size in sizes]


def gradients(call: Call, tensors: Sequence[Tensor], scale: float) -> list[Tensor]:
    output = call(*tensors, scale=scale)
    return [output.detach(), *torch.autograd.grad(output, tensors, torch.ones_like(output))]


def check(name: str, call: Call, tensors: Sequence[Tensor], scale: float) -> None:
    doubles = [t.detach().double().requires_grad_() for t in tensors]
    expected = gradients(reference.whitened_attention, doubles, scale)
    for got, want in zip(gradients(call, tensors, scale), expected, strict=True):
        # Gradients that cancel are small against the values, not against themselves.
        error = float((got.double() - want).norm() / (want.norm() + 1e-3))
        if not error < 1e-3:
            raise SystemExit(f"{name}: differs from the formula by {error:.1e}")


def peak_bytes(call: Callable[[], object]) -> int:
    """The largest sum of what a call has allocated and not freed yet."""
    with torch.profiler.profile(profile_memory=True) as profile:
        result = call()
    del result
    kineto = profile.profiler.kineto_results.events()
    events = [event for event in kineto if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def rows(shape: tuple[int, int, int], seconds: float, threads: int) -> None:
    torch._dynamo.reset()
    tensors = inputs(shape)
    scale = shape[1] ** -0.5
    calls: dict[str, Call] = {
        OURS: whitened_attention,
        "eager": reference.whitened_attention,
        "torch.compile": torch.compile(reference.whitened_attention),
    }
    if shape[1] == shape[2]:
        calls["SDPA + rank 1"] = sdpa
    for name, call in calls.items():
        check(name, call, tensors, scale)

    def forward(call: Call) -> Tensor:
        with torch.no_grad():
            return call(*tensors, scale=scale)

    for title, run in (
        ("forward", forward),
        ("forward + backward", lambda call: gradients(call, tensors, scale)),
    ):
        timed = {name: (lambda call=call, run=run: run(call)) for name, call in calls.items()}
        times = time_all(timed, "cpu", threads, seconds)
        best = min(time.best for name, time in times.items() if name != OURS)
        for name, time in times.items():
            peak = peak_bytes(timed[name])
            ratio = f"{best / time.best:5.2f} of the best other" if name == OURS else ""
            print(
                f"{'x'.join(map(str, shape)):>14} {title:<19} {name:<14} {time.best * 1e3:8.2f} ms"
                f" {peak / 2**20:8.1f} MiB {ratio}".rstrip(),
                flush=True,
            )


def additional_memory() -> float:
    """MiB that forward and backward of the long sequence add to the process's peak."""
    tensors = inputs(LONG)
    gradients(whitened_attention, inputs((64, 64, 64)), 0.125)  # what is loaded at first use
    before = peak_resident()
    gradients(whitened_attention, tensors, 0.125)
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
