"""The command in this process: what it writes where, and one line for what cannot work."""

import sys

import pytest

from scrn.cli import main

from .command import recipe, tiny_camvid

SMALL = (
    "--model.backbone=timm:test_resnet", "--model.context=none", "--data.crop=[32,32]",
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1",
)  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a tiny CamVid in ``set`` and a recipe for it, ``config.yaml``."""
    tiny_camvid(tmp_path)
    recipe(tmp_path, "config")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scrn"])
    return tmp_path


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_without_a_logger_no_settings_are_written(here, command):
    own = (here / "config.yaml").read_text()
    assert main([command, "--config", "config.yaml", *SMALL]) == 0
    assert (here / "config.yaml").read_text() == own


def test_a_logger_gets_the_settings(here):
    logger = ("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs")
    assert main(["fit", "--config", "config.yaml", *SMALL, *logger]) == 0
    (saved,) = here.glob("logs/*/*/config.yaml")
    assert "backbone: timm:test_resnet" in saved.read_text()
