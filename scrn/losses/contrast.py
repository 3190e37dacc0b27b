"""Pixel contrast (Eq. 11) over segmentation-aware hard anchors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scrn_ops._core.checks import without_autocast

# Stands for "no such term" inside a log-sum-exp: unlike -inf it keeps a row without any
# negative free of NaN gradients.
_ABSENT = -1e30


def pixel_contrast(embeddings: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Eq. 11 averaged over the anchors that have a positive.

    Args:
        embeddings: ``[A, D]``, already L2-normalised (they are used as they are).
        labels: ``[A]``, integer classes. The positives of an anchor are the other anchors of its
            class, its negatives the anchors of all other classes.
        temperature: tau of Eq. 11, above zero.

    Returns:
        A scalar in fp32 (fp64 for fp64); zero, with a graph, where no anchor has a positive.

    Raises:
        ValueError: wrong ranks or lengths, or a temperature that is not above zero.
        TypeError: labels that are not integers.
    """
    if embeddings.dim() != 2:
        raise ValueError(f"embeddings: expected [A, D], got shape {tuple(embeddings.shape)}")
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"labels: expected [{embeddings.shape[0]}], one per embedding, "
            f"got shape {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"labels: expected integer classes, got {labels.dtype}")
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")

    if embeddings.dtype in (torch.float16, torch.bfloat16):
        embeddings = embeddings.float()
    # Autocast would take the products, and with them exp(s / tau), to half precision.
    with without_autocast(embeddings.device.type):
        similarity = embeddings @ embeddings.T / temperature
    same = labels[:, None] == labels[None, :]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    negatives = torch.logsumexp(similarity.masked_fill(same, _ABSENT), dim=1, keepdim=True)
    # -log(e^s / (e^s + e^n)) = -logsigmoid(s - n)
    pairs = torch.where(positive, -F.logsigmoid(similarity - negatives), 0.0)
    count = positive.sum(dim=1)
    per_anchor = pairs.sum(dim=1) / count.clamp(min=1)
    return per_anchor.sum() / (count > 0).sum().clamp(min=1)


def sample_anchors(
    labels: Tensor,
    predictions: Tensor,
    *,
    max_anchors: int = 1024,
    min_pixels: int = 2,
    ignore_index: int = 255,
) -> Tensor:
    """Segmentation-aware hard anchor sampling.

    Every class of every image that has at least ``min_pixels`` pixels gets the same share of
    ``max_anchors``: one half of it from the pixels that the network gets wrong (hard), the other
    from those that it gets right (easy); what one half lacks is filled from the other.

    Args:
        labels: ``[B, H, W]``, integer classes or ``ignore_index``.
        predictions: ``[B, H, W]``, the classes that the network predicts.

    Returns:
        ``[A]``, ``A <= max_anchors``: indices into the flattened ``[B, H, W]`` grid, ascending.
    """
    if labels.shape != predictions.shape or labels.dim() != 3:
        raise ValueError(
            "predictions: expected the shape [B, H, W] of labels, got "
            f"{tuple(predictions.shape)} and {tuple(labels.shape)}"
        )
    device = labels.device
    pixels_per_image = labels[0].numel() if len(labels) else 0
    flat = labels.reshape(-1).long()
    hard = predictions.reshape(-1) != flat

    # A random order first and a stable sort by group after it: the rank of a pixel within its
    # group is then its place in a random draw without replacement.
    valid = (flat != ignore_index).nonzero().squeeze(1)
    if valid.numel() == 0:
        return valid
    valid = valid[torch.randperm(len(valid), device=device)]
    classes = int(flat[valid].max()) + 1
    image_class = (valid // pixels_per_image) * classes + flat[valid]
    _, group, size = torch.unique(image_class, return_inverse=True, return_counts=True)
    enough = size >= min_pixels
    groups = int(enough.sum())
    if groups == 0:
        return valid[:0]
    if groups > max_anchors:
        drop = torch.randperm(groups, device=device)[max_anchors:]
        enough[enough.nonzero().squeeze(1)[drop]] = False
        groups = max_anchors
    share = max_anchors // groups

    bucket = 2 * group + hard[valid].long()
    count = torch.bincount(bucket, minlength=2 * len(size)).view(-1, 2)
    easy, difficult = count[:, 0], count[:, 1]
    half = torch.full_like(easy, share // 2)
    # More than there is, where both halves lack some.
    take_hard = torch.maximum(torch.minimum(difficult, half), share - easy)
    take_easy = torch.minimum(easy, share - take_hard)
    take = torch.stack((take_easy, take_hard), dim=1) * enough[:, None]

    order = torch.argsort(bucket, stable=True)
    start = torch.cumsum(count.view(-1), 0) - count.view(-1)
    sorted_bucket = bucket[order]
    rank = torch.arange(len(order), device=device) - start[sorted_bucket]
    return valid[order[rank < take.view(-1)[sorted_bucket]]].sort().values


class PixelContrastLoss(nn.Module):
    """Samples anchors by :func:`sample_anchors` and applies :func:`pixel_contrast`.

    Args:
        temperature: tau of Eq. 11.
        max_anchors: anchors in a mini-batch at most.
        min_pixels: a class counts in an image from this many pixels of the embedding grid on.
        ignore_index: the label of pixels that never become anchors.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        max_anchors: int = 1024,
        min_pixels: int = 2,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        if max_anchors < 1:
            raise ValueError(f"max_anchors: expected at least 1, got {max_anchors}")
        self.temperature = temperature
        self.max_anchors = max_anchors
        self.min_pixels = min_pixels
        self.ignore_index = ignore_index

    def forward(self, embedding: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss from embedding ``[B, D, h, w]`` (normalised over D), logits
        ``[B, classes, *, *]`` and labels ``[B, H, W]``, both brought to (h, w)."""
        size = embedding.shape[-2:]
        small = F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")
        small = small.squeeze(1).to(labels.dtype)
        if logits.shape[-2:] != size:
            logits = F.interpolate(
                logits.detach().float(), size=size, mode="bilinear", align_corners=False
            )
        anchors = sample_anchors(
            small,
            logits.detach().argmax(1),
            max_anchors=self.max_anchors,
            min_pixels=self.min_pixels,
            ignore_index=self.ignore_index,
        )
        rows = embedding.permute(0, 2, 3, 1).flatten(0, 2)[anchors]
        return pixel_contrast(rows, small.reshape(-1)[anchors].long(), self.temperature)
