"""Autocast: features are cast, coordinates and the embeddings that attention whitens never.

torch's generic rule for an operator would cast the offsets, too: a half type would round an
offset of 40 pixels to a multiple of 1/32 or 1/4. Queries and keys in float32 are cast by the
kernels, after their means were taken off.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._checks import AUTOCAST_DEVICES, autocast_features, without_autocast

# Which arguments of the operator are features. The attention's backward is here for the products
# that it consists of, which must not be cast.
_FEATURES = {
    "offset_sample": (0,),
    "semantic_refine": (0, 3),
    "multi_scale_depthwise": (0,),
    "large_kernel_depthwise": (0,),
    "depthwise_gelu": (0,),
    "whitened_attention": (3,),
    "whitened_attention_backward": (),
}

_library = torch.library.Library("scrn_ops", "IMPL")


def _register(name: str, device: str) -> None:
    operator = getattr(torch.ops.scrn_ops, name).default
    features = _FEATURES[name]

    def rule(*args: Any) -> Any:
        cast = [
            autocast_features(arg) if i in features and isinstance(arg, Tensor) else arg
            for i, arg in enumerate(args)
        ]
        with without_autocast(device):
            return operator(*cast)

    _library.impl(name, rule, f"Autocast{device.upper()}")


for _name in _FEATURES:
    for _device in AUTOCAST_DEVICES:
        _register(_name, _device)
