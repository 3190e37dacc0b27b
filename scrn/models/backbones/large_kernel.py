"""What MSCAN and VAN have in common: blocks that gate by large depthwise kernels.

All modules and parameters carry the names of the official checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from scrn_ops import depthwise_gelu

from ..layers import ChannelLayerNorm
from .base import Backbone


class DepthwiseUnit(nn.Module):
    """Depthwise convolutions that one op of :mod:`scrn_ops` computes, without calling them.

    ``backend`` is the op's: ``"fused"``, ``"eager"`` or ``"reference"``.
    """

    def __init__(self, ops: str) -> None:
        super().__init__()
        self.backend = ops

    def convolutions(self) -> list[nn.Conv2d]:
        """Those that the op computes."""
        raise NotImplementedError

    def uncalled(self, x: Tensor) -> list[nn.Conv2d]:
        """Those that the op computes without calling them: all, for any input."""
        return self.convolutions()


class Mlp(DepthwiseUnit):
    """1x1 convolution, depthwise 3x3, GELU, 1x1: [B, C, H, W] to the same."""

    def __init__(self, channels: int, hidden: int, ops: str = "fused") -> None:
        super().__init__(ops)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.dwconv = _Depthwise(hidden)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def convolutions(self) -> list[nn.Conv2d]:
        return [self.dwconv.dwconv]

    def forward(self, x: Tensor) -> Tensor:
        conv = self.dwconv.dwconv
        hidden = self.fc1(x)
        backend = unit_backend(hidden, self.backend)
        return self.fc2(depthwise_gelu(hidden, conv.weight, conv.bias, backend=backend))


class _Depthwise(nn.Module):
    """Holds the convolution under its name in the checkpoints."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)


def unit_backend(x: Tensor, ops: str) -> str:
    """The backend of the depthwise units, whose fused kernels are for the CPU and for CUDA: on
    other devices the network of the fused ops takes torch's convolutions in their place."""
    return "eager" if ops == "fused" and x.device.type not in ("cpu", "cuda", "meta") else ops


class SpatialAttention(nn.Module):
    """1x1 convolution, GELU, gating unit, 1x1, plus the input: [B, C, H, W] to the same."""

    def __init__(self, channels: int, gating_unit: nn.Module) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = gating_unit
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj_2(self.spatial_gating_unit(self.activation(self.proj_1(x)))) + x


class Block(nn.Module):
    """Attention and MLP, each behind a batch norm and inside a scaled residual branch.

    Shapes:
        [B, channels, H, W] to the same.
    """

    def __init__(
        self,
        channels: int,
        mlp_ratio: int,
        drop_path: float,
        gating_unit: Callable[[int, str], nn.Module],
        ops: str = "fused",
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.attn = SpatialAttention(channels, gating_unit(channels, ops))
        self.drop_path = StochasticDepth(drop_path, "row")
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = Mlp(channels, channels * mlp_ratio, ops)
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), 1e-2))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), 1e-2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * self.attn(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """A strided, overlapping convolution and a batch norm: [B, C, H, W] to
    [B, out_channels, ceil(H / stride), ceil(W / stride)]."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


class LargeKernelBackbone(Backbone):
    """Four stages, each an embedding, blocks and a layer norm over the channels; subclasses say
    what the first embedding, of stride 4, and the gating units are.

    Args:
        widths: channels of the stages.
        depths: blocks of each stage.
        mlp_ratios: hidden over outer channels of each stage's MLPs.
        drop_path: probability of dropping a branch in the last block; it grows linearly from 0.
        ops: backend of the depthwise units: ``"fused"``, ``"eager"`` or ``"reference"``.

    Shapes:
        [B, 3, H, W] to four maps [B, widths[i], ceil(H / 2^(i+2)), ceil(W / 2^(i+2))].
    """

    norm_eps: float

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[int] = (8, 8, 4, 4),
        drop_path: float = 0.1,
        ops: str = "fused",
    ) -> None:
        super().__init__()
        self.channels = tuple(widths)
        last = sum(depths) - 1
        rates = [drop_path * i / last for i in range(last + 1)]
        for i, (width, ratio, depth) in enumerate(zip(widths, mlp_ratios, depths, strict=True)):
            embed = PatchEmbed(widths[i - 1], width, 3, 2) if i else self.stem(width)
            blocks = [Block(width, ratio, rates.pop(0), self.gate, ops) for _ in range(depth)]
            setattr(self, f"patch_embed{i + 1}", embed)
            setattr(self, f"block{i + 1}", nn.ModuleList(blocks))
            setattr(self, f"norm{i + 1}", ChannelLayerNorm(width, eps=self.norm_eps))
        self.apply(_initialise)

    def stem(self, channels: int) -> nn.Module:
        raise NotImplementedError

    def gate(self, channels: int, ops: str) -> nn.Module:
        raise NotImplementedError

    def stages(self) -> list[tuple[nn.Module, nn.ModuleList, ChannelLayerNorm]]:
        """Embedding, blocks and norm of each stage."""
        return [
            (
                getattr(self, f"patch_embed{i}"),
                getattr(self, f"block{i}"),
                getattr(self, f"norm{i}"),
            )
            for i in range(1, 5)
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for embed, blocks, norm in self.stages():
            x = embed(x)
            for block in blocks:
                x = block(x)
            x = norm(x)
            features.append(x)
        return features


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, std=math.sqrt(2 * module.groups / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
