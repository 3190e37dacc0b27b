"""The command in this process: what it writes where, and one line for what cannot work."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import torch
from PIL import Image

from scrn import cost
from scrn.cli import main

from .command import ROOT, recipe, tiny_camvid

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
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


@pytest.mark.parametrize(("given", "expected"), [(None, "10000"), ("active", None)])
def test_threads_spin_shortly_unless_told_otherwise(monkeypatch, given, expected):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    monkeypatch.setattr("scrn.engine.training.run", lambda *args: 0)
    assert main(["fit", "--config", "camvid.yaml"]) == 0
    assert os.environ.get("GOMP_SPINCOUNT") == expected
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that it is gone afterwards


def test_a_logger_gets_the_settings(here):
    logger = ("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs")
    assert main(["fit", "--config", "config.yaml", *SMALL, *logger]) == 0
    (saved,) = here.glob("logs/*/*/config.yaml")
    assert "backbone: timm:test_resnet" in saved.read_text()


def test_what_is_printed_to_a_file_is_of_use(here, capfd):
    """Metrics by their whole names and once, and nothing of Lightning's own affairs."""
    command = ["--config", "config.yaml", *SMALL, "--trainer.enable_progress_bar=null"]
    logger = ("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=logs")
    assert main(["fit", *command, *logger]) == 0
    shown = capfd.readouterr()
    lines = shown.out.splitlines()
    assert "network: timm:test_resnet, none, srm; 1.1 M parameters" in lines
    number = r"\d+\.\d{4}"
    (epoch,) = [line for line in lines if line.startswith("epoch ")]
    terms = ("train/loss", "train/cross_entropy", "train/contrast")
    expected = ", ".join(f"{term} {number}" for term in terms)
    assert re.fullmatch(f"epoch 1 of 1, step 1: {expected}", epoch)
    (validation,) = [line for line in lines if line.startswith("validation ")]
    assert re.match(f"validation at step 1: val/miou {number}, val/pixel_acc", validation)
    for word in ("Tip:", "litlogger", "deprecated", "FLOPs", "logging interval", "…", "many worke"):
        assert word not in shown.out + shown.err, word

    assert main(["validate", *command]) == 0
    text = "".join(capfd.readouterr())
    assert "the scores are those of a network that nothing has trained" in text
    assert text.count("mIoU") == text.count("boundary F") == 1
    assert "val/miou" not in text


