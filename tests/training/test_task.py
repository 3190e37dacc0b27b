"""The training module in this process: what it checks before the first step, and what it draws."""

import lightning as L
import pytest
import torch

from scrn.data.module import SegmentationData
from scrn.engine.task import Segmentation

from .command import tiny_camvid


@pytest.fixture
def data(tmp_path):
    """12 training images in batches of 2."""
    tiny_camvid(tmp_path)
    root = str(tmp_path / "set")
    return SegmentationData("camvid", root, batch_size=2, crop=(32, 32), workers=0)


def make_task(**options):
    options = {"num_classes": 11, "ops": "eager", "context": "none"} | options
    return Segmentation("timm:test_resnet", **options)


def make_trainer(**options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    fixed = {"accelerator": "cpu", "enable_checkpointing": False, "limit_val_batches": 0}
    return L.Trainer(**quiet, **fixed, **options)


@pytest.mark.parametrize("classes", [10, 19])
@pytest.mark.parametrize("command", ["fit", "validate"])
def test_the_number_of_classes_is_the_data_sets(data, command, classes):
    """Too few would be an index beyond the logits, too many would train and then not be named."""
    run = getattr(make_trainer(max_epochs=1), command)
    expected = rf"num_classes: expected the data set's 11, got {classes}"
    with pytest.raises(ValueError, match=expected):
        run(make_task(num_classes=classes), datamodule=data)


class Seen(L.Callback):
    """The learning rate of every step, and the seed of every micro-batch."""

    def __init__(self):
        self.rates, self.seeds = [], []

    def on_train_batch_end(self, trainer, *args):
        self.seeds.append(torch.initial_seed())
        if trainer.global_step > len(self.rates):
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def fit(data, callback=None, task=None, **options):
    trainer = make_trainer(callbacks=[callback] if callback else [], **options)
    trainer.fit(task or make_task(), datamodule=data)


# 6 steps an epoch.
@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_epochs": 2}, 12),
        ({"max_steps": 4}, 4),
        ({"max_steps": 4, "max_epochs": -1}, 4),
        ({"max_steps": 4, "max_epochs": 2}, 4),
        ({"max_steps": 100, "max_epochs": 1}, 6),
    ],
    ids=str,
)
def test_the_rate_decays_to_zero_over_the_whole_run(data, options, steps):
    seen = Seen()
    fit(data, seen, make_task(lr=1.0, power=1.0), **options)
    assert seen.rates == pytest.approx([1 - (i + 1) / steps for i in range(steps)])


@pytest.mark.parametrize("epochs", [-1, None])
def test_a_run_without_an_end_is_refused(data, epochs):
    with pytest.raises(ValueError, match=r"max_epochs: expected .* decays to zero .* got -1"):
        fit(data, max_epochs=epochs, max_time={"seconds": 5})


def test_micro_batches_of_a_step_draw_different_numbers(data):
    plain, parts = Seen(), Seen()
    fit(data, plain, max_epochs=2)
    fit(data, parts, max_epochs=2, accumulate_grad_batches=4)
    assert plain.seeds == [step * 4099 for step in range(12)]
    # 4 and 2 batches make the two steps of an epoch.
    assert parts.seeds == [i * 4099 for i in (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13)]
