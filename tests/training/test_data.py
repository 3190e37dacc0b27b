"""Published folder layouts, label mapping, augmentation, and an error for every malformed file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from scrn.data import (
    ADE20K,
    BDD100K,
    CamVid,
    Cityscapes,
    DataError,
    RandomScale,
    evaluation_transform,
    training_transform,
)
from scrn.data.classes import ADE20K_CLASSES, CITYSCAPES_CLASSES, palette
from scrn.data.files import read_image
from scrn.data.module import EpochBatchSampler, SegmentationData

ORIENTATION = ExifTags.Base.Orientation


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def photo(height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def labels(values, height=24, width=32):
    grid = np.resize(np.array(values, np.uint8), height * width)
    return grid.reshape(height, width)


def cityscapes(
    root, ids=(7, 8, 33, 0), kind="labelIds", city="aachen", name="aachen_000000_000019"
):
    save(root / "leftImg8bit/train" / city / f"{name}_leftImg8bit.png", photo())
    return save(root / "gtFine/train" / city / f"{name}_gtFine_{kind}.png", labels(ids))


def camvid(root, values=(0, 5, 11), split="train", name="0001TP_006690", suffix=".png"):
    save(root / split / f"{name}{suffix}", photo())
    return save(root / f"{split}annot" / f"{name}.png", labels(values))


def test_cityscapes_label_ids_equal_the_official_table(tmp_path):
    official = pytest.importorskip("cityscapesscripts.helpers.labels")
    every = [label.id for label in official.labels if label.id >= 0]
    cityscapes(tmp_path, every)
    _, mask = Cityscapes(tmp_path)[0]
    expected = [label.trainId for label in official.labels if label.id >= 0]
    assert mask.flatten()[: len(every)].tolist() == expected


def test_cityscapes_train_ids_are_preferred(tmp_path):
    cityscapes(tmp_path, [7])
    cityscapes(tmp_path, [0, 18, 255], kind="labelTrainIds")
    image, mask = Cityscapes(tmp_path)[0]
    assert image.shape == (3, 24, 32)
    assert image.dtype == torch.uint8
    assert mask.unique().tolist() == [0, 18, 255]
    cityscapes(tmp_path, [7], name="aachen_000001_000019")
    with pytest.raises(DataError, match="labelTrainIds for every image or for none"):
        Cityscapes(tmp_path)


def test_bdd100k(tmp_path):
    save(tmp_path / "images/10k/val/a.jpg", photo())
    save(tmp_path / "labels/sem_seg/masks/val/a.png", labels([0, 18, 255]))
    data = BDD100K(tmp_path, "val")
    assert data[0][1].unique().tolist() == [0, 18, 255]
    assert data.classes == CITYSCAPES_CLASSES


def test_ade20k_ignores_label_zero(tmp_path):
    save(tmp_path / "images/training/a.jpg", photo())
    save(tmp_path / "annotations/training/a.png", labels([0, 1, 150]))
    data = ADE20K(tmp_path, "train")
    assert data[0][1].unique().tolist() == [0, 149, 255]
    assert len(data.classes) == len(set(palette(ADE20K_CLASSES))) == 150


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_camvid_void_is_ignored(tmp_path, suffix):
    camvid(tmp_path, suffix=suffix)
    assert CamVid(tmp_path)[0][1].unique().tolist() == [0, 5, 255]


def test_image_without_labels(tmp_path):
    camvid(tmp_path).unlink()
    with pytest.raises(DataError, match=r"trainannot.*0001TP_006690.png: expected the labels of"):
        CamVid(tmp_path)


def test_labels_of_another_size(tmp_path):
    save(camvid(tmp_path), labels([0], 24, 30))
    with pytest.raises(DataError, match=r"size \(24, 32\).*found \(24, 30\)"):
        CamVid(tmp_path)[0]


def test_unknown_label_values(tmp_path):
    camvid(tmp_path, [0, 12, 200])
    with pytest.raises(DataError, match=r"values among 0, 1.*, 11, found 12, 200"):
        CamVid(tmp_path)[0]


def test_unknown_label_values_between_known_ones(tmp_path):
    cityscapes(tmp_path, [7, 34, 255])
    with pytest.raises(DataError, match=r"labelIds.png: expected label values .* found 34"):
        Cityscapes(tmp_path)[0]


@pytest.mark.parametrize("which", ["image", "labels"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.8])
def test_truncated_files(tmp_path, which, keep):
    noise = np.random.default_rng(0).integers(0, 12, 24 * 32)
    target = camvid(tmp_path, noise)
    if which == "image":
        target = tmp_path / "train/0001TP_006690.png"
    content = target.read_bytes()
    target.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(
        DataError, match=f"{target.name}: expected .* found a (broken file|file in)"
    ):
        CamVid(tmp_path)[0]


def turned(path, orientation=6):
    """Stored lying on its side, as phones do."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.open(path).save(path, exif=exif)


def test_photo_and_labels_lie_over_each_other_as_stored(tmp_path):
    """Whatever the photo says of its orientation: label files say nothing of theirs."""
    camvid(tmp_path)
    path = tmp_path / "train/0001TP_006690.png"
    turned(path)
    image, mask = CamVid(tmp_path)[0]
    assert image.shape[1:] == mask.shape == (24, 32)
    assert torch.equal(read_image(path, upright=True), image.rot90(-1, (1, 2)))


@pytest.mark.parametrize(
    ("kind", "mode"), [(np.uint16, "I;16"), (np.int32, "I"), (np.float32, "F")]
)
def test_photos_of_more_than_8_bits(tmp_path, kind, mode):
    path = save(tmp_path / "deep.tif", np.full((24, 32), 300, kind))
    with pytest.raises(DataError, match=rf"deep.tif: expected .* 8 bits .*, found .* {mode}$"):
        read_image(path)


