"""Saving a network to a folder, and building it from one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin
from safetensors.torch import save_model

from ..card import CARD, IMAGENET_MEAN, IMAGENET_STD, README, read_card, write_card

if TYPE_CHECKING:
    from typing_extensions import Self

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MODEL_CARD = "README.md"  # which Hugging Face leaves alone where there is one


class SavedFolder(PyTorchModelHubMixin):
    """``save_pretrained`` and ``from_pretrained`` of Hugging Face, with the folders that ``scrn
    predict`` reads, too."""

    num_classes: int
    _card: dict[str, Any] = {}  # noqa: RUF012  # read alone: a save gives the network its own

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        short_side: int | None = None,
        colors: Sequence[Sequence[int]] | None = None,
        about: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Writes weights (safetensors), arguments, and what prediction needs beside them.

        What is left out is what was said at an earlier save, which is what an upload to the Hub
        relies on, or what the folder said that the network came from.

        Args:
            save_directory: the folder; made where it does not exist.
            classes: names of the outputs; by default "class 0" and so on.
            mean, std: of images in [0, 1], per channel, as the network was trained with; by
                default ImageNet's.
            short_side: pixels to which prediction brings a photo's short side; None: as it is.
            colors: RGB, in which pictures show the classes; by default spread hues.
            about: where the weights come from.
            options: of Hugging Face's method.

        Raises:
            TypeError: classes is a single text.
            ValueError: another number of names or colours than of classes, or not three channels.
        """
        if isinstance(classes, str):
            raise TypeError(f"classes: expected a sequence of names, got {classes!r}")
        given = {
            "classes": classes, "mean": mean, "std": std, "short_side": short_side,
            "colors": colors, "about": about,
        }  # fmt: skip
        card: dict[str, Any] = {
            "classes": [f"class {i}" for i in range(self.num_classes)], "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD, "short_side": None, "colors": (), "about": {},
        }  # fmt: skip
        card |= self._card | {name: value for name, value in given.items() if value is not None}
        names = card["classes"]
        if len(names) != self.num_classes:
            raise ValueError(f"classes: expected {self.num_classes} names, got {len(names)}")
        if len(card["colors"]) not in (0, self.num_classes):
            found = len(card["colors"])
            raise ValueError(f"colors: expected {self.num_classes} or none, got {found}")
        for name in ("mean", "std"):
            if len(card[name]) != 3:
                raise ValueError(f"{name}: expected 3 numbers, got {len(card[name])}")
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        push, repository = options.pop("push_to_hub", False), options.pop("repo_id", None)
        said = {"classes": names} | (options.pop("model_card_kwargs", None) or {})
        here: Any = {"model_card_kwargs": said, "config": options.pop("config", None)}
        # What fails or is interrupted while it is written leaves what was there before.
        with tempfile.TemporaryDirectory(prefix=".saving.", dir=folder) as whole:
            write_card(Path(whole), **card)
            super().save_pretrained(whole, **here)
            for name in (WEIGHTS, CONFIG, CARD, MODEL_CARD):
                if name != MODEL_CARD or not (folder / name).exists():
                    (Path(whole) / name).replace(folder / name)
        self._card = card
        if not push:
            return None
        return self.push_to_hub(repository or folder.resolve().name, **here, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        model: Any = self
        save_model(model, str(save_directory / WEIGHTS))
        (save_directory / WEIGHTS).chmod(0o644)  # safetensors leaves it to the owner alone

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """The network of a saved folder, or of a repository ``owner/name`` of the Hugging Face
        Hub, in evaluation mode.

        Args:
            pretrained_model_name_or_path: the folder or repository.
            options: ``ops`` other than the saved one; and those of Hugging Face's method.

        Raises:
            FileNotFoundError: no such folder, or one without a network.
            ValueError: an argument that the weights are not of, or names of other classes.
        """
        name = str(pretrained_model_name_or_path)
        options = {"strict": True} | options
        if Path(name).is_dir():
            _check_folder(Path(name), options)
            made = super().from_pretrained(name, **options)
            if (Path(name) / CARD).is_file():
                made._card = read_card(Path(name), made.num_classes)
            return made
        if name.startswith((".", "/", "~")) or name.count("/") != 1:
            raise FileNotFoundError(f"{name}: no such folder")
        try:
            return super().from_pretrained(name, **options)
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise FileNotFoundError(
                f"{name}: no such folder, and nothing came from the Hugging Face Hub ({reason})"
            ) from error

    def generate_model_card(self, *, classes: Sequence[str] = (), **options: Any) -> ModelCard:
        """The folder's README."""
        arguments: Any = self._hub_mixin_config
        facts = {key: arguments[key] for key in ("backbone", "context", "upsampler")}
        text = README.format(count=self.num_classes, classes=", ".join(classes), **facts)
        return ModelCard(text)


def _check_folder(folder: Path, options: dict[str, Any]) -> None:
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: expected the folder of a saved network, found no {' and no '.join(missing)}"
        )
    saved = json.loads((folder / CONFIG).read_text())
    for name, value in options.items():
        if name in saved and name != "ops" and value != saved[name]:
            raise ValueError(
                f"{name}: expected {saved[name]!r}, as the weights in {folder} have it, "
                f"got {value!r}"
            )
