"""Autocast: the arguments that are features are cast, and no others.

torch's generic rule for an operator would cast coordinates, statistics and embeddings, too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .checks import AUTOCAST_DEVICES, autocast_features, without_autocast

_library = torch.library.Library("scrn_ops", "IMPL")


def register_autocast(name: str, features: tuple[int, ...]) -> None:
    """``features``: the places of those among the operator's arguments. Without any, the rule
    keeps autocast away from what the operator consists of."""
    operator = getattr(torch.ops.scrn_ops, name).default

    def register(device: str) -> None:
        def rule(*args: Any) -> Any:
            cast = [
                autocast_features(arg) if i in features and isinstance(arg, Tensor) else arg
                for i, arg in enumerate(args)
            ]
            with without_autocast(device):
                return operator(*cast)

        _library.impl(name, rule, f"Autocast{device.upper()}")

    for device in AUTOCAST_DEVICES:
        register(device)