def test_photos_that_are_too_large_to_be_meant(tmp_path, monkeypatch):
    path = save(tmp_path / "huge.png", photo())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 32 // 2 - 1)
    with pytest.raises(DataError, match=r"huge.png: expected an image, found .*768 pixels"):
        read_image(path)


def test_labels_with_three_channels(tmp_path):
    save(camvid(tmp_path), photo())
    with pytest.raises(DataError, match=r"map \(masks in colours need .*\), found 3 channels"):
        CamVid(tmp_path)[0]


@pytest.mark.parametrize("make", [False, True])
def test_empty_or_missing_folder(tmp_path, make):
    if make:
        (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=r"train: expected .*, found (none|no such folder)"):
        CamVid(tmp_path)
    with pytest.raises(DataError, match="nowhere: expected the folder of camvid"):
        SegmentationData("camvid", str(tmp_path / "nowhere")).setup("fit")
    with pytest.raises(ValueError, match="name: expected one of ade20k"):
        SegmentationData("imagenet", str(tmp_path))


@pytest.mark.parametrize("size", [(20, 20), (64, 48)])
def test_training_transform_keeps_image_and_labels_together(tmp_path, size):
    # Labels that can be read off the image: what is done to one must be done to the other.
    classes = labels([0] * 16 + [9] * 16)
    camvid(tmp_path)
    save(tmp_path / "train/0001TP_006690.png", np.repeat(classes[..., None] * 20, 3, 2))
    save(tmp_path / "trainannot/0001TP_006690.png", classes)
    data = CamVid(
        tmp_path, transform=training_transform(size, (0.9, 1.4), mean=(0, 0, 0), std=(1, 1, 1))
    )
    seen = set()
    for epoch in range(12):
        image, mask = data[(epoch, 0)]
        assert image.shape == (3, *size)
        assert mask.shape == size
        valid = mask != 255
        from_image = (image[0] * 255 / 20).round()
        agree = (from_image[valid] == mask[valid]).float().mean()
        assert agree > 0.8
        seen.add(tuple(mask.flatten().tolist()))
    assert len(seen) > 6


def test_transform_depends_on_seed_epoch_and_index_alone(tmp_path):
    for name in ("a", "b"):
        camvid(tmp_path, name=name)
    data = CamVid(tmp_path, transform=training_transform((16, 16), color_jitter=0.3))
    first = data[(3, 1)][0]
    torch.rand(7)
    before = torch.get_rng_state()
    assert torch.equal(data[(3, 1)][0], first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(data[(4, 1)][0], first)
    data.seed = 1
    assert not torch.equal(data[(3, 1)][0], first)


def test_evaluation_transform_resizes_the_image_alone(tmp_path):
    camvid(tmp_path)
    image, mask = CamVid(tmp_path, transform=evaluation_transform(short_side=12))[0]
    assert image.shape == (3, 12, 16)
    assert mask.shape == (24, 32)


def test_random_scale_covers_its_range():
    from torchvision import tv_tensors

    scale = RandomScale(0.5, 2.0)
    widths = [scale(tv_tensors.Image(torch.zeros(3, 40, 60))).shape[-1] for _ in range(200)]
    assert 30 <= min(widths) < 40
    assert 100 < max(widths) <= 120
    assert 0.3 < sum(w < 60 for w in widths) / 200 < 0.7
    with pytest.raises(ValueError, match="0 < low <= high"):
        RandomScale(2.0, 0.5)


def test_ranks_share_the_batch_that_one_process_would_draw():
    single = EpochBatchSampler(21, 4, seed=3, rank=0, world=1)
    ranks = [EpochBatchSampler(21, 2, seed=3, rank=r, world=2) for r in range(2)]
    for sampler in (single, *ranks):
        sampler.set_epoch(5)
    parts = list(zip(*ranks, strict=True))
    assert [a + b for a, b in parts] == list(single)
    assert len({i for batch in single for _, i in batch}) == 20
    single.set_epoch(6)
    assert [i for _, i in next(iter(single))] != [i for _, i in parts[0][0] + parts[0][1]]
    with pytest.raises(ValueError, match="batch_size: expected at most the 3 images"):
        EpochBatchSampler(3, 4, 0, 0, 1)


def test_loader_resumes_at_the_next_batch(tmp_path):
    for i in range(7):
        camvid(tmp_path, name=f"{i}")
    camvid(tmp_path, split="val")
    module = SegmentationData("camvid", str(tmp_path), batch_size=2, crop=(16, 16), workers=0)
    module.setup("fit")

    def loader():
        made = module.train_dataloader()
        made.batch_sampler.set_epoch(2)
        return made

    whole = list(loader())
    one = loader()
    iterator = iter(one)
    next(iterator)
    state = one.state_dict()
    other = loader()
    other.load_state_dict(state)
    rest = list(other)
    assert len(whole) == len(other) == 3
    assert len(rest) == 2
    for (image, mask), (expected, expected_mask) in zip(rest, whole[1:], strict=True):
        assert torch.equal(image, expected)
        assert torch.equal(mask, expected_mask)
    assert other.state_dict() == {"batches": 0}
    assert len(list(other)) == 3


def test_an_error_keeps_its_name_in_the_loaders_process(tmp_path):
    camvid(tmp_path, split="val", values=[0, 12])
    module = SegmentationData("camvid", str(tmp_path), workers=1)
    module.setup("validate")
    with pytest.raises(DataError, match=r"0001TP_006690.png: expected .*, found 12") as caught:
        next(iter(module.val_dataloader()))
    assert str(caught.value).count("expected") == 1
    assert "\n" not in str(caught.value)
