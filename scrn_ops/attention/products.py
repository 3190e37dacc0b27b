"""Matrix products: ``torch.bmm``, or on the CPU oneDNN where that is faster.

MKL, which is behind ``torch.bmm``, keeps to AVX2 on processors of other makers than its own. On an
AMD Zen 4 with AVX-512 oneDNN is faster by 5 to 25 % from the number of multiplications below on;
restricted to AVX2 it is the slower one.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor

ONEDNN_MULTIPLICATIONS = 1 << 25


def product(a: Tensor, b: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """a @ b + bias: of [B, n, k], [B, k, m] and [B, 1, m] the [B, n, m], in ``out`` if given."""
    if a.shape[0] == 1 and takes_onednn(a.numel() * b.shape[2], a):
        result = _by_onednn(a, b[0], None if bias is None else bias.flatten())
        return result if out is None else out.copy_(result)
    if bias is None:
        return torch.bmm(a, b, out=out)
    if out is None or out.dtype == a.dtype:
        return torch.baddbmm(bias, a, b, out=out)
    return out.copy_(torch.baddbmm(bias, a, b))


def takes_onednn(multiplications: int, of: Tensor) -> bool:
    """Whether a product of that many multiplications, of one image, is oneDNN's."""
    return multiplications >= ONEDNN_MULTIPLICATIONS and has_onednn(of)


def has_onednn(of: Tensor) -> bool:
    """Whether large products are oneDNN's here."""
    if of.is_cuda or of.dtype != torch.float32:
        return False
    return bool(torch.backends.mkldnn.enabled) and _outruns_mkl()


@functools.cache
def _outruns_mkl() -> bool:
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()):
        return False
    information = Path("/proc/cpuinfo")  # torch tells what a processor can, not whose it is
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not information.is_file():
        return False
    return "GenuineIntel" not in information.read_text()


def _by_onednn(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    weight = b.t()
    if not (weight.is_contiguous() or b.is_contiguous()):
        # It refuses those that overlap, and multiplies by others one number at a time.
        weight = weight.contiguous()
    return torch.ops.mkldnn._linear_pointwise(a, weight, bias, "none", [], "")
