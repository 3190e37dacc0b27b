"""The attention with its convolutions, ready for other people's models."""

from __future__ import annotations

from torch import Tensor, nn

from .._core import checks
from .functional import whitened_attention


class DisentangledNonLocal(nn.Module, checks.Unscriptable):
    r"""Attention between all pixels of a map, by whitened embeddings and a unary term.

    Four 1x1 convolutions make queries, keys, unary logits and values of the map, and
    :func:`scrn_ops.whitened_attention` does the rest. Those of queries, keys and logits have no
    bias: the whitening, and the softmax over the logits, would cancel it. The result is that of
    Eq. 9 alone: a residual or an output convolution is left to the caller.

    Args:
        in_channels: of the map.
        key_channels: of queries and keys.
        value_channels: of the result.
        use_scale: divide the scores by sqrt(key_channels).
        temperature: divide the scores by this, too.
        backend: of :func:`scrn_ops.whitened_attention`.

    Shapes:
        [B, in_channels, H, W] to [B, value_channels, H, W]. NCHW and channels_last maps are
        read and written as they are.

    Raises:
        ValueError: widths below 1, a temperature that is not above 0, or an unknown backend; in
            ``forward``, a map of another rank or number of channels, or without pixels.
        TypeError: a flag that is no bool, a temperature that is no number; in ``forward``, no
            tensor, or one of another dtype than the module.
    """

    def __init__(
        self,
        in_channels: int,
        key_channels: int,
        value_channels: int,
        *,
        use_scale: bool = False,
        temperature: float = 1.0,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        widths = {
            "in_channels": in_channels,
            "key_channels": key_channels,
            "value_channels": value_channels,
        }
        checks.check_widths(widths)
        checks.check_flag("use_scale", use_scale)
        checks.check_number("temperature", temperature, "; a learned temperature goes into query")
        if not temperature > 0:
            raise ValueError(f"temperature: expected a number above 0, got {temperature}")
        checks.check_backend(backend)
        self.in_channels = in_channels
        self.scale = (key_channels**-0.5 if use_scale else 1.0) / temperature
        self.backend = backend
        self.query = nn.Conv2d(in_channels, key_channels, 1, bias=False)
        self.key = nn.Conv2d(in_channels, key_channels, 1, bias=False)
        self.unary = nn.Conv2d(in_channels, 1, 1, bias=False)
        self.value = nn.Conv2d(in_channels, value_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        checks.check_map_channels("x", x, self.in_channels, self.query)
        query, key, value = (
            conv(x).flatten(2).transpose(1, 2) for conv in (self.query, self.key, self.value)
        )
        unary = self.unary(x).flatten(1)
        y = whitened_attention(query, key, unary, value, scale=self.scale, backend=self.backend)
        return y.transpose(1, 2).unflatten(2, x.shape[2:])

    def extra_repr(self) -> str:
        text = f"scale={self.scale:g}"
        return text if self.backend is None else f"{text}, backend={self.backend!r}"
