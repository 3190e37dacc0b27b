"""The ``scrn`` command: fit, validate, predict, export, cost."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

USAGE = """scrn {fit,validate,predict,export,cost} ...

  scrn fit --config camvid.yaml [--data.root DIR] [--trainer.max_epochs N] ...
  scrn validate --config camvid.yaml --ckpt_path CHECKPOINT [--model.output DIR] ...
  scrn predict INPUT... [--output DIR] [--model PATH]
  scrn export --checkpoint CHECKPOINT --output DIR
  scrn cost --backbone mscan_s --size 1024 2048 [--table]

`scrn COMMAND --help` lists all of a command's options. --config takes a file, or the name of a
recipe that comes with the package: {recipes}."""


def _recipes() -> dict[str, Path]:
    return {p.name: p for p in sorted((Path(__file__).parent / "configs").glob("*.yaml"))}


def _resolve_config(args: list[str]) -> list[str]:
    recipes = _recipes()
    resolved = list(args)
    for i, arg in enumerate(args):
        name = None
        if arg == "--config" and i + 1 < len(args):
            i, prefix, name = i + 1, "", args[i + 1]
        elif arg.startswith("--config="):
            prefix, name = "--config=", arg.removeprefix("--config=")
        if name is not None and not Path(name).exists() and name in recipes:
            resolved[i] = f"{prefix}{recipes[name]}"
    return resolved


def _train(args: list[str]) -> int:
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

    from .data.errors import DataError
    from .data.module import SegmentationData
    from .engine.checkpoint import AtomicCheckpointIO
    from .engine.task import Segmentation

    class Command(LightningCLI):
        def instantiate_trainer(self, **kwargs: Any) -> Trainer:
            trainer = super().instantiate_trainer(**kwargs)
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
            return trainer

        def _parse_ckpt_path(self) -> None:
            # The recipe and the command line decide; Lightning would let the checkpoint's own
            # settings win over both.
            pass

        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            kept = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule"}
            return {"fit": kept, "validate": kept}

    class SaveConfig(SaveConfigCallback):
        def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
            # Elsewhere it would overwrite a config.yaml of the user's in the working directory.
            if trainer.logger is not None and trainer.logger.log_dir is not None:
                super().setup(trainer, pl_module, stage)

    torch.set_float32_matmul_precision("high")
    # Lightning reads the command line itself: for the subcommands, and in processes it spawns.
    sys.argv = [sys.argv[0], *_resolve_config(args)]
    try:
        Command(
            Segmentation,
            SegmentationData,
            # The loaders share the images out among the processes themselves.
            trainer_defaults={"use_distributed_sampler": False},
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
        )
    except DataError as error:
        print(f"scrn {args[0]}: {error}", file=sys.stderr)
        return 1
    return 0


def _run(module: ModuleType, args: list[str]) -> int:
    name = f"scrn {args[0]}"
    parser = argparse.ArgumentParser(prog=name, description=module.__doc__)
    module.add_arguments(parser)
    try:
        module.run(parser.parse_args(args[1:]))
    except ValueError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    command = args[0] if args else "--help"
    if command in ("-h", "--help"):
        print(USAGE.replace("{recipes}", ", ".join(_recipes())))
        return 0 if args else 2
    if command in ("fit", "validate"):
        return _train(args)
    if command == "predict":
        from .engine import predict

        return _run(predict, args)
    if command == "export":
        from .engine import export

        return _run(export, args)
    if command == "cost":
        from . import cost

        return cost.main(args[1:]) or 0
    print(f"scrn: unknown command {command!r}\n\n{USAGE}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
