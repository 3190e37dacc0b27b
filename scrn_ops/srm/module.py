"""The semantic refinement module, ready for other people's models."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._core import checks
from .checks import check_low_and_high
from .functional import semantic_refine

__all__ = ["OffsetConv2d", "SemanticRefinement"]


class SemanticRefinement(nn.Module, checks.Unscriptable):
    r"""Brings a low-resolution map to the size of a high-resolution one, aligned to it.

    .. math:: \mathrm{forward}(G, F) = U(p + D(p)) + F(p), \qquad U = \mathrm{up}(G)

    Both maps are compressed by 1x1 convolutions and concatenated as
    :math:`[\mathrm{up}(c_l(G)), c_h(F)]`; two branches of a 3x3 convolution, batch norm and
    ReLU each predict from it the offsets (by another 3x3 convolution, computed in float32 also
    under autocast) and the logits of the 9 weights of every pixel's neighbours (by a 1x1
    convolution). :func:`scrn_ops.semantic_refine` does the rest. The last offset convolution
    starts at zero: an untrained module is bilinear upsampling (plus ``high``).

    The compression of ``low`` runs at its own resolution and its narrow result is upsampled:
    the same values as the other way round, at the cost of h * w instead of H * W pixels.

    Args:
        low_channels: channels of ``low``, and of the result.
        high_channels: channels of ``high``.
        compress: width of each compressed map.
        hidden: width of the branches.
        add_skip: add ``high`` to the result; needs ``low_channels == high_channels``.
        align_corners: the convention of the upsampling.
        backend: of :func:`scrn_ops.semantic_refine`.

    Shapes:
        low [B, low_channels, h, w], high [B, high_channels, H, W] with h <= H and w <= W, to
        [B, low_channels, H, W] in the layout of ``low``.

    Raises:
        ValueError: widths below 1, an unknown backend, or ``add_skip`` where the channels
            differ; in ``forward``, maps of another rank, number of channels, batch, size or device.
        TypeError: a flag that is no bool; in ``forward``, not tensors, or of another dtype than
            the module.
    """

    def __init__(
        self,
        low_channels: int,
        high_channels: int,
        *,
        compress: int = 64,
        hidden: int = 32,
        add_skip: bool = True,
        align_corners: bool = False,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        widths = {
            "low_channels": low_channels,
            "high_channels": high_channels,
            "compress": compress,
            "hidden": hidden,
        }
        checks.check_widths(widths)
        checks.check_flag("add_skip", add_skip)
        checks.check_flag("align_corners", align_corners)
        if add_skip and low_channels != high_channels:
            raise ValueError(
                "add_skip: expected low_channels == high_channels, got "
                f"{low_channels} and {high_channels}; add_skip=False returns the aligned low alone"
            )
        checks.check_backend(backend)
        self.low_channels = low_channels
        self.high_channels = high_channels
        self.add_skip = add_skip
        self.align_corners = align_corners
        self.backend = backend
        self.compress_low = nn.Conv2d(low_channels, compress, 1)
        self.compress_high = nn.Conv2d(high_channels, compress, 1)
        self.offset = nn.Sequential(
            nn.Conv2d(2 * compress, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            OffsetConv2d(hidden, 2, 3, padding=1),
        )
        self.mask = nn.Sequential(
            nn.Conv2d(2 * compress, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 9, 1),
        )

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """``low`` upsampled to the size of ``high`` and aligned to it, plus ``high`` if
        ``add_skip``."""
        offset, logits = self.predict(low, high)
        return semantic_refine(
            low,
            offset,
            logits,
            high if self.add_skip else None,
            mask_is_logits=True,
            align_corners=self.align_corners,
            backend=self.backend,
        )

    def predict(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The offsets [B, 2, H, W], in pixels, and the mask's logits [B, 9, H, W]."""
        checks.check_map_channels("low", low, self.low_channels, self.compress_low)
        checks.check_map_channels("high", high, self.high_channels, self.compress_high)
        check_low_and_high(low, high)
        compressed = F.interpolate(
            self.compress_low(low),
            size=high.shape[2:],
            mode="bilinear",
            align_corners=self.align_corners,
        )
        features = torch.cat((compressed, self.compress_high(high)), dim=1)
        return self.offset(features), self.mask(features)

    def extra_repr(self) -> str:
        text = (
            f"{self.low_channels}, {self.high_channels}, add_skip={self.add_skip}, "
            f"align_corners={self.align_corners}"
        )
        return text if self.backend is None else f"{text}, backend={self.backend!r}"


class OffsetConv2d(nn.Conv2d, checks.Unscriptable):
    """A convolution that predicts offsets: it computes in float32 at least, also under autocast,
    since offsets in a half type would lose their fraction, and it starts at zero."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        bias = None if self.bias is None else self.bias.to(dtype)
        with checks.without_autocast(input.device.type):
            return self._conv_forward(input.to(dtype), self.weight.to(dtype), bias)
