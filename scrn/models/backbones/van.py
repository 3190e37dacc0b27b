"""VAN, the visual attention network (Guo et al., CVM 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from scrn_ops import large_kernel_depthwise

from .large_kernel import DepthwiseUnit, LargeKernelBackbone, PatchEmbed, unit_backend


class LargeKernelGate(DepthwiseUnit):
    """Gates its input by a decomposed 21x21 convolution: [B, C, H, W] to the same.

    Depthwise 5x5, depthwise 7x7 of dilation 3, 1x1; the result multiplies the input.
    """

    def __init__(self, channels: int, ops: str = "fused") -> None:
        super().__init__(ops)
        self.conv0 = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.conv_spatial = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.conv1 = nn.Conv2d(channels, channels, 1)

    def convolutions(self) -> list[nn.Conv2d]:
        return [self.conv0, self.conv_spatial]

    def context(self, x: Tensor) -> Tensor:
        """What the last convolution turns into the gate."""
        local, dilated = self.conv0, self.conv_spatial
        return large_kernel_depthwise(
            x,
            local.weight,
            local.bias,
            dilated.weight,
            dilated.bias,
            dilation=3,
            backend=unit_backend(x, self.backend),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv1(self.context(x))


class VAN(LargeKernelBackbone):
    """Visual attention network, see :class:`LargeKernelBackbone`."""

    norm_eps = 1e-6

    def stem(self, channels: int) -> nn.Module:
        return PatchEmbed(3, channels, 7, 4)

    def gate(self, channels: int, ops: str) -> nn.Module:
        return LargeKernelGate(channels, ops)
