"""What every backbone is."""

from __future__ import annotations

from torch import nn


class Backbone(nn.Module):
    """Maps [B, 3, H, W] to four maps [B, channels[i], H_i, W_i] of strides 4, 8, 16 and 32."""

    channels: tuple[int, ...]
