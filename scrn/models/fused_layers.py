"""Inference forms of the parts that :func:`scrn.models.fuse` replaces.

They work in place where they can, and take no gradients. A large map that is allocated anew
costs more than the arithmetic on it: on the CPU the kernel has to map and clear its pages. In
channels_last the wide hidden maps are therefore computed in bands of rows that stay in the cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scrn_ops import SemanticRefinement, depthwise_gelu, semantic_refine

from .backbones.large_kernel import Block, Mlp, unit_backend
from .backbones.mscan import MultiScaleGate
from .backbones.van import LargeKernelGate
from .conv_folding import channel_affine, fold_after, fold_before, scale_output, side_by_side
from .layers import upsample
from .packed_conv import PackedConv2d

# Elements of a band's hidden map: 16 MB, within the caches and below malloc's limit for reuse.
_BAND = 1 << 22


class FusedGate(nn.Module):
    """A gating unit whose product, and without the fused op also whose sums, overwrite maps that
    are no longer needed."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        if not isinstance(gate, MultiScaleGate | LargeKernelGate):
            raise TypeError(f"gate: expected a gating unit, got {type(gate).__name__}")
        self.gate = gate
        self.last = "conv3" if isinstance(gate, MultiScaleGate) else "conv1"
        setattr(gate, self.last, PackedConv2d.of(getattr(gate, self.last)))

    @property
    def project(self) -> PackedConv2d:
        last: PackedConv2d = getattr(self.gate, self.last)
        return last

    def uncalled(self, x: Tensor) -> list[nn.Conv2d]:
        """The convolutions that an op computes without calling them."""
        fused = unit_backend(x, self.gate.backend) != "eager"
        return self.gate.convolutions() if fused else []

    def forward(self, x: Tensor) -> Tensor:
        if unit_backend(x, self.gate.backend) != "eager":
            return self.project(self.gate.context(x), times=x)
        local = self.gate.conv0(x)
        if isinstance(self.gate, LargeKernelGate):
            return self.project(self.gate.conv_spatial(local), times=x)
        branches = [
            getattr(self.gate, f"conv{i}_2")(getattr(self.gate, f"conv{i}_1")(local))
            for i in range(len(self.gate.strips))
        ]
        for branch in branches:
            local.add_(branch)
        del branches
        return self.project(local, times=x)


class FusedMlp(nn.Module):
    """The MLP of a block with its norm, scale and shortcut: ``x + scale * mlp(norm(x))``."""

    def __init__(self, norm: nn.BatchNorm2d, mlp: Mlp, scale: Tensor) -> None:
        super().__init__()
        self.fc1 = PackedConv2d.of(fold_before(norm, mlp.fc1))
        self.depthwise = PackedConv2d.of(mlp.dwconv.dwconv)
        self.depthwise.activation = "gelu"
        self.fc2 = PackedConv2d.of(scale_output(mlp.fc2, scale))
        self.backend = mlp.backend

    def uncalled(self, x: Tensor) -> list[nn.Conv2d]:
        """The convolutions that an op computes without calling them."""
        return [] if unit_backend(x, self.backend) == "eager" else [self.depthwise]

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if (
            x.device.type != "cpu"
            # Before the rows are counted: a program of any size must not depend on it.
            or torch.compiler.is_compiling()
            or (rows := max(4, _BAND // (self.fc1.out_channels * width))) >= height
            or not x.is_contiguous(memory_format=torch.channels_last)
        ):
            return self.fc2(self._activated(self.fc1(x)), onto=x)
        output = torch.empty_like(x)
        for sample, result in zip(x.split(1), output.split(1), strict=True):
            for start in range(0, height, rows):
                self._band(sample, result, start, min(start + rows, height))
        return output

    def _activated(self, hidden: Tensor) -> Tensor:
        """The depthwise convolution and GELU; on the CPU over the map that they are of. On a GPU
        that takes longer, and torch's convolution has a second map as well."""
        backend = unit_backend(hidden, self.backend)
        conv = self.depthwise
        if backend == "eager":
            return conv(hidden)
        # An operator that overwrites its argument has no translation to ONNX.
        overwrites = hidden.device.type == "cpu" and not torch.compiler.is_exporting()
        out = hidden if overwrites else None
        return depthwise_gelu(hidden, conv.weight, conv.bias, out=out, backend=backend)

    def _band(self, x: Tensor, output: Tensor, start: int, stop: int) -> None:
        height = x.shape[2]
        first, last = max(start - 1, 0), min(stop + 1, height)
        hidden = self._activated(self.fc1(x[:, :, first:last]))
        # The zeros of the convolution's padding are right at the map's edges alone.
        branch = self.fc2(hidden[:, :, start - first : stop - first])
        torch.add(x[:, :, start:stop], branch, out=output[:, :, start:stop])


class FusedBlock(nn.Module):
    """A block of MSCAN or VAN without norms and scales."""

    shortcut: Tensor

    def __init__(self, block: Block) -> None:
        super().__init__()
        attention, scale = block.attn, block.layer_scale_1.detach()
        self.proj_1 = PackedConv2d.of(fold_before(block.norm1, attention.proj_1))
        self.proj_1.activation = "gelu"
        self.gate = FusedGate(attention.spatial_gating_unit)
        # x + scale * (proj_2(...) + norm1(x)): the attention's own shortcut is affine in x. In a
        # half type it is added to x apart, since 1 and a little is 1 there.
        slope, shift = channel_affine(block.norm1)
        self.proj_2 = PackedConv2d.of(scale_output(attention.proj_2, scale, scale * shift))
        self.register_buffer("shortcut", (scale * slope).to(scale.dtype)[:, None, None])
        self.mlp = FusedMlp(block.norm2, block.mlp, block.layer_scale_2.detach())

    def forward(self, x: Tensor) -> Tensor:
        gated = self.gate(self.proj_1(x))
        if x.dtype.itemsize > 2:
            return self.mlp(self.proj_2(gated).addcmul_(x, 1 + self.shortcut))
        return self.mlp(self.proj_2(gated, onto=x * self.shortcut.to(x.dtype)).add_(x))


class FusedRefinement(nn.Module):
    """:class:`scrn_ops.SemanticRefinement` with both hidden convolutions in one."""

    def __init__(self, module: SemanticRefinement) -> None:
        super().__init__()
        self.compress_low = module.compress_low
        self.compress_high = module.compress_high
        self.hidden = PackedConv2d.of(
            side_by_side(*map(_first_layer, (module.offset, module.mask)))
        )
        self.hidden.activation = "relu"
        self.offset = module.offset[3]
        self.mask = module.mask[3]
        self.add_skip = module.add_skip
        self.align_corners = module.align_corners
        self.backend = module.backend

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        compressed = upsample(self.compress_low(low), high.shape[2:], self.align_corners)
        features = torch.cat((compressed, self.compress_high(high)), dim=1)
        for_offset, for_mask = self.hidden(features).chunk(2, dim=1)
        return semantic_refine(
            low,
            self.offset(for_offset),
            self.mask(for_mask),
            high if self.add_skip else None,
            mask_is_logits=True,
            align_corners=self.align_corners,
            backend=self.backend,
        )


def _first_layer(branch: Any) -> nn.Conv2d:
    return fold_after(branch[0], branch[1])
