"""Ctrl-C in ``scrn fit``: nothing is lost, and the command that goes on is printed."""

from __future__ import annotations

import shlex
import signal
import sys

import pytest
import torch

from scrn.cli import main

from .command import recipe, tiny_camvid

SMALL = (
    "--model.backbone=timm:test_resnet", "--model.context=none", "--data.crop=[32,32]",
    "--trainer.limit_val_batches=1",
)  # fmt: skip


@pytest.fixture
def fit(tmp_path, monkeypatch, capfd):
    """Trains two epochs of 3 steps: the exit status, what was printed, and the checkpoint's
    weights and step."""
    tiny_camvid(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scrn"])
    monkeypatch.setattr("scrn.engine.task.keep_freed_memory", lambda: None)

    def run(name, *options, command=None):
        if command is None:
            config = recipe(tmp_path, name, every=100)
            command = ["fit", "--config", config.name, *SMALL, *options]
        capfd.readouterr()
        handler = signal.getsignal(signal.SIGINT)
        status = main(command)
        assert signal.getsignal(signal.SIGINT) is handler
        shown = capfd.readouterr()
        path = tmp_path / name / "last.ckpt"
        content = torch.load(path, weights_only=True) if path.exists() else None
        return status, shown.out + shown.err, content

    return run


def interrupts(step, **arguments):
    values = {"step": step} | arguments
    return [
        "--trainer.callbacks+=tests.training.callbacks.InterruptAt",
        *(f"--trainer.callbacks.{name}={str(value).lower()}" for name, value in values.items()),
    ]


def resume_line(text):
    (line,) = [line for line in text.splitlines() if line.startswith("to go on: ")]
    return shlex.split(line.removeprefix("to go on: "))


# Before the step of this number is counted. A validation follows each epoch's third step.
@pytest.mark.parametrize(
    ("at", "options", "kept", "steps"),
    [
        (interrupts(1), ["--data.workers=1"], 2, 6),
        (interrupts(3, validating=True), [], 3, 6),
        (interrupts(0), ["--trainer.accumulate_grad_batches=2"], 1, 4),
    ],
    ids=["within a step", "within a validation", "within an accumulated step"],
)
def test_what_was_done_is_saved_and_the_printed_command_goes_on(fit, at, options, kept, steps):
    status, text, content = fit("stopped", *options, *at)
    assert status == 130
    assert content["global_step"] == kept
    assert f"checkpoint of step {kept}: stopped/last.ckpt" in text
    assert "Traceback" not in text
    command = resume_line(text)
    assert command[:4] == ["scrn", "fit", "--config", "stopped.yaml"]
    # The same command but for what presses Ctrl-C.
    command = [word for word in command[1:] if not word.startswith("--trainer.callbacks")]
    status, text, resumed = fit("stopped", command=command)
    assert status == 0
    _, _, whole = fit("whole", *options)
    assert resumed["global_step"] == whole["global_step"] == steps
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name


def test_twice_stops_at_once(fit):
    status, text, content = fit("twice", *interrupts(1, times=2))
    assert (status, content) == (130, None)
    assert "stopping after this step" in text
    assert "no checkpoint has been written" in text
    assert "to go on" not in text


def test_a_job_that_is_not_to_be_stopped_is_not(fit):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as shells have it for `scrn fit &`
    try:
        status, text, content = fit("ignored", *interrupts(1))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (status, content["global_step"]) == (0, 6)
    assert "stopping" not in text


def test_an_exit_of_somebodys_own_keeps_its_status(fit):
    with pytest.raises(SystemExit) as ended:
        fit("own", "--trainer.callbacks+=tests.training.callbacks.ExitWith")
    assert ended.value.code == 3


def test_a_training_that_ends_says_where_its_checkpoint_is(fit):
    status, text, _ = fit("whole", "--ckpt_path=null")
    assert status == 0
    assert "checkpoint of step 6: whole/last.ckpt" in text
    assert "to go on" not in text


def test_an_older_checkpoint_is_not_named_twice():
    from scrn.engine.training import _resumed

    for older in (["--ckpt_path", "a.ckpt"], ["--ckpt_path=a.ckpt"]):
        given = ["fit", *older, "--data.root", "my data"]
        assert _resumed(given, "b.ckpt") == [
            "fit",
            "--data.root",
            "my data",
            "--ckpt_path",
            "b.ckpt",
        ]
