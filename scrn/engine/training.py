"""``scrn fit`` and ``scrn validate``: Lightning's command line around the network and its data."""

from __future__ import annotations

import logging
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..data.module import SegmentationData, classes_of
from .checkpoint import AtomicCheckpointIO, LastCheckpoint
from .task import Segmentation

# Exit statuses, as shells have them.
_AFTER_SIGINT, _AFTER_SIGTERM = 130, 143

# What Lightning says of itself and of torch's insides, and nothing that a user could act on.
_ADVERTISEMENT = "💡 Tip:"
_NOT_FOR_USERS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    r"The '\w+' does not have many workers",
    # What is evaluated are the averaged weights, which a checkpoint has as the model's.
    r"You're using the WeightAveraging callback, but loading a checkpoint outside",
    r"The dirpath has changed from '.*' to '.*', therefore",
)


class EpochLines(L.Callback):
    """A line for each epoch and each validation, for output that goes to a file: there a progress
    bar's names are cut to its width."""

    @rank_zero_only
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        of = f" of {trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        start = f"epoch {trainer.current_epoch + 1}{of}, step {trainer.global_step}"
        print(f"{start}: {_metrics(trainer, 'train/')}", flush=True)

    @rank_zero_only
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            start = f"validation at step {trainer.global_step}"
            print(f"{start}: {_metrics(trainer, 'val/')}", flush=True)


def _metrics(trainer: L.Trainer, prefix: str) -> str:
    found = trainer.callback_metrics.items()
    return ", ".join(f"{name} {value:.4f}" for name, value in found if name.startswith(prefix))


class Command(LightningCLI):
    """Without Lightning's ways that a user of ``scrn`` would stumble over.

    Args:
        given: the command's arguments, as the user wrote them.
        options: those of Lightning's class.
    """

    def __init__(self, given: list[str], **options: Any) -> None:
        self.given = given
        self.status = 0
        super().__init__(Segmentation, SegmentationData, **options)  # This runs the command.

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        bar = self._get(self.config_init, "trainer.enable_progress_bar")
        lines = bar is None and not sys.stdout.isatty()
        if lines:
            kwargs["enable_progress_bar"] = False
        trainer = super().instantiate_trainer(**kwargs)
        if lines:
            trainer.callbacks.insert(0, EpochLines())  # type: ignore[attr-defined]
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        return trainer

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        if config.model.num_classes is None:
            names, _ = classes_of(config.data.name, config.data.root)
            config.model.num_classes = len(names)

    def _parse_ckpt_path(self) -> None:
        # The recipe and the command line decide; Lightning would let the checkpoint's own
        # settings win over both.
        pass

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        kept = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule"}
        return {"fit": kept, "validate": kept | {"verbose"}}

    def fit(self, **arguments: Any) -> None:
        """Trains, and says where the checkpoint is; after Ctrl-C also how to go on."""
        try:
            self.trainer.fit(**arguments)
        except SystemExit as stopped:  # What Lightning makes of both signals.
            terminated = isinstance(stopped, SIGTERMException)
            if not (terminated or _by_interrupt(stopped)):
                raise
            self.status = _AFTER_SIGTERM if terminated else _AFTER_SIGINT
        if self.trainer.is_global_zero:
            print("\n".join(_where_it_is(self.trainer, self.given, self.status != 0)), flush=True)

    def validate(self, **arguments: Any) -> None:
        """Shows the scores once: the task prints them, by class, too."""
        untrained = arguments.get("ckpt_path") is None and self.model.hparams["weights"] is None
        if untrained and self.trainer.is_global_zero:
            print(
                "weights: neither --ckpt_path nor --model.weights was given; the scores are those "
                "of a network that nothing has trained",
                file=sys.stderr,
            )
        try:
            self.trainer.validate(**arguments, verbose=False)
        except SystemExit as stopped:
            if not _by_interrupt(stopped):
                raise
            raise KeyboardInterrupt from stopped


def _by_interrupt(stopped: SystemExit) -> bool:
    """Whether Lightning made it of a KeyboardInterrupt; others are somebody's own."""
    return isinstance(stopped.__context__, KeyboardInterrupt)


class SaveConfig(SaveConfigCallback):
    """Saves the settings beside the logs; without a logger it would overwrite a config.yaml of
    the user's in the working directory."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.logger is not None and trainer.logger.log_dir is not None:
            super().setup(trainer, pl_module, stage)


def run(args: list[str], given: list[str]) -> int:
    """Runs the command and returns the exit status.

    Args:
        args: "fit" or "validate", and options, recipes as paths.
        given: the same as the user wrote it.
    """
    _quiet()
    torch.set_float32_matmul_precision("high")
    # Lightning reads the command line itself: for the subcommands, and in processes it spawns.
    sys.argv = [sys.argv[0], *args]
    try:
        command = Command(
            given,
            trainer_defaults={
                # The loaders share the images out among the processes themselves.
                "use_distributed_sampler": False,
                # It counts the operations of no custom operator.
                "enable_model_summary": False,
            },
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
        )
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    return command.status


def _quiet() -> None:
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addFilter(_no_advertisement)
    for message in _NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message)


def _no_advertisement(record: logging.LogRecord) -> bool:
    return _ADVERTISEMENT not in record.getMessage()


def _where_it_is(trainer: L.Trainer, given: list[str], interrupted: bool) -> list[str]:
    """Lines for the end of a training: its checkpoint, and the command that goes on from it."""
    lines = [f"stopped after step {trainer.global_step}"] if interrupted else []
    callbacks = [c for c in trainer.checkpoint_callbacks if isinstance(c, LastCheckpoint)]
    if not callbacks:
        return lines  # The user's own callbacks know where they write.
    saved = next((callback.saved for callback in callbacks if callback.saved), None)
    if saved is None:
        return [*lines, "no checkpoint has been written"]
    path, step = saved
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    lines.append(f"checkpoint of step {step}: {path}")
    if interrupted:
        lines.append(f"to go on: {shlex.join(['scrn', *_resumed(given, path)])}")
    return lines


def _resumed(given: list[str], path: Path) -> list[str]:
    kept, words = [], iter(given)
    for word in words:
        if word == "--ckpt_path":
            next(words, None)
        elif not word.startswith("--ckpt_path="):
            kept.append(word)
    return [*kept, "--ckpt_path", str(path)]
