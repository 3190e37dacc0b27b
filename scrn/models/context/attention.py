"""Whitened attention with a unary term (Eqs. 8 and 9)."""

from __future__ import annotations

import torch
from torch import Tensor


def whitened_attention(
    query: Tensor, key: Tensor, unary: Tensor, value: Tensor, *, scale: float = 1.0
) -> Tensor:
    r"""Pairwise attention over whitened embeddings plus attention that is one for all queries.

    .. math:: y_i = \sum_j \left( \mathrm{softmax}_j\, s\, (q_i - \bar q)^T (k_j - \bar k)
        + \mathrm{softmax}_j\, m_j \right) g_j

    with the means over all N queries and all M keys. Computed in float32 at least, whatever
    the inputs' type and autocast: the means are taken off before anything is rounded.

    Args:
        query: q [B, N, Dk].
        key: k [B, M, Dk].
        unary: m [B, M].
        value: g [B, M, Dv].
        scale: s.

    Returns:
        [B, N, Dv] in value's dtype.
    """
    dtype = torch.promote_types(value.dtype, torch.float32)
    with torch.autocast(value.device.type, enabled=False):
        query, key, unary = query.to(dtype), key.to(dtype), unary.to(dtype)
        query = query - query.mean(dim=1, keepdim=True)
        key = key - key.mean(dim=1, keepdim=True)
        pairwise = (scale * query @ key.transpose(1, 2)).softmax(dim=2)
        values = value.to(dtype)
        shared = unary.softmax(dim=1).unsqueeze(1) @ values
        return torch.baddbmm(shared, pairwise, values).to(value.dtype)
