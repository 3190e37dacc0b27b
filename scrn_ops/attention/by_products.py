"""The attention by matrix products: on the CPU, and on a GPU in float32 and float64.

Scores are computed for some of the queries at a time, turned into probabilities and multiplied with
the values. Of more queries at a time they make better products, of fewer they use less memory;
beyond some millions of scores the products gain nothing on a CPU. On an H200 parts of four millions
took up to a quarter longer than the formula, which has one. Of few scores a call of torch takes
longer than its work: they are not divided, and the calls are fewer than the formula's.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .._core.checks import compute_dtype, in_dtype
from .chunks import Part, parts
from .layout import empty_output
from .products import has_onednn, product, takes_onednn

CHUNK_SCORES, CHUNK_SCORES_CUDA = 1 << 22, 1 << 25
# So few are not divided: it would save no memory to speak of, and cost calls, which take longer
# beside a GPU's work.
FEW_SCORES, FEW_SCORES_CUDA = 1 << 16, 1 << 24
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
    k, v = centred(key, dtype), in_dtype(value, dtype)
    shared = torch.bmm(in_dtype(unary, dtype).softmax(dim=1).unsqueeze(1), v)
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
        images = None if part is None else part[0]
        scores = product(cut(q, part), cut(k, images).transpose(1, 2))
        p = torch.softmax(scores, dim=2, out=cut(probabilities, part) if keep else scores)
        product(p, cut(v, images), cut(shared, images), out=cut(output, part))
        del scores, p  # before the next part's are made
    return output, shared.squeeze(1), probabilities


def backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    probabilities: Tensor,
    scale: float,
    needs: tuple[bool, ...],
) -> tuple[Tensor, ...]:
    """The gradients of query, key, unary and value."""
    need_query, need_key, need_unary, need_value = needs
    dtype = compute_dtype(value)
    grad_q, grad_k, grad_v = (
        empty_output(of, of.shape[1], dtype) if need else None
        for of, need in ((query, need_query), (key, need_key), (value, need_value))
    )
    grad_unary = None
    u, v = in_dtype(grad, dtype), in_dtype(value, dtype)
    total = u.sum(dim=1)
    weights = in_dtype(unary, dtype).softmax(dim=1)
    if need_unary:
        slopes = torch.bmm(v, total.unsqueeze(2)).squeeze(2)
        grad_unary = torch._softmax_backward_data(slopes, weights, 1, dtype)
    kept = probabilities.dim() == 3
    if grad_v is not None:
        torch.mul(weights.unsqueeze(2), total.unsqueeze(1), out=grad_v)
        if kept:
            grad_v.baddbmm_(probabilities.transpose(1, 2), u)
    needs_scores = need_query or need_key or (need_value and not kept)
    q, k = centred(query, dtype, scale), centred(key, dtype)
    # Beside kept probabilities there are slopes of half their size, without them both are made of
    # a quarter each: unless scores are few, never more than half of what the formula holds.
    for part in _parts(q, v, 2 if kept else 4) if needs_scores else ():
        images = None if part is None else part[0]
        if kept:
            p = cut(probabilities, part)
        else:
            p = product(cut(q, part), cut(k, images).transpose(1, 2))
            torch.softmax(p, dim=2, out=p)
            if grad_v is not None:
                cut(grad_v, images).baddbmm_(p.transpose(1, 2), cut(u, part))
        if grad_q is None and grad_k is None:
            continue
        slopes = product(cut(u, part), cut(v, images).transpose(1, 2))
        torch._softmax_backward_data(slopes, p, 2, dtype, grad_input=slopes)
        if grad_q is not None:
            product(slopes, cut(k, images), out=cut(grad_q, part))
        if grad_k is not None:
            # With beta = 0 what was there is not read.
            beta = 0 if part is None or part[1].start == 0 else 1
            cut(grad_k, images).baddbmm_(slopes.transpose(1, 2), cut(q, part), beta=beta)
        del slopes, p  # before the next part's are made
    if grad_q is not None:
        centred(grad_q, dtype, scale, out=grad_q)
    results = ((query, grad_q), (key, grad_k), (unary, grad_unary), (value, grad_v))
    return tuple(
        of.new_empty(0) if gradient is None else in_dtype(gradient, of.dtype)
        for of, gradient in results
    )


def _parts(q: Tensor, v: Tensor, share: int) -> Iterable[Part | None]:
    """Slices of images and queries with at most that share of all scores, unless those are few;
    None where one of them would be all."""
    (batch, n, width), (_, m, channels) = q.shape, v.shape
    cuda = v.is_cuda
    few = FEW_SCORES_CUDA if cuda else FEW_SCORES
    limit = min(CHUNK_SCORES_CUDA if cuda else CHUNK_SCORES, max(few, -(-batch * n * m // share)))
    if takes_onednn(n * m * min(width, channels), q):
        limit = min(limit, n * m)  # it takes one image at a time
    return (None,) if batch * n * m <= limit else parts(batch, n, m, limit)


def cut(tensor: Tensor, part: Part | slice | None) -> Tensor:
    """That part, or the tensor itself where the part is all: a view takes as long as a small
    product."""
    return tensor if part is None else tensor[part]


def centred(
    rows: Tensor, dtype: torch.dtype, scale: float = 1.0, out: Tensor | None = None
) -> Tensor:
    """The differences from the mean row, times ``scale``."""
    rows = in_dtype(rows, dtype)
    mean = rows.mean(dim=1, keepdim=True)
    if abs(scale) >= 1:
        differences = torch.sub(rows, mean, out=out)
        return differences if scale == 1 else differences.mul_(scale)
    # In one pass; what is scaled before the difference is taken must not overflow.
    return torch.add(mean.mul_(-scale), rows, alpha=scale, out=out)


def _flash_fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether torch's flash attention takes the shape, gains by it, and neither a score nor a sum
    of values can overflow: it makes zeros of a row that has a NaN, and divides by the sum last."""
    if v.is_cuda or q.shape[0] == 0 or q.shape[1] * k.shape[1] < FLASH_SCORES:
        return False
    if not q.shape[2] == v.shape[2] <= (FLASH_WIDTH_ONEDNN if has_onednn(v) else FLASH_WIDTH):
        return False
    size_q, size_k, size_v = (float(torch.linalg.vector_norm(t)) for t in (q, k, v))
    limit = torch.finfo(v.dtype).max / 4
    # Written so that a NaN fits nowhere.
    return size_q * size_k < limit and size_v * v.shape[1] < limit
