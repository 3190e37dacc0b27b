"""The heads, which make logits of the decoder's finest map, and embeddings for training."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation


class SegmentationHead(nn.Sequential):
    """1x1 convolution, batch norm, ReLU, 1x1: [B, channels, h, w] to [B, num_classes, h, w]."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(
            *Conv2dNormActivation(channels, channels, 1),
            nn.Conv2d(channels, num_classes, 1),
        )


class EmbeddingHead(nn.Module):
    """1x1 convolution and batch norm, then unit length: [B, channels, h, w] to
    [B, 256, h, w]. It serves the contrastive loss, in training only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = Conv2dNormActivation(channels, 256, 1, activation_layer=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.project(x), dim=1)
