"""Scores in memory: half of what the formula holds, and bounded for long sequences."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from benchmarks.attention_cpu import gradients, inputs
from benchmarks.memory import peak_bytes
from scrn_ops import reference, whitened_attention


@pytest.mark.parametrize("shape", [(1024, 32, 32), (920, 48, 16)])
def test_half_of_the_scores(shape):
    """One buffer of N x M numbers forward and one and a half with the backward; the formula has
    two and three."""
    tensors = inputs(shape)
    scores = shape[0] ** 2 * 4
    rest = 6 * sum(tensor.numel() for tensor in tensors) * 4
    peaks = {}
    for name, op in (("ours", whitened_attention), ("formula", reference.whitened_attention)):
        with torch.no_grad():
            forward = peak_bytes(lambda op=op: op(*tensors), "cpu")
        peaks[name] = forward, peak_bytes(lambda op=op: gradients(op, tensors), "cpu")
    assert peaks["formula"][0] >= 2 * scores
    assert peaks["formula"][1] >= 3 * scores
    assert peaks["ours"][0] <= scores + rest
    assert peaks["ours"][1] <= 1.5 * scores + rest


@pytest.mark.slow
def test_long_sequences():
    """N = M = 16384, forward and backward: all scores at once would be 1 GiB."""
    command = [sys.executable, "-m", "benchmarks.attention_cpu", "--long"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 2048
    print(f"{run.stdout.strip()} MiB")
