"""The attention by matrix products: on the CPU, and on a GPU in float32 and float64.

Scores are computed for some of the queries at a time.

The scores are turned into probabilities and multiplied with the values. Of more queries at a time
they make better products, of fewer they use less memory; beyond some millions of scores the
products gain nothing on a CPU. On an H200 parts of four millions took up to a quarter longer than
the formula, which has one.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .._core.checks import compute_dtype
from .chunks import Part, parts
from .layout import empty_gradient, empty_output
from .products import has_onednn, product, takes_onednn

CHUNK_SCORES, CHUNK_SCORES_CUDA = 1 << 22, 1 << 25
# So few are not divided: it would save no memory to speak of, and cost calls.
FEW_SCORES = 1 << 16
# Beyond this they are computed again for the backward.
KEPT_BYTES = 256 << 20
# Torch's flash attention needs no memory for scores. Up to this width, or the second one beside
# oneDNN's products, it is as fast as two matrix products and a softmax, or faster, from as many
# scores of an image on as leave the caches.
FLASH_WIDTH, FLASH_WIDTH_ONEDNN = 256, 128
FLASH_SCORES = 1 << 21


def keeps_probabilities(query: Tensor, value: Tensor) -> bool:
    """Whether a forward that will be differentiated hands its probabilities to the backward."""
    scores = query.shape[0] * query.shape[1] * value.shape[1]
    return scores * compute_dtype(value).itemsize <= KEPT_BYTES


def forward(
    query: Tensor, key: Tensor, unary: Tensor, value: Tensor, scale: float, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, the unary term's share of it [B, Dv], and the probabilities [B, N, M] if
    ``keep``."""
    dtype = compute_dtype(value)
    # Scaled first, as in the formula: then the products overflow nowhere that its do not.
    q = centred(query, dtype, scale)
    k, v = centred(key, dtype), value.to(dtype)
    shared = torch.bmm(unary.to(dtype).softmax(dim=1).unsqueeze(1), v)
    output = empty_output(value, query.shape[1])
    if not keep and _flash_fits(q, k, v):
        pairwise = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            *(t.contiguous().unsqueeze(1) for t in (q, k, v)), scale=1.0
        )[0].squeeze(1)
        pairwise += shared
        done = pairwise.dtype == output.dtype and pairwise.stride() == output.stride()
        output = pairwise if done else output.copy_(pairwise)
        return output, shared.squeeze(1), value.new_empty(0, dtype=dtype)
    probabilities = q.new_empty((*q.shape[:2], k.shape[1]) if keep else 0)
    for part in _parts(q, v, 2 if keep else 1):
        images, _ = part
        scores = product(q[part], k[images].transpose(1, 2))
        p = torch.softmax(scores, dim=2, out=probabilities[part] if keep else scores)
        product(p, v[images], shared[images], out=output[part])
        del scores, p  # before the next part's are made
    return output, shared.squeeze(1), probabilities


def backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    shared: Tensor,
    probabilities: Tensor,
    scale: float,
    needs: tuple[bool, ...],
) -> tuple[Tensor, ...]:
    """The gradients of query, key, unary and value."""
    need_query, need_key, need_unary, need_value = needs
    dtype = compute_dtype(value)
    inputs = (query, key, unary, value)
    gradients = tuple(empty_gradient(t, need) for t, need in zip(inputs, needs, strict=True))
    u = grad.to(dtype)
    v = value.to(dtype)
    total = u.sum(dim=1)
    weights = unary.to(dtype).softmax(dim=1)
    if need_unary:
        # The mean of value . total under the weights is the shared term's product with it.
        slopes = torch.bmm(v, total.unsqueeze(2)).squeeze(2)
        slopes -= (shared * total).sum(dim=1, keepdim=True)
        gradients[2].copy_(weights * slopes)
    if not (need_query or need_key or need_value):
        return gradients
    q, k = centred(query, dtype, scale), centred(key, dtype)
    # The results themselves, where they are of the type that is computed in.
    sums = [g if g.dtype == dtype else g.to(dtype) for g in gradients]
    grad_q, grad_k, grad_v = (sums[i] if needs[i] else None for i in (0, 1, 3))
    if grad_v is not None:
        torch.mul(weights.unsqueeze(2), total.unsqueeze(1), out=grad_v)
    kept = probabilities.dim() == 3
    if kept and grad_v is not None:
        grad_v.baddbmm_(probabilities.transpose(1, 2), u)
    # Beside kept probabilities there are slopes of half their size, without them both are made of
    # a quarter each: unless scores are few, never more than half of what the formula holds.
    for part in _parts(q, v, 2 if kept else 4):
        images, rows = part
        if kept:
            p = probabilities[part]
        else:
            p = product(q[part], k[images].transpose(1, 2))
            torch.softmax(p, dim=2, out=p)
            if grad_v is not None:
                grad_v[images].baddbmm_(p.transpose(1, 2), u[part])
        if grad_q is None and grad_k is None:
            continue
        slopes = product(u[part], v[images].transpose(1, 2))
        torch.ops.aten._softmax_backward_data.out(slopes, p, 2, dtype, grad_input=slopes)
        if grad_q is not None:
            product(slopes, k[images], out=grad_q[part])
        if grad_k is not None:
            # With beta = 0 what was there is not read.
            beta = 0 if rows.start == 0 else 1
            grad_k[images].baddbmm_(slopes.transpose(1, 2), q[part], beta=beta)
        del slopes, p  # before the next part's are made
    if grad_q is not None:
        centred(grad_q, dtype, scale, out=grad_q)
    for gradient, total_gradient, need in zip(gradients, sums, needs, strict=True):
        if need and gradient is not total_gradient and gradient.dim() == 3:
            gradient.copy_(total_gradient)
    return gradients


def _parts(q: Tensor, v: Tensor, share: int) -> Iterator[Part]:
    """Slices of images and queries with at most that share of all scores, unless those are few."""
    (batch, n, width), (_, m, channels) = q.shape, v.shape
    most = CHUNK_SCORES_CUDA if v.is_cuda else CHUNK_SCORES
    limit = min(most, max(FEW_SCORES, -(-batch * n * m // share)))
    if takes_onednn(n * m * min(width, channels), q):
        limit = min(limit, n * m)  # it takes one image at a time
    return parts(batch, n, m, limit)


def centred(
    rows: Tensor, dtype: torch.dtype, scale: float = 1.0, out: Tensor | None = None
) -> Tensor:
    """The differences from the mean row, times ``scale``."""
    rows = rows.to(dtype)
    mean = rows.mean(dim=1, keepdim=True)
    if abs(scale) <= 1:
        # In one pass; what is scaled before the difference is taken must not overflow.
        return torch.add(mean * -scale, rows, alpha=scale, out=out)
    return torch.sub(rows, mean, out=out).mul_(scale)


def _flash_fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether torch's flash attention takes the shape, gains by it, and neither a score nor a sum
    of values can overflow: it makes zeros of a row that has a NaN, and divides by the sum last."""
    width = FLASH_WIDTH_ONEDNN if has_onednn(v) else FLASH_WIDTH
    if v.is_cuda or not q.shape[2] == v.shape[2] <= width or q.shape[0] == 0:
        return False
    if q.shape[1] * k.shape[1] < FLASH_SCORES:
        return False
    size_q, size_k, size_v = (float(torch.linalg.vector_norm(t)) for t in (q, k, v))
    limit = torch.finfo(v.dtype).max / 4
    # Written so that a NaN fits nowhere.
    return size_q * size_k < limit and size_v * v.shape[1] < limit
