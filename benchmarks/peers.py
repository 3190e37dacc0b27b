"""What other libraries have in place of an op, where their semantics are the op's."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from scrn_ops import eager

from .cases import AttentionCase, Case

Function = Callable[..., Tensor]

DEFORM = "deform_conv2d"  # torchvision's
SDPA = "SDPA + rank-1"
FLEX = "FlexAttention"


def sample(case: Case) -> dict[str, Function]:
    """A deformable 1x1 convolution whose kernel is the identity samples at every pixel's offset.
    It samples maps of the output's size alone, and takes its offsets in the features' type: in
    a half type they are off by up to a pixel."""
    if case.low != case.size or case.dtype != torch.float32:
        return {}
    return {DEFORM: _deform}


def refine(case: Case) -> dict[str, Function]:
    """Forward alone: backward it takes many times what the chain does, seconds on a CPU."""
    if case.dtype != torch.float32 or case.direction != "forward":
        return {}
    return {DEFORM: _refine_by_deform}


def attend(case: AttentionCase) -> dict[str, Function]:
    """The shared term added to torch's attention of whitened embeddings."""
    made: dict[str, Function] = {SDPA: _attend_by_sdpa}
    if case.dtype != torch.float64 and case.direction == "forward":
        made[FLEX] = _attend_by_flex
    return made


def _deform(input: Tensor, offset: Tensor) -> Tensor:
    from torchvision.ops import deform_conv2d

    channels = input.shape[1]
    identity = torch.ones(channels, 1, 1, 1, dtype=input.dtype, device=input.device)
    return deform_conv2d(input, offset.flip(1), identity)  # it takes y first


def _refine_by_deform(low: Tensor, offset: Tensor, mask: Tensor, skip: Tensor) -> Tensor:
    aggregated = eager.aggregate_offsets(offset, mask, mask_is_logits=True)
    upsampled = F.interpolate(low, size=offset.shape[2:], mode="bilinear", align_corners=False)
    return _deform(upsampled, aggregated) + skip


def _whiten(tensor: Tensor) -> Tensor:
    """In float32, and then rounded once, as the op does."""
    wide = tensor.float()
    return (wide - wide.mean(dim=1, keepdim=True)).to(tensor.dtype)


def _shared(unary: Tensor, value: Tensor) -> Tensor:
    return unary.float().softmax(dim=1).to(value.dtype).unsqueeze(1) @ value


def _attend_by_sdpa(query: Tensor, key: Tensor, unary: Tensor, value: Tensor) -> Tensor:
    heads = (each.unsqueeze(1) for each in (_whiten(query), _whiten(key), value))
    pairwise = F.scaled_dot_product_attention(*heads).squeeze(1)
    return pairwise + _shared(unary, value)


def _attend_by_flex(query: Tensor, key: Tensor, unary: Tensor, value: Tensor) -> Tensor:
    heads = (each.unsqueeze(1) for each in (_whiten(query), _whiten(key), value))
    return _flex()(*heads).squeeze(1) + _shared(unary, value)


_compiled: list[Function] = []


def _flex() -> Function:
    """Uncompiled it is a plain formula that nobody uses."""
    from torch.nn.attention.flex_attention import flex_attention

    if not _compiled:
        _compiled.append(torch.compile(flex_attention, dynamic=False))
    return _compiled[0]
