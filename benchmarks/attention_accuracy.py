"""``python -m benchmarks.attention_accuracy``: what half types cost the attention, against float64.

Queries and keys are in float32 or in the half type and have a mean of 0 or of 3 in every channel;
values are in the half type. Compared are
both paths of the kernels (in Triton's interpreter where there is no CUDA device), torch's
attention on inputs that were whitened in float32 and then cast, and the same with keys as they
are, whose mean cancels in exact arithmetic.
The exit status is 1 where a path is worse than the whitened scaled_dot_product_attention.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton

from scrn_ops import reference, whitened_attention
from scrn_ops.attention.table import PATHS

BATCH, N, WIDTH, CHANNELS = 2, 256, 64, 64
SEEDS = 8 if torch.cuda.is_available() else 2  # the interpreter is slow
SCALE = WIDTH**-0.5
WHITENED = "SDPA, whitened"
NAMES = ("output", "query", "key", "value")
Attention = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def sdpa(whiten_key: bool) -> Attention:
    def attention(query: Tensor, key: Tensor, unary: Tensor, value: Tensor) -> Tensor:
        q, k = query.float(), key.float()
        q = q - q.mean(1, keepdim=True)
        if whiten_key:
            k = k - k.mean(1, keepdim=True)
        q, k = q.to(value.dtype), k.to(value.dtype)
        y = F.scaled_dot_product_attention(q[:, None], k[:, None], value[:, None], scale=SCALE)
        shared = unary.float().softmax(1).unsqueeze(1) @ value.float()
        return (y[:, 0].float() + shared).to(value.dtype)

    return attention


def fused(path: str) -> Attention:
    def attention(query: Tensor, key: Tensor, unary: Tensor, value: Tensor) -> Tensor:
        return whitened_attention(query, key, unary, value, scale=SCALE, path=path)

    return attention


METHODS: dict[str, Attention] = {
    **{path: fused(path) for path in PATHS},
    WHITENED: sdpa(whiten_key=True),
    "SDPA, key as it is": sdpa(whiten_key=False),
}


def errors(
    dtype: torch.dtype, embeddings: torch.dtype, mean: float, device: str
) -> dict[str, list[float]]:
    """Relative L2 errors of the output and of the gradients of query, key and value, over all
    seeds: of one alone, how its numbers happen to be rounded moves an error by 3 %."""
    squares = [_squares(dtype, embeddings, mean, device, seed) for seed in range(SEEDS)]
    return {
        name: [
            (sum(error for error, _ in each) / sum(size for _, size in each)) ** 0.5
            for each in zip(*(found[name] for found in squares), strict=True)
        ]
        for name in METHODS
    }


def _squares(
    dtype: torch.dtype, embeddings: torch.dtype, mean: float, device: str, seed: int
) -> dict[str, list[tuple[float, float]]]:
    """Of the errors and of what they are errors of."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    q, k = normal(BATCH, N, WIDTH) + mean, normal(BATCH, N, WIDTH) + mean
    tensors = (q, k, normal(BATCH, N), normal(BATCH, N, CHANNELS))
    types = (embeddings, embeddings, embeddings, dtype)
    leaves = [t.to(device, d).requires_grad_() for t, d in zip(tensors, types, strict=True)]
    grad = normal(BATCH, N, CHANNELS).to(device, dtype)
    doubles = [t.detach().double().requires_grad_() for t in leaves]

    def results(call: Attention, inputs: list[Tensor]) -> list[Tensor]:
        output = call(*inputs)
        wanted = [inputs[0], inputs[1], inputs[3]]
        gradients = torch.autograd.grad(output, wanted, grad.to(output.dtype))
        return [output.detach(), *gradients]

    expected = results(lambda *a: reference.whitened_attention(*a, scale=SCALE), doubles)
    return {
        name: [
            (float((got.double() - want).square().sum()), float(want.square().sum()))
            for got, want in zip(results(call, leaves), expected, strict=True)
        ]
        for name, call in METHODS.items()
    }


def main() -> int:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"B = {BATCH}, N = M = {N}, Dk = {WIDTH}, Dv = {CHANNELS}; relative L2 errors")
    print(
        f"{'values':<9} {'q and k':<9} {'mean':>4}  {'':<18} " + " ".join(f"{n:>8}" for n in NAMES)
    )
    worse = False
    for dtype in (torch.float16, torch.bfloat16):
        for embeddings in (torch.float32, dtype):
            for mean in (0.0, 3.0):
                found = errors(dtype, embeddings, mean, device)
                bar = found[WHITENED]
                for name, each in found.items():
                    if name in PATHS:
                        worse |= any(a > b for a, b in zip(each, bar, strict=True))
                    cells = " ".join(f"{error:8.1e}" for error in each)
                    types = " ".join(f"{str(t)[6:]:<9}" for t in (dtype, embeddings))
                    print(f"{types} {mean:>4.0f}  {name:<18} {cells}")
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
