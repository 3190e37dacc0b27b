"""The Lightning module: what a training, a validation and an evaluation step do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from scrn_ops._core.allocator import keep_freed_memory

from .. import SCRN, build_model
from ..data.datasets import SegmentationDataset
from ..losses import SegmentationLoss, balanced_weights
from ..metrics import SegmentationScores
from . import report
from .inference import Inference, predicted_labels
from .weights import load_model


class Segmentation(L.LightningModule):
    """A segmentation network, its loss and its optimiser.

    Args:
        backbone, upsampler, context, pretrained, ops: see :func:`scrn.build_model`.
        num_classes: the number of the data set's classes; another number ends the run. The
            ``scrn`` command takes the data set's where none is given.
        lr: learning rate of everything but the backbone.
        backbone_lr: learning rate of the backbone; None takes ``lr``.
        optimizer: "adam" (the paper's) or "adamw".
        weight_decay: of convolution and linear weights; norms and biases have none.
        power: of the polynomial decay to zero over all steps.
        warmup_steps: of linear warm-up.
        contrast_weight, temperature, max_anchors, min_pixels: see
            :class:`scrn.losses.SegmentationLoss`.
        freeze_norms: keeps all batch norms at their statistics (for data-parallel runs on devices
            without synchronised batch norm).
        channels_last: runs the network in that layout.
        window, stride, scales, flip: see :class:`scrn.engine.inference.Inference`.
        weights: a saved model's folder (see ``scrn export``) or a checkpoint, whose weights the
            whole network starts from; "packaged" takes those that come with the package. Where
            that model has another number of classes, the last layer is new, which is said.
        class_weights: weights of the classes in the cross-entropy; "balanced" takes them from the
            training set: its pixels, divided by the number of classes that occur and by the
            class's own pixels.
        output: folder for the evaluation's files; None writes none.
        visualize: number of validation images whose pictures are written there, too; where several
            processes evaluate, the images of the first one.
        baseline: folder or checkpoint of another model, evaluated and shown beside this one.
        seed: with a batch's number it decides all that a training step draws: anchors, and the
            paths that are dropped.
    """

    def __init__(
        self,
        backbone: str = "mscan_s",
        upsampler: Literal["bilinear", "fam", "align_fa", "srm"] = "srm",
        context: Literal[
            "f4", "none", "ppm", "dappm", "ccam", "dam", "crm", "crm_scaled", "crm_shortcut"
        ] = "crm",
        num_classes: int | None = None,
        pretrained: str | None = None,
        ops: Literal["fused", "eager", "reference"] = "fused",
        lr: float = 6e-5,
        backbone_lr: float | None = None,
        optimizer: Literal["adam", "adamw"] = "adam",
        weight_decay: float = 0.0,
        power: float = 0.9,
        warmup_steps: int = 0,
        contrast_weight: float = 1.0,
        temperature: float = 0.1,
        max_anchors: int = 1024,
        min_pixels: int = 2,
        freeze_norms: bool = False,
        channels_last: bool = True,
        window: tuple[int, int] | None = None,
        stride: tuple[int, int] | None = None,
        scales: tuple[float, ...] = (1.0,),
        flip: bool = False,
        weights: str | None = None,
        class_weights: list[float] | Literal["balanced"] | None = None,
        output: str | None = None,
        visualize: int = 0,
        baseline: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_classes is None:
            raise ValueError("num_classes: expected the number of the data set's classes, got None")
        self.save_hyperparameters()
        torch.manual_seed(seed)
        self.model = build_model(
            backbone,
            upsampler=upsampler,
            context=context,
            num_classes=num_classes,
            pretrained=pretrained,
            ops=ops,
        )
        self._new = [] if weights is None else self._start_from(weights)
        if contrast_weight == 0:
            # Data-parallel training takes no parameters that no loss depends on.
            self.model.embedding.requires_grad_(False)
        if isinstance(class_weights, str) and class_weights != "balanced":
            raise ValueError(
                f"class_weights: expected a list, 'balanced' or None, got {class_weights!r}"
            )
        fixed = None
        if class_weights is not None and not isinstance(class_weights, str):
            fixed = [float(each) for each in class_weights]
        if fixed is not None and len(fixed) != num_classes:
            raise ValueError(
                f"class_weights: expected {num_classes}, one a class, got {len(fixed)}"
            )
        self.loss = SegmentationLoss(
            contrast_weight, temperature, max_anchors, min_pixels, backend=ops, class_weights=fixed
        )
        sizes: Any = [tuple(size) if size else None for size in (window, stride)]
        self.inference = Inference(sizes[0], sizes[1], tuple(scales), flip)
        self.val_scores = SegmentationScores(num_classes)
        self.baseline_scores = SegmentationScores(num_classes) if baseline is not None else None
        # A module in a tuple is no part of this module and of its checkpoints.
        self._baseline: tuple[SCRN, ...] = ()
        if channels_last:
            self.model.to(memory_format=torch.channels_last)

    def _start_from(self, weights: str) -> list[str]:
        """Loads what is the same network; the names of what is new, for another class count."""
        new: list[str] = []
        found = load_model(weights).model.state_dict()
        if found.keys() == (own := self.model.state_dict()).keys():
            # The last layer alone depends on the number of classes.
            last = f"head.{len(self.model.head) - 1}."
            new = [n for n in own if n.startswith(last) and found[n].shape != own[n].shape]
            found |= {name: own[name] for name in new}
            if new:
                kept = len(own) - len(new)
                _say(
                    f"weights: {kept} of {len(own)} tensors of {weights}; new, for another number "
                    f"of classes: {', '.join(new)}"
                )
        try:
            self.model.load_state_dict(found)
        except RuntimeError as error:
            raise ValueError(f"weights: {weights} is of another network: {error}") from error
        return new

    def setup(self, stage: str) -> None:
        trainer: Any = self.trainer
        data, got = trainer.datamodule, self.hparams["num_classes"]
        if data is not None and got != (expected := len(data.classes)):
            # Too many would train, and too few fail at the first label beyond them.
            raise ValueError(f"num_classes: expected the data set's {expected}, got {got}")
        if stage == "fit" and self.hparams["class_weights"] == "balanced":
            if data is None:
                raise ValueError("class_weights: expected a list where there is no data module")
            _say(f"class_weights: counting the pixels of {len(data.train_set)} masks")
            weights = balanced_weights(data.train_set.count())
            self.loss.class_weights = weights.to(self.device)
            named = (f"{n} {w:.3g}" for n, w in zip(data.classes, weights.tolist(), strict=True))
            _say(f"class_weights: {', '.join(named)}")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._new = []
        # Before the weights, of which another class count would be another shape.
        data = getattr(self._trainer, "datamodule", None)
        if data is not None and (state := checkpoint.get(type(data).__qualname__)):
            data.load_state_dict(state)

    def on_validation_start(self) -> None:
        if self._new:
            raise ValueError(
                f"weights: expected a model of {self.hparams['num_classes']} classes, as nothing "
                f"trained its last layer, got {self.hparams['weights']}"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        hp: Any = self.hparams
        groups = parameter_groups(
            self.model, hp.lr, hp.backbone_lr if hp.backbone_lr is not None else hp.lr,
            hp.weight_decay,
        )  # fmt: skip
        kind = torch.optim.AdamW if hp.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(groups)
        total = self._total_steps()

        def factor(step: int) -> float:
            if step < hp.warmup_steps:
                return (step + 1) / hp.warmup_steps
            done = (step - hp.warmup_steps) / max(1, total - hp.warmup_steps)
            return max(0.0, 1.0 - done) ** hp.power

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _total_steps(self) -> int:
        # Not trainer.estimated_stepping_batches: it builds the loader before the checkpoint is
        # read, and a resumed run would then start its epoch again.
        trainer: Any = self.trainer
        limits = [trainer.max_steps] if trainer.max_steps >= 0 else []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            batches = trainer.datamodule.batches_per_epoch(trainer.world_size)
            limit = trainer.limit_train_batches
            batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
            limits.append(trainer.max_epochs * math.ceil(batches / trainer.accumulate_grad_batches))
        if not limits:
            raise ValueError(
                "max_epochs: expected a number of epochs, or of steps in max_steps, as the "
                f"learning rate decays to zero over them, got {trainer.max_epochs}"
            )
        return min(limits)

    def on_fit_start(self) -> None:
        self._new = []
        hp: Any = self.hparams
        count = sum(p.numel() for p in self.model.parameters()) / 1e6
        _say(f"network: {hp.backbone}, {hp.context}, {hp.upsampler}; {count:.1f} M parameters")
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()

    def on_train_epoch_start(self) -> None:
        if self.hparams["freeze_norms"]:
            for module in self.model.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # The seed depends on the step and on the batch's place in it alone: a resumed run draws
        # what the uninterrupted one would.
        parts = self.trainer.accumulate_grad_batches
        draw = self.global_step * parts + batch_idx % parts
        torch.manual_seed((self.hparams["seed"] * 1_000_003 + draw) * 4099 + self.global_rank)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        image, labels = batch
        if self.hparams["channels_last"]:
            image = image.contiguous(memory_format=torch.channels_last)
        if self.hparams["contrast_weight"]:
            logits, embedding = self.model(image, return_embedding=True, full_size=False)
        else:
            logits, embedding = self.model(image, full_size=False), None
        terms = self.loss(logits, labels, embedding)
        self.log_dict(
            {f"train/{name}": value for name, value in terms.items()},
            prog_bar=True,
            batch_size=len(image),
            sync_dist=True,
        )
        return terms["loss"]

    def on_validation_epoch_start(self) -> None:
        self.val_scores.reset()
        if self.baseline_scores is not None:
            self.baseline_scores.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        image, labels = batch
        if self.hparams["channels_last"]:
            image = image.contiguous(memory_format=torch.channels_last)
        size = (labels.shape[-2], labels.shape[-1])
        prediction = predicted_labels(self.model, image, self.inference, size)
        self.val_scores.update(prediction, labels)
        compared = None
        if self.baseline_scores is not None:
            other = self._load_baseline()
            compared = predicted_labels(other, image, self.inference, size)
            self.baseline_scores.update(compared, labels)
        if self._writes() and batch_idx < self.hparams["visualize"]:
            # Every process has its part of the images, this one the first of each round.
            index = batch_idx * self.trainer.world_size
            self._show(index, image, labels[0], prediction[0], compared)

    def on_validation_epoch_end(self) -> None:
        scores = self.val_scores.compute()
        # Every process takes part in it, whether it writes or not.
        other = None if self.baseline_scores is None else self.baseline_scores.compute()
        self.log_dict(
            {
                "val/miou": scores.miou,
                "val/pixel_accuracy": scores.pixel_accuracy,
                "val/boundary_f": scores.boundary_f,
            },
            prog_bar=True,
            sync_dist=True,
        )
        if self.trainer.sanity_checking or not self.trainer.is_global_zero:
            return
        if self.trainer.state.fn == "validate":
            report.print_scores(scores, self.class_names, "validation")
        if self._writes():
            folder = Path(self.hparams["output"])
            names, setting = self.class_names, {"inference": self._inference()}
            report.write_json(folder / "scores.json", scores, names, **setting)
            compared = {"ours": scores}
            if other is not None:
                report.write_json(folder / "baseline.json", other, names, **setting)
                compared = {"baseline": other, "ours": scores}
            report.bar_chart(folder / "iou.png", compared, names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the validation set's classes."""
        return self._validation_set().classes

    def _validation_set(self) -> SegmentationDataset:
        loader: Any = self.trainer.val_dataloaders
        return (loader[0] if isinstance(loader, list) else loader).dataset

    def _inference(self) -> dict[str, Any]:
        return {k: getattr(self.inference, k) for k in ("window", "stride", "scales", "flip")}

    def _writes(self) -> bool:
        return (
            self.hparams["output"] is not None
            and not self.trainer.sanity_checking
            and self.trainer.is_global_zero
        )

    def _show(
        self,
        index: int,
        image: Tensor,
        labels: Tensor,
        prediction: Tensor,
        compared: Tensor | None,
    ) -> None:
        data = self._validation_set()
        photo = data.load(index)[0].permute(1, 2, 0).numpy()
        folder = Path(self.hparams["output"]) / "pictures"
        name = data.pairs[index][0].stem
        colors = data.colors
        panels = {
            "input": np.ascontiguousarray(photo),
            "ground truth": report.colorize(labels.cpu(), colors),
        }
        finest = {"input": panels["input"]}
        if compared is not None:
            panels["baseline"] = report.colorize(compared[0].cpu(), colors)
            finest["baseline"] = _finest_level(self._load_baseline(), image, photo.shape[:2])
        panels["ours"] = report.colorize(prediction.cpu(), colors)
        finest["ours"] = _finest_level(self.model, image, photo.shape[:2])
        report.side_by_side(folder / f"{name}.png", panels)
        report.side_by_side(folder / f"{name}_features.png", finest)

    def _load_baseline(self) -> SCRN:
        if not self._baseline:
            self._baseline = (load_model(self.hparams["baseline"], self.device).model,)
        return self._baseline[0]


def _finest_level(model: SCRN, image: Tensor, size: tuple[int, int]) -> np.ndarray:
    return report.feature_picture(model.decode(image)[0][0], size)


@rank_zero_only
def _say(text: str) -> None:
    print(text)


def parameter_groups(
    model: torch.nn.Module, lr: float, backbone_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Backbone and rest, each with and without weight decay (vectors have none)."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("backbone."), parameter.dim() > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": backbone_lr if in_backbone else lr,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (in_backbone, decays), parameters in sorted(groups.items())
    ]