def last_line(capsys):
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_unknown_commands_are_told_the_recipes(capsys):
    assert main(["segment"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("scrn: unknown command 'segment'")
    assert "camvid.yaml, cityscapes.yaml" in text
    assert "{recipes}" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.backbone=foo"], "backbone: expected one of"),
        (["--model.num_classes=12"], "num_classes: expected the data set's 11, got 12"),
        (["--model.scales=[0]"], "scales: expected numbers above 0"),
        (["--model.pretrained=none.pth"], "pretrained: no such file"),
        (["--data.batch_size=100"], "batch_size: expected at most the 12 images"),
        (["--data.short_side=-5"], "short_side: expected at least 1, got -5"),
        (["--data.workers=1", "--data.root=spoilt"], "spoilt/train/0"),
        (["--trainer.max_epochs=-1"], "max_epochs: expected"),
        (["--trainer.accelerator=abacus"], "You selected an invalid accelerator name"),
        (["--trainer.accelerator=tpu"], "Requirement 'torch_xla"),
        pytest.param(
            ["--trainer.accelerator=gpu"], "No supported gpu backend found", marks=NO_CUDA
        ),
        (["--ckpt_path=none.ckpt"], "Checkpoint file not found"),
        (["--ckpt_path=config.yaml"], "config.yaml: expected a training checkpoint, found"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_training_that_cannot_start_says_why_in_one_line(here, options, message, capsys):
    if "--data.root=spoilt" in options:
        (here / "set").rename(here / "spoilt")
        for path in (here / "spoilt/train").iterdir():
            path.write_bytes(b"")
    assert main(["fit", "--config", "config.yaml", *SMALL, *options]) == 1
    assert last_line(capsys).startswith(f"scrn fit: {message}")


def test_errors_of_others_keep_their_traceback(here, monkeypatch):
    monkeypatch.setattr("scrn.engine.task.SegmentationLoss.forward", lambda *_: json.loads("{"))
    with pytest.raises(json.JSONDecodeError):
        main(["fit", "--config", "config.yaml", *SMALL])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbone", "foo"], "backbone: expected one of"),
        (["--size", "10", "10"], "size: expected a height and a width of at least 32, got 10x10"),
        (["--size", "64", "-64"], "size: expected a height and a width of at least 32, got 64x-64"),
        (["--num-classes", "0"], "num_classes: expected at least 1, got 0"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
@pytest.mark.parametrize("entry", [cost.main, lambda options: main(["cost", *options])])
def test_a_cost_that_cannot_be_counted(entry, options, message, capsys):
    assert entry(options) == 1
    assert last_line(capsys).startswith(f"scrn cost: {message}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "gpu"], "device: expected one that is here, such as 'cpu', got 'gpu'"),
        pytest.param(["--device", "cuda"], "device: expected one that is here", marks=NO_CUDA),
        (["--device", "cuda:99"], "device: expected one that is here"),
        (["--device", "meta"], "device: expected one that is here"),
        (["--short-side", "-5"], "short_side: expected 0, or at least 32, got -5"),
        (["--scales", "0"], "scales: expected numbers above 0"),
        (["--output", "photo.png"], "output: expected a folder, got the file photo.png"),
    ],
    ids=str,
)
def test_a_prediction_that_cannot_work(folder, tmp_path, monkeypatch, options, message, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("photo.png")
    model = ("--model", str(folder), "--device", "cpu")
    assert main(["predict", "photo.png", *model, *options]) == 1
    assert last_line(capsys).startswith(f"scrn predict: {message}")


def other_checkpoints(checkpoint):
    """Files that are not a training's checkpoint, by what is wrong with them."""
    content = torch.load(checkpoint, weights_only=True)
    arguments, data = content["hyper_parameters"], content["datamodule_hyper_parameters"]
    return {
        "a list": [1, 2],
        "weights alone": content["state_dict"],
        "of other data": content | {"datamodule_hyper_parameters": {"path": "elsewhere"}},
        "of an unknown set": content | {"datamodule_hyper_parameters": data | {"name": "kitti"}},
        "of another network": content | {"hyper_parameters": arguments | {"context": "none"}},
        "of another Lightning module": {
            "state_dict": {}, "hyper_parameters": {"lr": 0.1}, "global_step": 3
        },
    }  # fmt: skip


def test_files_that_are_no_checkpoint(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("photo.png")
    (tmp_path / "text.ckpt").write_text("epoch 3, loss 0.2\n")
    (tmp_path / "empty.ckpt").write_text("")
    for name, content in other_checkpoints(checkpoint).items():
        torch.save(content, f"{name}.ckpt")
    for path in sorted(tmp_path.glob("*.ckpt")):
        for command in (
            ["predict", "photo.png", "--device", "cpu", "--model", path.name],
            ["export", "--checkpoint", path.name, "--output", "out"],
        ):
            assert main(command) == 1, path
            line = last_line(capsys)
            expected = f"scrn {command[0]}: {path.name}: expected a checkpoint of scrn fit, found"
            assert line.startswith(expected), line
    assert not (tmp_path / "out").exists()


def test_folders_that_are_no_model(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("photo.png")
    for spoilt in ("inference.json", "config.json", "model.safetensors"):
        other = tmp_path / f"without {spoilt}"
        other.mkdir()
        for file in folder.iterdir():
            (other / file.name).write_bytes(b"{}" if file.name == spoilt else file.read_bytes())
        assert main(["predict", "photo.png", "--device", "cpu", "--model", other.name]) == 1
        expected = f"scrn predict: {other.name}: expected a folder of scrn export, found"
        assert last_line(capsys).startswith(expected)


def test_export_of_no_size(checkpoint, tmp_path, capsys):
    command = ["export", "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out")]
    assert main([*command, "--short-side", "-5"]) == 1
    assert last_line(capsys) == "scrn export: short_side: expected 0, or at least 32, got -5"
    assert not (tmp_path / "out").exists()


def test_export_overwrites_nothing_but_an_export(checkpoint, tmp_path, capsys):
    notes, folder = tmp_path / "README.md", tmp_path / "new"
    notes.write_text("mine")
    command = ["export", "--checkpoint", str(checkpoint), "--output"]
    assert main([*command, str(tmp_path)]) == 1
    expected = "expected no such file, an empty folder, or a model of scrn export, found"
    assert last_line(capsys) == f"scrn export: {tmp_path}: {expected} another folder"
    assert main([*command, str(notes)]) == 1
    assert last_line(capsys) == f"scrn export: {notes}: {expected} a file"
    assert notes.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    for _ in range(2):
        assert main([*command, str(folder)]) == 0


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("huggingface_hub", ["cost"], "network"),
        ("lightning", ["fit", "--config", "camvid.yaml"], "train"),
        ("jsonargparse", ["fit", "--config", "camvid.yaml"], "train"),
        ("PIL", ["predict", "photo.jpg"], "train"),
        ("safetensors", ["export", "--checkpoint", "none", "--output", "none"], "train"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(missing, command, extra):
    script = f"""
import sys
sys.modules[{missing!r}] = None  # as if it were not installed
from scrn.cli import main
assert main(["--help"]) == 0
sys.exit(main({command!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"scrn {command[0]}: ")
    assert missing in line
    assert line.endswith(f"pip install 'scrn[{extra}]' brings it")


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_the_short_help_names_options_that_there_are(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scrn"])
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 45
    assert max(map(len, text.splitlines())) <= 110
    named = set(re.findall(r"^  --(\S+)", text, re.MULTILINE))
    assert {"config", "data.root", "ckpt_path", "model.weights"} <= named
    with pytest.raises(SystemExit) as done:
        main([command, "--help-all"])
    assert done.value.code == 0
    whole = capsys.readouterr().out
    assert len(whole.splitlines()) > 400
    assert [name for name in sorted(named) if not re.search(rf"--{name}\b", whole)] == []


@pytest.mark.parametrize("command", ["data", "predict", "export", "cost"])
def test_the_help_is_no_markup(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert "``" not in text
    assert ":func:" not in text
    assert text.split("\n\n")[1].strip()


def documented_commands():
    page = "".join((ROOT / f"docs/{name}.md").read_text() for name in ("training", "your_data"))
    options = re.findall(
        r"^\| `(--.*?)` \|", (ROOT / "docs/your_data.md").read_text(), re.MULTILINE
    )
    assert options
    for option in options:
        page += f"```bash\nscrn fit --config own.yaml {option.replace('`, `', ' ')}\n```\n"
    for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL):
        yield from (
            shlex.split(line, comments=True) for line in block.replace("\\\n", "").splitlines()
        )


def test_the_pages_commands_are_understood(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scrn"])
    seen = set()
    for words in filter(None, documented_commands()):
        assert words[0] in ("scrn", "srun", "torchrun"), words
        helps = any(word.startswith("--help") for word in words)
        if words[0] == "scrn" and words[1] in ("fit", "validate") and not helps:
            with pytest.raises(SystemExit) as done:
                main([*words[1:], "--print_config"])
            assert done.value.code == 0, capsys.readouterr().err
            seen.update(words)
    assert {"--model.scales", "--model.window", "--model.stride", "--model.baseline"} <= seen
