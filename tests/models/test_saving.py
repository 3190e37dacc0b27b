"""Folders of a network: written, read by every reader, and refused with a sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from scrn import SCRN
from scrn.cli import main
from scrn.engine.weights import load_model

from .helpers import build

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model() -> SCRN:
    return build("timm:test_resnet", "bilinear", "f4").eval()


def test_one_kind_of_folder(model: SCRN, tmp_path: Path, monkeypatch) -> None:
    """What a network saves, prediction reads, and what the package holds, the network reads."""
    monkeypatch.chdir(tmp_path)
    names, mean = tuple("abcde"), (0.1, 0.2, 0.3)
    model.save_pretrained("saved", classes=names, mean=mean, short_side=48)
    again = SCRN.from_pretrained("saved")
    saved = load_model("saved")
    assert (saved.classes, saved.mean, saved.short_side) == (names, mean, 48)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
        assert torch.equal(value, saved.model.state_dict()[name]), name
    Image.new("RGB", (64, 64)).save("photo.png")
    assert main(["predict", "photo.png", "--model", "saved", "--device", "cpu"]) == 0
    packaged = SCRN.from_pretrained(ROOT / "scrn/weights/camvid")
    assert packaged.num_classes == 11


def test_weights_of_before_outlive_an_interrupted_save(
    model: SCRN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: SCRN, path: str) -> None:
        Path(path).write_bytes(b"half of them")
        raise KeyboardInterrupt

    (tmp_path / "README.md").write_text("by hand")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "by hand"
    files = sorted(tmp_path.iterdir())
    monkeypatch.setattr("scrn.models.saving.save_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.save_pretrained(tmp_path, short_side=48)
    assert load_model(tmp_path).short_side is None
    assert model._card["short_side"] is None
    assert sorted(tmp_path.iterdir()) == files
    again = SCRN.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_an_upload_that_fails_leaves_what_was_saved(
    model: SCRN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: SCRN, repo_id: str, **options: object) -> None:
        raise OSError(f"no such repository: {repo_id}, {options}")

    monkeypatch.setattr(SCRN, "push_to_hub", refused)
    given = {"push_to_hub": True, "private": True, "model_card_kwargs": {"classes": ["one"]}}
    with pytest.raises(OSError, match=r"saved, \{'model_card_kwargs': .*'one'.*'private': True\}"):
        model.save_pretrained(tmp_path / "saved", **given)
    assert load_model(tmp_path / "saved").short_side is None
    with pytest.raises(OSError, match="me/network"):
        model.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id="me/network")


def test_names_of_another_network_are_noticed(model: SCRN, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    card = json.loads((tmp_path / "inference.json").read_text())
    (tmp_path / "inference.json").write_text(json.dumps(card | {"classes": ["a", "b"]}))
    for read in (load_model, SCRN.from_pretrained):
        with pytest.raises(ValueError, match=r"expected names of 5 classes.*got 2"):
            read(tmp_path)


def test_what_was_said_once_is_kept(model: SCRN, tmp_path: Path) -> None:
    """Hugging Face's upload saves once more, and knows nothing of it."""
    said = {"classes": tuple("abcde"), "mean": (0.1, 0.2, 0.3), "short_side": 48}
    model.save_pretrained(tmp_path / "a", **said)
    model.save_pretrained(tmp_path / "b")
    SCRN.from_pretrained(tmp_path / "b").save_pretrained(tmp_path / "c", std=(0.4, 0.5, 0.6))
    first, second, third = (
        json.loads((tmp_path / n / "inference.json").read_text()) for n in "abc"
    )
    assert first == second
    assert third == first | {"std": [0.4, 0.5, 0.6]}
    assert first["short_side"] == 48
    other = build("timm:test_resnet", "bilinear", "f4")
    other.save_pretrained(tmp_path / "d")
    assert load_model(tmp_path / "d").short_side is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"classes": "abcde"}, "classes: expected a sequence of names, got 'abcde'"),
        ({"mean": (0.5,)}, "mean: expected 3 numbers, got 1"),
        ({"colors": ((0, 0, 0),)}, "colors: expected 5 or none, got 1"),
    ],
)
def test_facts_that_do_not_fit_are_refused(
    model: SCRN, tmp_path: Path, arguments: dict, error: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(error)):
        model.save_pretrained(tmp_path / "a", **arguments)
    assert not (tmp_path / "a").exists()


def test_without_names(model: SCRN, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    saved = load_model(tmp_path)
    assert saved.classes == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert saved.mean == (0.485, 0.456, 0.406)
    text = (tmp_path / "README.md").read_text()
    assert "`timm:test_resnet` with `f4` and `bilinear` for 5 classes: class 0, class 1" in text
    assert "More Information Needed" not in text
    with pytest.raises(ValueError, match="classes: expected 5 names, got 2"):
        model.save_pretrained(tmp_path, classes=("a", "b"))


def test_folders_without_a_network(model: SCRN, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    for missing in ("none", "/none/at/all", "./none", "a/b/c"):
        with pytest.raises(FileNotFoundError, match=rf"^{missing}: no such folder$"):
            SCRN.from_pretrained(missing)
    with pytest.raises(FileNotFoundError, match=r"^runs/none: no such folder, and nothing came fr"):
        SCRN.from_pretrained("runs/none", local_files_only=True)
    with pytest.raises(FileNotFoundError, match=r"found no config\.json and no model\.safetensors"):
        SCRN.from_pretrained(tmp_path)
    model.save_pretrained("saved")
    Path("saved/model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"saved: expected .* found no model\.safetensors$"):
        SCRN.from_pretrained("saved")


def test_arguments_that_the_weights_are_not_of(model: SCRN, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert SCRN.from_pretrained(tmp_path, ops="eager").backend == "eager"
    with pytest.raises(ValueError, match=r"num_classes: expected 5, as the weights in .*, got 7"):
        SCRN.from_pretrained(tmp_path, num_classes=7)
    with pytest.raises(ValueError, match=r"context: expected 'f4', as the weights in .*got 'crm'"):
        SCRN.from_pretrained(tmp_path, context="crm")


def test_a_folder_without_its_card_names_what_writes_it(model: SCRN, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    card = tmp_path / "inference.json"
    assert json.loads(card.read_text())["about"] == {}
    card.unlink()
    with pytest.raises(ValueError, match=r"inference.json: expected .* which SCRN.save_pretrained"):
        load_model(tmp_path)


@pytest.mark.parametrize("missing", ["huggingface_hub", "timm", "torchvision", "safetensors"])
def test_the_extra_is_named_where_it_is_missing(missing: str) -> None:
    """After ``pip install .`` without it."""
    script = f"""
import sys
sys.modules[{missing!r}] = None  # as if it were not installed
import scrn
from scrn import build_model
try:
    build_model("timm:test_resnet").save_pretrained({str(ROOT / "build/never")!r})
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    assert missing in line
    assert "pip install" in line
