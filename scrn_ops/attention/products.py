"""Matrix products on the CPU: ``torch.bmm``, or oneDNN where that is faster.

MKL, which is behind ``torch.bmm``, keeps to AVX2 on processors of other makers than its own. On an
AMD Zen 4 oneDNN is faster by 5 to 25 % from the number of multiplications below on, with AVX-512;
restricted to AVX2 it is the slower one.
"""

from __future__ import annotations

import torch
from torch import Tensor

ONEDNN_MULTIPLICATIONS = 1 << 25


def product(a: Tensor, b: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """a @ b + bias: of [B, n, k], [B, k, m] and [B, 1, m] the [B, n, m], in ``out`` if given."""
    if a.shape[0] == 1 and takes_onednn(a.numel() * b.shape[2], a.dtype):
        result = _by_onednn(a, b[0], None if bias is None else bias.flatten())
        return result if out is None else out.copy_(result)
    if bias is None:
        return torch.bmm(a, b, out=out)
    if out is None or out.dtype == a.dtype:
        return torch.baddbmm(bias, a, b, out=out)
    return out.copy_(torch.baddbmm(bias, a, b))


def takes_onednn(multiplications: int, dtype: torch.dtype) -> bool:
    """Whether a product of that many multiplications, of one image, is oneDNN's."""
    if multiplications < ONEDNN_MULTIPLICATIONS or dtype != torch.float32:
        return False
    mkldnn = torch.backends.mkldnn
    has_avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return has_avx512 and mkldnn.is_available() and bool(mkldnn.enabled)


def _by_onednn(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")
