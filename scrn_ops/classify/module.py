"""The loss as a module, ready for other people's trainers."""

from __future__ import annotations

from torch import Tensor, nn

from .._core.checks import Unscriptable, check_backend
from . import checks
from .functional import upsampled_cross_entropy


class UpsampledCrossEntropy(nn.Module, Unscriptable):
    """:func:`scrn_ops.upsampled_cross_entropy` with its options, in the place of
    ``torch.nn.CrossEntropyLoss`` behind an ``interpolate``.

    Args:
        weight, ignore_index, reduction, label_smoothing, align_corners, backend: of that function;
            ``weight`` becomes a buffer.

    Shapes:
        logits [B, K, h, w] and target [B, H, W] to a scalar, or to [B, H, W].

    Raises:
        ValueError, TypeError: options that do not fit; in ``forward``, tensors that do not.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        align_corners: bool = False,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        checks.check_options(reduction, ignore_index, label_smoothing, align_corners)
        check_backend(backend)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing
        self.align_corners = align_corners
        self.backend = backend

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return upsampled_cross_entropy(
            logits,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            align_corners=self.align_corners,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        text = f"ignore_index={self.ignore_index}, reduction={self.reduction!r}"
        if self.label_smoothing:
            text += f", label_smoothing={self.label_smoothing:g}"
        return text if self.backend is None else f"{text}, backend={self.backend!r}"
