"""Pixel contrast against a literal evaluation of Eq. 11, the sampler's contract, the whole loss."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from scrn.losses import PixelContrastLoss, SegmentationLoss, pixel_contrast, sample_anchors
from scrn.losses.contrast import _as_from_full_size


def literal_contrast(embeddings, labels, temperature):
    """Eq. 11, one anchor and one pair at a time."""
    losses = []
    for i, anchor in enumerate(embeddings.tolist()):
        similar = [
            sum(a * b for a, b in zip(anchor, other, strict=True)) / temperature
            for other in embeddings.tolist()
        ]
        positives = [j for j in range(len(labels)) if j != i and labels[j] == labels[i]]
        negatives = sum(math.exp(similar[j]) for j in range(len(labels)) if labels[j] != labels[i])
        if positives:
            terms = [
                -math.log(math.exp(similar[j]) / (math.exp(similar[j]) + negatives))
                for j in positives
            ]
            losses.append(sum(terms) / len(positives))
    return sum(losses) / len(losses)


def unit_rows(count, width, dtype=torch.float64):
    generator = torch.Generator().manual_seed(count * 31 + width)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=dtype), dim=1)


@pytest.mark.parametrize("temperature", [0.07, 0.1, 1.0])
@pytest.mark.parametrize("labels", [[0, 1] * 10, [0] * 6 + [3] * 13 + [7], [*list(range(19)), 0]])
def test_contrast_equals_the_literal_formula(labels, temperature):
    rows = unit_rows(20, 8)
    got = pixel_contrast(rows, torch.tensor(labels), temperature)
    expected = literal_contrast(rows, labels, temperature)
    assert got.item() == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 2], [4] * 5, [0, 1, 2, 3, 4]])
def test_contrast_gradcheck(labels):
    rows = unit_rows(5, 3).requires_grad_()
    classes = torch.tensor(labels)
    with torch.autograd.detect_anomaly(check_nan=True):
        assert torch.autograd.gradcheck(lambda r: pixel_contrast(r, classes, 0.1), (rows,))


@pytest.mark.parametrize("labels", [[], [1], [0, 1, 2]])
def test_contrast_without_positives_is_a_zero_with_a_graph(labels):
    rows = unit_rows(max(1, len(labels)), 4)[: len(labels)].requires_grad_()
    loss = pixel_contrast(rows, torch.tensor(labels, dtype=torch.long))
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(rows.grad, torch.zeros_like(rows))


def test_contrast_of_meta_tensors():
    labels = torch.zeros(4, dtype=torch.long, device="meta")
    embeddings = torch.empty(4, 8, device="meta", requires_grad=True)
    loss = pixel_contrast(embeddings, labels)
    assert loss.is_meta
    assert loss.shape == ()
    loss.backward()
    assert embeddings.grad.shape == (4, 8)


def test_contrast_in_half_precision_is_accumulated_in_fp32():
    rows = unit_rows(64, 16, torch.float32).half()
    labels = torch.arange(64) % 5
    expected = pixel_contrast(rows.double(), labels)
    assert pixel_contrast(rows, labels).dtype == torch.float32
    assert pixel_contrast(rows, labels).item() == pytest.approx(expected.item(), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = pixel_contrast(rows.float(), labels)
    assert inside.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("error", "arguments", "words"),
    [
        (ValueError, (torch.zeros(3), torch.zeros(3, dtype=torch.long)), "embeddings"),
        (ValueError, (torch.zeros(3, 2), torch.zeros(4, dtype=torch.long)), "labels"),
        (TypeError, (torch.zeros(3, 2), torch.zeros(3)), "labels"),
        (ValueError, (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), 0.0), "temperature"),
    ],
)
def test_contrast_rejects(error, arguments, words):
    with pytest.raises(error, match=words):
        pixel_contrast(*arguments)


maps = st.tuples(
    st.integers(1, 3), st.integers(1, 24), st.integers(1, 24), st.integers(1, 6),
    st.integers(0, 2**31), st.integers(1, 200), st.integers(1, 20),
    st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(maps)
def test_sampler_contract(case):
    batch, height, width, classes, seed, most, least, wrong, void = case
    generator = torch.Generator().manual_seed(seed)

    def rand():
        return torch.rand(batch, height, width, generator=generator)

    labels = (rand() * classes).long()
    predictions = torch.where(rand() < wrong, (labels + 1) % (classes + 1), labels)
    labels[rand() < void] = 255
    chosen = sample_anchors(labels, predictions, max_anchors=most, min_pixels=least)
    assert len(chosen) <= most
    assert len(chosen.unique()) == len(chosen)
    flat, hard = labels.flatten(), (predictions != labels).flatten()
    image = torch.arange(batch * height * width) // (height * width)
    assert (flat[chosen] != 255).all()

    groups = {
        (b, c): int(((image == b) & (flat == c)).sum())
        for b in range(batch)
        for c in flat[(image == b) & (flat != 255)].unique().tolist()
    }
    groups = {key: n for key, n in groups.items() if n >= least}
    picked = {(int(image[i]), int(flat[i])) for i in chosen}
    assert picked <= set(groups)
    if len(groups) <= most:
        assert picked == set(groups)
    share = most // min(len(groups), most) if groups else 0
    for b, c in picked:
        inside = (image == b) & (flat == c)
        mine = torch.zeros_like(inside)
        mine[chosen] = True
        mine &= inside
        available = (int((inside & hard).sum()), int((inside & ~hard).sum()))
        taken = (int((mine & hard).sum()), int((mine & ~hard).sum()))
        assert sum(taken) == min(share, sum(available))
        if available[0] >= share // 2 and available[1] >= share - share // 2:
            assert taken == (share // 2, share - share // 2)


def test_sampler_draws_at_random_and_repeats_under_a_seed():
    labels = torch.zeros(1, 40, 40, dtype=torch.long)
    draw = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draw.append(sample_anchors(labels, labels, max_anchors=50))
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert draw[0].max() > 1000
    assert draw[0].min() < 600


@pytest.mark.parametrize("kind", ["all ignored", "one class", "single pixels"])
def test_a_batch_without_pairs_trains_on(kind):
    labels = torch.full((2, 32, 32), 255, dtype=torch.uint8)
    if kind == "one class":
        labels[:] = 3
    if kind == "single pixels":
        labels[0, 2, 2] = 1
        labels[1, 2, 2] = 4
    logits = torch.randn(2, 6, 32, 32, requires_grad=True)
    raw = torch.randn(2, 8, 8, 8, requires_grad=True)
    terms = SegmentationLoss()(logits, labels, F.normalize(raw, dim=1))
    terms["loss"].backward()
    assert torch.isfinite(terms["loss"])
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(raw.grad).all()


def test_loss_is_cross_entropy_plus_lambda_contrast():
    torch.manual_seed(0)
    labels = torch.randint(0, 5, (2, 16, 16))
    labels[0, :4] = 255
    logits = torch.randn(2, 5, 16, 16)
    embedding = F.normalize(torch.randn(2, 8, 16, 16), dim=1)
    # Every group of (image, class) fits wholly, so that nothing depends on the draw.
    whole = {"max_anchors": 4096, "min_pixels": 1}
    terms = SegmentationLoss(contrast_weight=0.5, **whole)(logits, labels, embedding)
    ce = F.cross_entropy(logits, labels, ignore_index=255)
    keep = (labels != 255).flatten()
    rows = embedding.permute(0, 2, 3, 1).flatten(0, 2)[keep]
    expected = ce + 0.5 * pixel_contrast(rows, labels.flatten()[keep], 0.1)
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert SegmentationLoss(0)(logits, labels)["loss"].item() == pytest.approx(ce.item(), rel=1e-6)
    with pytest.raises(ValueError, match="embedding"):
        SegmentationLoss()(logits, labels)


def test_contrast_module_brings_labels_to_the_embedding_grid():
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    labels[:, :, 4:] = 1
    embedding = torch.zeros(1, 2, 4, 4)
    embedding[:, 0, :, :2] = 1
    embedding[:, 1, :, 2:] = 1
    logits = F.one_hot(labels.long(), 2).permute(0, 3, 1, 2).float()
    good = PixelContrastLoss()(embedding, logits, labels)
    bad = PixelContrastLoss()(embedding, logits, labels.transpose(1, 2))
    assert good < 0.01 < 1 < bad


@pytest.mark.parametrize("size", [(64, 96), (61, 90)], ids=["by four", "other"])
def test_logits_of_the_networks_own_size_are_those_of_the_labels_size(size):
    """Loss and gradients as with logits that were upsampled first."""
    torch.manual_seed(0)
    low = torch.randn(2, 7, 16, 24)
    labels = torch.randint(0, 7, (2, *size), dtype=torch.uint8)
    labels[:, 5:9] = 255
    raw = torch.randn(2, 8, 16, 24)
    loss = SegmentationLoss(temperature=0.5, max_anchors=200)
    results = []
    for full in (False, True):
        logits, embedding = low.clone().requires_grad_(), raw.clone().requires_grad_()
        given = logits
        if full:
            given = F.interpolate(logits, size, mode="bilinear")
        torch.manual_seed(1)  # the anchors are drawn
        terms = loss(given, labels, F.normalize(embedding, dim=1))
        terms["loss"].backward()
        results.append((*terms.values(), logits.grad, embedding.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=1e-7)


def test_predictions_as_of_the_full_size_logits():
    """By four: the short way is the long one."""
    low = torch.randn(1, 5, 9, 13)
    for size in ((36, 52), (35, 50)):
        full = F.interpolate(low, size, mode="bilinear")
        down = F.interpolate(full, (9, 13), mode="bilinear")
        torch.testing.assert_close(_as_from_full_size(low, size, (9, 13)), down)
        torch.testing.assert_close(_as_from_full_size(full, size, (9, 13)), down)
