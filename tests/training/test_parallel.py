"""Two processes against one with the double batch (gloo, on the CPU)."""

import json

import pytest
import torch

from scrn.data import CamVid, evaluation_transform
from scrn.engine.task import Segmentation
from scrn.metrics import SegmentationScores

from .command import recipe, scrn, tiny_camvid


def run(root, name, processes, *options):
    """What every rank recorded of a run of 6 steps on batches of 4 images in all."""
    scrn(
        "fit", "--config", recipe(root, name), "--trainer.default_root_dir", root,
        "--data.batch_size", 4 // processes, "--trainer.devices", processes,
        "--trainer.strategy", "ddp" if processes > 1 else "auto",
        "--trainer.limit_val_batches", 0,
        "--trainer.callbacks+=tests.training.callbacks.Record",
        f"--trainer.callbacks.folder={root / name / 'record'}",
        *options, processes=processes,
    )  # fmt: skip
    files = [root / name / "record" / f"{rank}.pt" for rank in range(processes)]
    return [torch.load(file, weights_only=True) for file in files]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("parallel")
    tiny_camvid(root)
    return root


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_the_double_batch(root):
    """The ignored pixels are spread unevenly: a mean of the ranks' means would differ. Batch norms
    are frozen and lambda is 0, since both see one rank's images only. Eager ops in both, and few
    steps: what rounds differently grows with the steps."""
    options = ("--model.freeze_norms", "true", "--model.contrast_weight", 0)
    one = run(root, "one", 1, *options)[0]
    two = run(root, "two", 2, *options)
    assert len(one["losses"]) == 6
    assert two[0]["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert two[1]["losses"] == two[0]["losses"]
    assert max(one["losses"]) > 1.02 * min(one["losses"])


@pytest.mark.slow
def test_ranks_end_with_the_same_bits_under_the_full_loss(root):
    first, second = run(root, "full", 2)
    names = {name for name, _ in torch.nn.Module.named_parameters(_model())}
    differing = {
        name for name, value in first["weights"].items()
        if not torch.equal(value, second["weights"][name])
    }  # fmt: skip
    assert names <= first["weights"].keys()
    assert not differing & names
    # Each rank has normalised its own images: the runs did not see the same.
    assert differing


@pytest.mark.slow
def test_two_processes_evaluate_every_image_once(root):
    config = recipe(root, "evaluated")
    scrn(
        "validate", "--config", config, "--trainer.default_root_dir", root,
        "--trainer.devices", 2, "--trainer.strategy", "ddp", "--model.output", root / "report",
        processes=2,
    )  # fmt: skip
    scores = json.loads((root / "report/scores.json").read_text())
    data = CamVid(root / "set", "val", evaluation_transform())
    expected, model = SegmentationScores(11), _model().model.eval()
    for image, labels in data:
        with torch.no_grad():
            expected.update(model(image[None]).argmax(1), labels[None])
    confusion = torch.tensor(scores["confusion"])
    assert (confusion - expected.compute().confusion).abs().sum() <= 4  # of 8192 pixels
    assert int(confusion.sum()) == int(expected.compute().confusion.sum())
    assert scores["boundary_f"] == pytest.approx(expected.compute().boundary_f, abs=0.01)


def _model():
    return Segmentation("timm:tf_efficientnet_lite0", num_classes=11)
