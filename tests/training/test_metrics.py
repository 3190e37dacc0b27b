"""IoU and boundary F-score against literal evaluations and the official Cityscapes script."""

import importlib
import math

import numpy as np
import pytest
import torch

from scrn.metrics import SegmentationScores, boundary_f_per_class, iou_per_class


def literal_boundary_f(prediction, labels, label, radius):
    """Pixel by pixel: a boundary pixel has a pixel of another class among its 8 neighbours."""
    height, width = labels.shape

    def boundary(grid):
        return [
            (y, x)
            for y in range(height)
            for x in range(width)
            if grid[y, x] == label
            and any(
                grid[v, u] != label
                for v in range(max(0, y - 1), min(height, y + 2))
                for u in range(max(0, x - 1), min(width, x + 2))
            )
        ]

    def near(a, others):
        return any(math.dist(a, b) <= radius for b in others)

    found, true = boundary(prediction), boundary(labels)
    if not found and not true:
        return math.nan
    if not found or not true:
        return 0.0
    precision = sum(near(p, true) for p in found) / len(found)
    recall = sum(near(p, found) for p in true) / len(true)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_boundary_f_equals_the_literal_evaluation(seed, radius):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 3, (1, 1, 4, 5), generator=generator).float()
    labels = torch.nn.functional.interpolate(coarse, size=(17, 23)).long()[0, 0]
    prediction = labels.roll((seed, 1 + seed), (0, 1))
    labels[3:5, 2:9] = 255
    got = boundary_f_per_class(prediction, labels, 4, radius)
    ignored = prediction.masked_fill(labels == 255, 255)
    for label in range(4):
        expected = literal_boundary_f(ignored.numpy(), labels.numpy(), label, radius)
        assert got[label].item() == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_scores_of_a_perfect_and_a_wrong_prediction():
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels[:, :, 10:] = 1
    labels[:, 0] = 255
    scores = SegmentationScores(3)
    scores.update(labels.clamp(max=1), labels)
    perfect = scores.compute()
    assert (perfect.miou, perfect.pixel_accuracy, perfect.boundary_f) == (1, 1, 1)
    assert math.isnan(perfect.iou[2])
    scores.reset()
    scores.update(1 - labels.clamp(max=1), labels)
    assert scores.compute().miou == 0


def test_confusion_matrix_equals_the_official_evaluation(tmp_path, monkeypatch):
    """A generated set in Cityscapes' layout through cityscapesscripts and through ours."""
    pytest.importorskip("cityscapesscripts")
    from PIL import Image

    monkeypatch.setenv("CITYSCAPES_DATASET", str(tmp_path))
    monkeypatch.setenv("CITYSCAPES_RESULTS", str(tmp_path))
    official = importlib.import_module(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
    )
    from cityscapesscripts.helpers.labels import labels as table

    from scrn.data import Cityscapes

    rng = np.random.default_rng(0)
    ids = np.array([label.id for label in table if label.id >= 0], np.uint8)
    evaluated = np.array([label.id for label in table if not label.ignoreInEval], np.uint8)
    true_files, predicted_files, predictions = [], [], []
    for i in range(3):
        name = f"bonn_{i:06d}_000019"
        truth = rng.choice(ids, (40, 60))
        guess = np.where(
            (rng.random(truth.shape) < 0.7) & np.isin(truth, evaluated),
            truth,
            rng.choice(evaluated, truth.shape),
        ).astype(np.uint8)
        for folder, suffix, content in (
            ("leftImg8bit/val/bonn", "leftImg8bit", np.zeros((40, 60, 3), np.uint8)),
            ("gtFine/val/bonn", "gtFine_labelIds", truth),
            ("results", "predicted", guess),
        ):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(tmp_path / folder / f"{name}_{suffix}.png")
        true_files.append(str(tmp_path / f"gtFine/val/bonn/{name}_gtFine_labelIds.png"))
        predicted_files.append(str(tmp_path / f"results/{name}_predicted.png"))
        predictions.append(guess)

    args = official.args
    args.evalInstLevelScore = False
    args.evalPixelAccuracy = False
    args.JSONOutput = False
    args.quiet = True
    result = official.evaluateImgLists(predicted_files, true_files, args)
    matrix = np.array(result["confMatrix"])

    scores = SegmentationScores(19)
    data = Cityscapes(tmp_path, "val")
    to_class = {label.id: label.trainId for label in table}
    for (_, mask), guess in zip(data, predictions, strict=True):
        classes = torch.from_numpy(np.vectorize(to_class.get)(guess).astype(np.int64))
        scores.update(classes[None], mask[None].long())
    ours = scores.compute()
    order = [label.id for label in table if not label.ignoreInEval]
    assert ours.confusion.tolist() == matrix[np.ix_(order, order)].tolist()
    official_iou = [result["classScores"][label.name] for label in table if not label.ignoreInEval]
    assert ours.iou == pytest.approx(official_iou, abs=1e-15)
    assert ours.miou == pytest.approx(result["averageScoreClasses"], abs=1e-15)


def test_iou_counts_false_positives_and_negatives():
    confusion = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert iou_per_class(confusion)[:2].tolist() == pytest.approx([6 / 9, 3 / 6])
