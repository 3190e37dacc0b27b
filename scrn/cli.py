"""The ``scrn`` command: data, fit, validate, predict, export, cost."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

USAGE = """scrn {data,fit,validate,predict,export,cost} ...

  scrn data DIR [--sheet FILE]
  scrn fit --config camvid.yaml [--data.root DIR] [--trainer.max_epochs N] ...
  scrn validate --config camvid.yaml --ckpt_path CHECKPOINT [--model.output DIR] ...
  scrn predict INPUT... [--output DIR] [--model PATH]
  scrn export --checkpoint CHECKPOINT --output DIR
  scrn cost --backbone mscan_s --size 1024 2048 [--table]

`scrn COMMAND --help` lists all of a command's options. --config takes a file, or the name of a
recipe that comes with the package: {recipes}."""

_MODULES = {
    "data": ".data.inspection",
    "predict": ".engine.predict",
    "export": ".engine.export",
    "cost": ".cost",
}
# What the extras of pyproject.toml bring: "network", and "train", which includes it.
_EXTRAS = {
    "huggingface_hub", "safetensors", "timm", "torchvision",
    "jsonargparse", "lightning", "matplotlib", "numpy", "PIL", "rich", "tensorboard",
    "tifffile", "torchmetrics", "yaml",
}  # fmt: skip


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


def _train(args: list[str]) -> None:
    import torch
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

    from .data.module import SegmentationData, classes_of
    from .engine.checkpoint import AtomicCheckpointIO
    from .engine.task import Segmentation

    class Command(LightningCLI):
        def instantiate_trainer(self, **kwargs: Any) -> Trainer:
            trainer = super().instantiate_trainer(**kwargs)
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
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error


def _run(command: str, args: list[str]) -> None:
    module = import_module(_MODULES[command], __package__)
    parser = argparse.ArgumentParser(prog=f"scrn {command}", description=module.__doc__)
    module.add_arguments(parser)
    module.run(parser.parse_args(args))


def _in_one_line(command: str, work: Callable[[], None]) -> int:
    """Runs it and returns the exit status. An error that the user can mend is told in one line, any
    other keeps its traceback."""
    try:
        work()
    except (ImportError, OSError, ValueError, NotImplementedError) as error:
        hint = ""
        if isinstance(error, ImportError) and (error.name or "").split(".")[0] in _EXTRAS:
            hint = f": pip install '.[{'network' if command == 'cost' else 'train'}]' brings it"
        elif not isinstance(error, OSError) and not _is_ours(error):
            raise
        text = str(error).strip() or type(error).__name__
        print(f"scrn {command}: {text.splitlines()[0]}{hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"scrn {command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _is_ours(error: Exception) -> bool:
    """Whether this package or Lightning raised it: they say what was expected."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = trace.tb_frame.f_globals.get("__package__") if trace is not None else None
    # A DataError of a loader's process is raised anew by torch.
    packages = {(name or "").split(".")[0] for name in (raised_in, type(error).__module__)}
    return not packages.isdisjoint(("scrn", "scrn_ops", "lightning"))


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    command = args[0] if args else "--help"
    usage = USAGE.replace("{recipes}", ", ".join(_recipes()))
    if command in ("-h", "--help"):
        print(usage)
        return 0 if args else 2
    if command in ("fit", "validate"):
        return _in_one_line(command, partial(_train, args))
    if command in _MODULES:
        return _in_one_line(command, partial(_run, command, args[1:]))
    print(f"scrn: unknown command {command!r}\n\n{usage}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
