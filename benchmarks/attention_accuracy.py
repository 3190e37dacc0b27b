"""``python -m benchmarks.attention_accuracy``: what half types cost the attention, against float64.

Queries and keys are in float32 or in the half type and have a mean of 0 or of 3 in every channel;
values are in the half type. Compared are
both paths of the kernels (in Triton's interpreter where there is no CUDA device), torch's
attention on inputs that were whitened in float32 and then cast, and the same with keys as they
are, whose mean cancels in exact arithmetic.
The exit status is 1 where a path is worse than the whitened scaled_dot_product_attention.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton

from scrn_ops import reference, whitened_attention
from scrn_ops.attention.table import PATHS

from .common.tables import table

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


METHODS: dict[str, Attention] = {
    **{path: partial(whitened_attention, scale=SCALE, path=path) for path in PATHS},
    WHITENED: sdpa(whiten_key=True),
    "SDPA, key as it is": sdpa(whiten_key=False),
}


def errors(
    dtype: torch.dtype, embeddings: torch.dtype, mean: float, device: str
) -> dict[str, list[float]]:
    """Relative L2 errors of the output and of the gradients of query, key and value, over all
    seeds: of one alone, how its numbers happen to be rounded moves an error by 3 %."""
    squares = torch.stack([_squares(dtype, embeddings, mean, device, n) for n in range(SEEDS)])
    error, size = squares.sum(0).unbind(-1)
    return dict(zip(METHODS, (error / size).sqrt().tolist(), strict=True))


def _squares(
    dtype: torch.dtype, embeddings: torch.dtype, mean: float, device: str, seed: int
) -> Tensor:
    """Of the errors and of what they are errors of, by method and name: [M, 4, 2]."""
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
        return [output.detach().double(), *(each.double() for each in gradients)]

    expected = results(partial(reference.whitened_attention, scale=SCALE), doubles)
    rows = [
        [
            (float((got - want).square().sum()), float(want.square().sum()))
            for got, want in zip(results(call, leaves), expected, strict=True)
        ]
        for call in METHODS.values()
    ]
    return torch.tensor(rows, dtype=torch.float64)


def main() -> int:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"B = {BATCH}, N = M = {N}, Dk = {WIDTH}, Dv = {CHANNELS}; relative L2 errors\n")
    rows, worse = [], False
    for dtype, half, mean in itertools.product(
        (torch.float16, torch.bfloat16), (False, True), (0.0, 3.0)
    ):
        embeddings = dtype if half else torch.float32
        found = errors(dtype, embeddings, mean, device)
        for name, each in found.items():
            if name in PATHS:
                worse |= any(a > b for a, b in zip(each, found[WHITENED], strict=True))
            types = (str(t).removeprefix("torch.") for t in (dtype, embeddings))
            rows.append((*types, f"{mean:g}", name, *(f"{error:.1e}" for error in each)))
    print(table(("values", "q and k", "mean", "", *NAMES), rows, 4))
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
