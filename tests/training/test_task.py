"""The training module in this process: what it checks before the first step, and what it draws."""

import lightning as L
import pytest

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
