"""Fixtures of the tests of training."""

import pytest
import torch

from benchmarks.common.camvid import camvid_root as find
from scrn.cli import main
from scrn.data.module import SegmentationData
from scrn.engine.task import Segmentation


@pytest.fixture
def camvid_root():
    """The folder of CamVid; a test that asks for it is marked ``camvid``."""
    root = find()
    if root is None:
        pytest.skip("CamVid is not present (data/camvid, or SCRN_CAMVID)")
    return root


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """As training writes it, but for what belongs to the optimiser and the loops."""
    torch.manual_seed(0)
    task = Segmentation("timm:tf_efficientnet_lite0", num_classes=11, output="elsewhere")
    for module in task.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    data = SegmentationData("camvid", "nowhere", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    path = tmp_path_factory.mktemp("weights") / "last.ckpt"
    content = {
        "state_dict": task.state_dict(),
        "hyper_parameters": {"_instantiator": "lightning's", **task.hparams},
        "datamodule_hyper_parameters": dict(data.hparams),
        "averaging_state": {},
        "global_step": 12,
    }
    torch.save(content, path)
    return path


@pytest.fixture(scope="session")
def folder(checkpoint):
    """What ``scrn export`` makes of it."""
    folder = checkpoint.parent / "exported"
    arguments = ["export", "--checkpoint", checkpoint, "--output", folder, "--short-side", 48]
    assert main([str(a) for a in arguments]) == 0
    return folder
