"""The decoder: a feature pyramid from the context map down to stride 4."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from .upsample import create_upsampler


class Decoder(nn.Module):
    """Upsamples the context map three times, merging a stage of the backbone each time.

    Stage l is projected by a lateral 1x1 convolution, merged by the upsampler, and followed by
    a convolution: 3x3 at strides 16 and 8, 1x1 at stride 4. All have a batch norm and a ReLU.

    Args:
        channels: widths of the stages at strides 4, 8 and 16.
        width: of the context map and of every result.
        upsampler: see :func:`scrn.models.create_upsampler`.
        backend: of the upsamplers' ops.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        upsampler: str,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(Conv2dNormActivation(c, width, 1) for c in channels)
        self.upsamplers = nn.ModuleList(
            create_upsampler(upsampler, width, width, backend=backend) for _ in channels
        )
        self.convs = nn.ModuleList(Conv2dNormActivation(width, width, size) for size in (1, 3, 3))

    def forward(self, context: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps of strides 4, 8, 16 and 32, the last one being ``context`` itself.

        Args:
            context: [B, width, H_4, W_4].
            features: [B, channels[i], H_i, W_i] for strides 4, 8 and 16.
        """
        maps = [context]
        levels = zip(self.laterals, self.upsamplers, self.convs, features, strict=True)
        for lateral, upsampler, conv, feature in reversed(list(levels)):
            maps.insert(0, conv(upsampler(maps[0], lateral(feature))))
        return maps
