"""MSCAN, the encoder of SegNeXt (Guo et al., NeurIPS 2022)."""

from __future__ import annotations

from torch import Tensor, nn

from scrn_ops import multi_scale_depthwise

from .large_kernel import DepthwiseUnit, LargeKernelBackbone, unit_backend


class MultiScaleGate(DepthwiseUnit):
    """Gates its input by depthwise convolutions of four sizes: [B, C, H, W] to the same.

    A 5x5 convolution, to which three pairs of strips (1x7 and 7x1, 1x11 and 11x1, 1x21 and
    21x1) of it are added; a 1x1 convolution of the sum multiplies the input.
    """

    strips = (7, 11, 21)

    def __init__(self, channels: int, ops: str = "fused") -> None:
        super().__init__(ops)
        self.conv0 = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        for i, n in enumerate(self.strips):
            row = nn.Conv2d(channels, channels, (1, n), padding=(0, n // 2), groups=channels)
            column = nn.Conv2d(channels, channels, (n, 1), padding=(n // 2, 0), groups=channels)
            setattr(self, f"conv{i}_1", row)
            setattr(self, f"conv{i}_2", column)
        self.conv3 = nn.Conv2d(channels, channels, 1)

    def convolutions(self) -> list[nn.Conv2d]:
        pairs = [(f"conv{i}_1", f"conv{i}_2") for i in range(len(self.strips))]
        return [self.conv0, *(getattr(self, name) for pair in pairs for name in pair)]

    def context(self, x: Tensor) -> Tensor:
        """The sum that the last convolution turns into the gate."""
        local, *strips = self.convolutions()
        rows, columns = strips[::2], strips[1::2]
        return multi_scale_depthwise(
            x,
            local.weight,
            local.bias,
            [conv.weight for conv in rows],
            [conv.bias for conv in rows],
            [conv.weight for conv in columns],
            [conv.bias for conv in columns],
            backend=unit_backend(x, self.backend),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.context(x)) * x


class _Stem(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(channels // 2),
            nn.GELU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class MSCAN(LargeKernelBackbone):
    """Multi-scale convolutional attention network, see :class:`LargeKernelBackbone`."""

    norm_eps = 1e-5

    def stem(self, channels: int) -> nn.Module:
        return _Stem(channels)

    def gate(self, channels: int, ops: str) -> nn.Module:
        return MultiScaleGate(channels, ops)
