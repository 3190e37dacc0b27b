"""Models with all that prediction needs: network, classes, and the normalisation of its input."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from .. import SCRN
from ..card import CARD, read_card
from ..data.classes import Color, palette
from ..data.datasets import DATASETS
from ..data.errors import DataError, reading
from ..models.network import FusedSCRN
from ..models.saving import WEIGHTS
from .inference import Inference, fastest_layout
from .prediction import ImageLike, Prediction, predict_image

PACKAGED = "packaged"
"""The name under which :func:`load_model` finds the weights that come with the package."""

PACKAGED_FOLDER = Path(__file__).resolve().parents[1] / "weights" / "camvid"
# The hyper-parameters of a training that are the network's.
_NETWORK = ("backbone", "upsampler", "context", "num_classes", "ops")
_DATA = "SegmentationData"  # The name under which Lightning keeps what the data module tells.
# Settings that a recipe leaves out: paths, and what does not bear on the result.
_NOT_OF_THE_RECIPE = {"root", "workers", "weights", "output", "visualize", "baseline"}


@dataclass
class SavedModel:
    """A network in evaluation mode, with what belongs to it.

    Attributes:
        classes: names of the network's outputs.
        mean, std: of images in [0, 1], per channel.
        short_side: pixels to which the short side of a photo is brought; None keeps its size.
        about: where the weights come from.
        colors: RGB, in which pictures show the classes; by default the published ones, or spread
            hues.
    """

    model: SCRN
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    short_side: int | None = None
    about: dict[str, Any] = field(default_factory=dict)
    colors: tuple[Color, ...] = ()

    def __post_init__(self) -> None:
        self.colors = self.colors or palette(self.classes)

    def predict(
        self,
        image: ImageLike,
        *,
        inference: Inference | None = None,
        short_side: int | None = None,
        white: float | None = None,
    ) -> Prediction:
        """The classes of one image, as a result that a notebook shows as a picture.

        Args:
            image: the path of a file, a PIL image, a uint8 array ``[H, W]``, ``[H, W, 3]`` or
                ``[H, W, 4]``, of which the transparency is left out, or a uint8 tensor
                ``[3, H, W]``.
            inference: a sliding window, scales, mirrored.
            short_side: pixels to which the network's input is brought; 0 keeps the image's size,
                and None takes the model's own setting.
            white: which value of a file of 16 bits a channel is white; one of 8 bits does without.

        Raises:
            TypeError: something else than these, or values of another type.
            ValueError: another shape, or a file that is no image.
        """
        return predict_image(self, image, inference, short_side, white)

    def fuse(self, dtype: torch.dtype | None = None) -> SavedModel:
        """The same with the network's :meth:`scrn.SCRN.fuse`, which predicts in less time.

        Raises:
            ValueError: another ``dtype`` for a network that is fused already.
        """
        if isinstance(self.model, FusedSCRN) and dtype in (None, self.model._half_type):
            return self
        return replace(self, model=self.model.fuse(dtype))


def load_model(path: str | Path = PACKAGED, device: str | torch.device = "cpu") -> SavedModel:
    """A saved folder, a training checkpoint (``.ckpt``), or ``"packaged"``: the weights that come
    with the package."""
    path = PACKAGED_FOLDER if str(path) == PACKAGED else Path(path)
    if path.is_dir():
        saved = _load_folder(path)
    elif path.is_file():
        saved = load_checkpoint(path)
    else:
        raise DataError(path, "a saved model's folder or a training checkpoint", "no such file")
    saved.model = saved.model.to(device).to(memory_format=fastest_layout(device)).eval()
    return saved


def save_model(saved: SavedModel, folder: str | Path, half: bool = True) -> None:
    """Writes the folder that :func:`load_model` reads; in half precision by default.

    Raises:
        ValueError: a weight is beyond the range of half precision.
    """
    folder = Path(folder)
    model = saved.model
    if half:
        model = copy.deepcopy(model).half()
        for name, value in model.state_dict().items():
            if not value.isfinite().all():
                raise ValueError(f"model: expected weights within half precision's range: {name}")
    model.save_pretrained(
        folder,
        classes=saved.classes,
        mean=saved.mean,
        std=saved.std,
        short_side=saved.short_side,
        colors=saved.colors,
        about=saved.about,
    )


def load_checkpoint(path: Path) -> SavedModel:
    """A training checkpoint's network, with the averaged weights where the run averaged them."""
    if not path.is_file():
        raise DataError(path, "a training checkpoint", "no such file")
    with reading(path, "a checkpoint of scrn fit"):
        return _from_checkpoint(torch.load(path, map_location="cpu", weights_only=True))


def _from_checkpoint(content: dict[str, Any]) -> SavedModel:
    settings, data = content["hyper_parameters"], content["datamodule_hyper_parameters"]
    model = SCRN(**{name: settings[name] for name in _NETWORK})
    weights = {
        name.removeprefix("model."): value
        for name, value in content["state_dict"].items()
        if name.startswith("model.")
    }
    model.load_state_dict(weights)
    classes, colors = _classes(content)
    recipe = {
        name: value
        for name, value in (settings | data).items()
        # Lightning's own settings begin with an underscore.
        if name not in _NOT_OF_THE_RECIPE and not name.startswith("_")
    }
    about = {
        "data": data["name"],
        # A path means nothing elsewhere.
        "start": Path(settings["weights"]).name if settings.get("weights") else None,
        "steps": content["global_step"],
        "averaged": "averaging_state" in content,
        "recipe": recipe,
    }
    return SavedModel(
        model,
        classes,
        tuple(data["mean"]),
        tuple(data["std"]),
        data["short_side"],
        about,
        colors,
    )


def _classes(content: dict[str, Any]) -> tuple[tuple[str, ...], tuple[Color, ...]]:
    found = content.get(_DATA)
    if found is not None:
        return found["classes"], found["colors"]
    if content["datamodule_hyper_parameters"]["name"] not in DATASETS:
        raise KeyError(f"{_DATA}, which names the classes")
    # The checkpoint is older than data sets of one's own.
    return DATASETS[content["datamodule_hyper_parameters"]["name"]].classes, ()


def _load_folder(folder: Path) -> SavedModel:
    card_file = folder / CARD
    if not card_file.is_file():
        raise DataError(
            card_file,
            "the classes and the normalisation of a model, which SCRN.save_pretrained and scrn "
            "export write",
            "no such file",
        )
    with reading(folder, "a folder of scrn export"):
        return _from_folder(folder)


def _from_folder(folder: Path) -> SavedModel:
    model = SCRN(**json.loads((folder / "config.json").read_text()))
    card = read_card(folder, model.num_classes)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return SavedModel(
        model.float(),
        tuple(card["classes"]),
        tuple(card["mean"]),
        tuple(card["std"]),
        card["short_side"],
        card["about"],
        tuple((r, g, b) for r, g, b in card.get("colors", ())),  # which older folders lack
    )
