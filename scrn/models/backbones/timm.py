"""Any feature extractor of timm as a backbone."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import in_layout_of
from .base import Backbone

STRIDES = (4, 8, 16, 32)
_ODD_SIZE, _EVEN_SIZE = (65, 97), (96, 128)


class TimmBackbone(Backbone):
    """The maps of strides 4, 8, 16 and 32 of a timm model, with random weights.

    Args:
        name: a model that timm can build with ``features_only=True``. Where it offers several
            maps of a stride, the deepest is taken; layers behind the last one are left out.
            One that only takes multiples of 32 sees the image padded by zeros, at the right
            and the bottom, and the maps are cropped.

    Shapes:
        [B, 3, H, W] to four maps [B, channels[i], H_i, W_i].

    Raises:
        ModuleNotFoundError: timm is not installed.
        ValueError: timm has no such model, no such maps of it, or it takes one size only.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        timm = _import_timm()
        self.name = name
        offered = _features(timm, name).feature_info
        reductions = offered.reduction()
        missing = [stride for stride in STRIDES if stride not in reductions]
        if missing:
            raise ValueError(
                f"backbone: expected a timm model with maps of strides {STRIDES}, "
                f"got {name!r} with strides {tuple(reductions)}"
            )
        deepest = [len(reductions) - 1 - reductions[::-1].index(s) for s in STRIDES]
        indices = [offered.out_indices[i] for i in deepest]
        self.body = _features(timm, name, out_indices=indices)
        self.channels = tuple(self.body.feature_info.channels())
        self.channels_at_end = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        self.pads = self._needs_padding()

    def _needs_padding(self) -> bool:
        training = self.body.training
        try:
            for size in (_ODD_SIZE, _EVEN_SIZE):
                error = _failure(self.body.eval(), size)
                if error is None:
                    return size == _EVEN_SIZE
        finally:
            self.body.train(training)
        raise ValueError(
            f"backbone: expected a timm model for images of any size, got {self.name!r}: {error}"
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        height, width = x.shape[2:]
        if self.pads:
            x = F.pad(x, (0, -width % 32, 0, -height % 32))
        features = list(self.body(x))
        if self.channels_at_end:
            features = [f.permute(0, 3, 1, 2) for f in features]
        if self.pads:
            features = [
                f[:, :, : -(-height // stride), : -(-width // stride)]
                for f, stride in zip(features, STRIDES, strict=True)
            ]
        return [in_layout_of(f, x) for f in features]

    def classifier_names(self) -> set[str]:
        """Parameters and buffers of the whole timm model that this backbone leaves out."""
        whole = _import_timm().create_model(self.name)
        # features_only joins the levels of a name by underscores, at a depth of its own.
        kept = {key.replace(".", "_") for key in self.body.state_dict()}
        return {key for key in whole.state_dict() if key.replace(".", "_") not in kept}


def _import_timm() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a 'timm:' backbone needs timm, which is not installed: pip install timm"
        ) from error
    return timm


def _features(timm: ModuleType, name: str, **options: object) -> Any:
    if not timm.is_model(name):
        raise ValueError(f"backbone: timm {timm.__version__} has no model {name!r}")
    try:
        try:
            # Models with windows check the image's size, though they need not.
            return timm.create_model(name, features_only=True, strict_img_size=False, **options)
        except TypeError:
            return timm.create_model(name, features_only=True, **options)
    except (AttributeError, RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"backbone: timm cannot build {name!r} as a feature extractor: {error}"
        ) from error


@torch.no_grad()
def _failure(body: nn.Module, size: tuple[int, int]) -> Exception | None:
    try:
        body(torch.zeros(1, 3, *size))
    except (RuntimeError, AssertionError, ValueError) as error:
        return error
    return None
