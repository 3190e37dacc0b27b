"""What operands in a half type cost: the formula in float64, rounded where tensor cores make it
so, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def rounded_attention(
    tensors: Sequence[Tensor], grad: Tensor, scale: float, dtype: torch.dtype
) -> list[Tensor]:
    """The output and the four gradients: whitened embeddings, exponentials, probabilities,
    gradients of scores, and the results are rounded to ``dtype``."""

    def rounded(x: Tensor) -> Tensor:
        return x.to(dtype).double()

    query, key, unary, value = (t.detach().cpu().double() for t in tensors)
    u = grad.detach().cpu().double()
    q = rounded((query - query.mean(1, keepdim=True)) * scale / torch.log(torch.tensor(2.0)))
    k = rounded(key - key.mean(1, keepdim=True))
    scores = q @ k.transpose(1, 2) * torch.log(torch.tensor(2.0, dtype=torch.float64))
    exact = scores.softmax(2)
    largest = exact.amax(2, keepdim=True)
    weights = unary.softmax(1)
    shared = weights.unsqueeze(1) @ value
    output = rounded(rounded(exact / largest) @ value * largest + shared)
    delta = (u * (output - shared)).sum(2, keepdim=True)
    slopes = rounded(exact * (u @ value.transpose(1, 2) - delta))
    grad_q = scale * slopes @ k
    grad_k = slopes.transpose(1, 2) @ q * torch.log(torch.tensor(2.0, dtype=torch.float64))
    total = u.sum(1, keepdim=True)
    grad_v = rounded(exact).transpose(1, 2) @ u + weights.unsqueeze(2) * total
    slopes_unary = (value * total).sum(2) - (shared * total).sum(2)
    gradients = (grad_q - grad_q.mean(1, keepdim=True), grad_k, weights * slopes_unary, grad_v)
    return [output, *(rounded(g) for g in gradients)]


def close(dtype: torch.dtype, rtol: float, atol: float) -> dict[str, float]:
    """Tolerances of a comparison with the formula in the same type: those of float32, or what
    roundings to float16 add up to."""
    return {"rtol": rtol, "atol": atol} if dtype.itemsize > 2 else {"rtol": 1e-2, "atol": 2e-3}
