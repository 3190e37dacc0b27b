"""The loss of the network: cross-entropy plus pixel contrast (Eq. 12)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scrn_ops import upsampled_cross_entropy

from .contrast import PixelContrastLoss


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int = 255,
    backend: str | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy (Eq. 10) over the valid pixels of all processes.

    Data-parallel training averages the gradients of the ranks, so each rank's sum is divided by
    the ranks' mean count of valid pixels (the sum of their weights): the step then equals that of
    one process with the whole batch, however the ignored pixels are spread. Zero, with a graph,
    where every pixel is ignored.

    Args:
        logits: ``[B, classes, h, w]``, upsampled to the labels' size on the way.
        labels: ``[B, H, W]``, integer classes or ``ignore_index``.
        backend: of :func:`scrn_ops.upsampled_cross_entropy`.
        weight: ``[classes]``; the mean is then the weighted one, as torch has it.
    """
    if labels.dtype not in (torch.uint8, torch.int32, torch.int64):
        labels = labels.long()
    total = upsampled_cross_entropy(
        logits, labels, weight=weight, ignore_index=ignore_index, reduction="sum", backend=backend
    )
    valid = labels != ignore_index
    if weight is None:
        count = valid.sum().to(total.dtype)
    else:
        count = weight.to(total.dtype)[torch.where(valid, labels, 0).long()].mul(valid).sum()
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    # Not clamped to 1: the mean over the ranks may be a fraction.
    return total / torch.where(count > 0, count, torch.ones_like(count))


class SegmentationLoss(nn.Module):
    """``cross_entropy + contrast_weight * pixel_contrast`` (Eq. 12).

    Args:
        contrast_weight: lambda; 0 leaves the contrastive term out and needs no embedding.
        temperature, max_anchors, min_pixels: see :class:`PixelContrastLoss`.
        ignore_index: the label of pixels without a class.
        backend: of the ops of :mod:`scrn_ops`.
        class_weights: of the classes in the cross-entropy.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        contrast_weight: float = 1.0,
        temperature: float = 0.1,
        max_anchors: int = 1024,
        min_pixels: int = 2,
        ignore_index: int = 255,
        backend: str | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        weights = None
        if class_weights is not None:
            weights = torch.tensor(class_weights, dtype=torch.float32)
            if not (weights.isfinite() & (weights >= 0)).all() or not weights.any():
                raise ValueError(
                    "class_weights: expected numbers of at least 0 and one above it, "
                    f"got {list(class_weights)}"
                )
        self.register_buffer("class_weights", weights, persistent=False)
        self.contrast_weight = contrast_weight
        self.ignore_index = ignore_index
        self.backend = backend
        self.contrast = PixelContrastLoss(
            temperature, max_anchors, min_pixels, ignore_index, backend
        )

    def forward(
        self, logits: Tensor, labels: Tensor, embedding: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The terms ``{"loss", "cross_entropy"[, "contrast"]}`` from logits ``[B,classes,*,*]``
        at the network's own size or the labels', labels ``[B,H,W]`` and embedding
        ``[B,D,h,w]``."""
        ce = cross_entropy(logits, labels, self.ignore_index, self.backend, self.class_weights)
        if self.contrast_weight == 0:
            return {"loss": ce, "cross_entropy": ce.detach()}
        if embedding is None:
            raise ValueError(
                "embedding: expected [B, D, h, w] for the contrastive term "
                f"(contrast_weight={self.contrast_weight}), got None"
            )
        contrast = self.contrast(embedding, logits, labels)
        return {
            "loss": ce + self.contrast_weight * contrast,
            "cross_entropy": ce.detach(),
            "contrast": contrast.detach(),
        }


def balanced_weights(pixels: Tensor) -> Tensor:
    """Weights of classes in inverse proportion to their pixels, whose mean over the pixels is 1.
    A class that never occurs has the weight 1."""
    occurs = pixels > 0
    weights = pixels.sum() / (occurs.sum() * pixels.clamp(min=1))
    return torch.where(occurs, weights, 1.0).float()
