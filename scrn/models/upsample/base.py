"""What the upsamplers have in common."""

from __future__ import annotations

from torch import nn

from scrn_ops._core.checks import check_backend


class Upsampler(nn.Module):
    """Keeps and checks the options of every upsampler."""

    def __init__(
        self,
        low_channels: int,
        high_channels: int,
        *,
        add_skip: bool = True,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        if add_skip and low_channels != high_channels:
            raise ValueError(
                "add_skip: expected low_channels == high_channels, got "
                f"{low_channels} and {high_channels}; add_skip=False returns the aligned low alone"
            )
        check_backend(backend)
        self.add_skip = add_skip
        self.backend = backend
