"""A chain of three semantic refinement modules that brings a label map back to full size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from scrn_ops import SemanticRefinement, aggregate_offsets, semantic_refine

STRIDE = 8
KEPT = STRIDE // 2  # the kept pixel lies, to half a pixel, in the middle of its cell


def thin_out(labels: Tensor, classes: int) -> Tensor:
    """Every 8th pixel in x and y of ``labels`` [B, H, W], as one map per class
    [B, classes, H/8, W/8]; a void pixel is zero in all of them."""
    kept = labels[:, KEPT::STRIDE, KEPT::STRIDE].long().clamp(max=classes)
    return F.one_hot(kept, classes + 1)[..., :classes].movedim(-1, 1).float().contiguous()


def bilinear(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=STRIDE, mode="bilinear", align_corners=False)


def convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class LabelRefiner(nn.Module):
    """1/8 -> 1/4 -> 1/2 -> 1, every step guided by features of the photo at its own size.

    Nothing here classifies: every pixel of the result is a mixture of kept labels, and all that
    is learned is from where to take them.
    """

    def __init__(self, classes: int, width: int = 16, backend: str | None = None) -> None:
        super().__init__()
        self.backend = backend
        self.stem = nn.ModuleList(
            convolution(width if stride > 1 else 3, width, stride) for stride in (1, 2, 2)
        )
        self.steps = nn.ModuleList(
            SemanticRefinement(
                classes, width, compress=width, hidden=width, add_skip=False, backend=backend
            )
            for _ in range(3)
        )

    def guides(self, photo: Tensor) -> list[Tensor]:
        """Features of the photo at 1/4, 1/2 and full size."""
        maps = [photo]
        for layer in self.stem:
            maps.append(layer(maps[-1]))
        return maps[:0:-1]

    def forward(self, photo: Tensor, maps: Tensor) -> Tensor:
        """photo [B, 3, H, W], maps [B, classes, H/8, W/8] to [B, classes, H, W]."""
        for step, guide in zip(self.steps, self.guides(photo), strict=True):
            maps = step(maps, guide)
        return maps

    def displacement(self, photo: Tensor, maps: Tensor) -> Tensor:
        """How far from itself every pixel fetches its label: [B, 2, H, W] in pixels of the photo,
        the offsets of the three steps followed one after the other."""
        total = maps.new_zeros(maps.shape[0], 2, *maps.shape[2:])
        for step, guide in zip(self.steps, self.guides(photo), strict=True):
            offset, logits = step.predict(maps, guide)
            here = aggregate_offsets(offset, logits, mask_is_logits=True, backend=self.backend)
            # What the coarser steps did is found where this step points to, in its own pixels.
            before = semantic_refine(
                2 * total, offset, logits, mask_is_logits=True, backend=self.backend
            )
            total = here + before
            maps = step(maps, guide)
        return total
