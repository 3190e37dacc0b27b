"""Scores in memory: half of what the formula holds, and bounded for long sequences."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from benchmarks.common.checkout import ROOT
from benchmarks.common.memory import peak_bytes
from scrn_ops import reference, whitened_attention
from scrn_ops.attention import by_products


def inputs(n, width, channels):
    sizes = ((1, n, width), (1, n, width), (1, n), (1, n, channels))
    return [torch.randn(size).requires_grad_() for size in sizes]


def gradients(call, tensors):
    output = call(*tensors)
    return torch.autograd.grad(output, tensors, torch.ones_like(output))


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(("batch", "n", "width"), [(1, 1024, 32), (1, 400, 4), (3, 700, 16)])
def test_half_of_the_scores(batch, n, width, kept, monkeypatch):
    """N x M numbers forward and half as many again with the backward; the formula has two and
    three times as many."""
    if not kept:
        monkeypatch.setattr(by_products, "KEPT_BYTES", -1)
    tensors = [
        t.detach().repeat_interleave(batch, 0).requires_grad_() for t in inputs(n, width, width)
    ]
    scores = batch * n**2 * 4
    rest = 6 * sum(tensor.numel() for tensor in tensors) * 4
    peaks = {}
    for name, op in (("ours", whitened_attention), ("formula", reference.whitened_attention)):
        with torch.no_grad():
            forward = peak_bytes(lambda op=op: op(*tensors), "cpu")
        peaks[name] = forward, peak_bytes(lambda op=op: gradients(op, tensors), "cpu")
    assert peaks["formula"][0] >= 2 * scores
    assert peaks["formula"][1] >= 3 * scores
    assert peaks["ours"][0] <= scores + rest
    assert peaks["ours"][1] <= (1.5 if kept else 1) * scores + rest


def test_few_scores_are_not_divided():
    """Two buffers of at most 256 KiB each."""
    tensors = inputs(256, 16, 16)
    rest = 6 * sum(tensor.numel() for tensor in tensors) * 4
    assert peak_bytes(lambda: gradients(whitened_attention, tensors), "cpu") <= (512 << 10) + rest


LONG = """
from benchmarks.common import memory
from scrn_ops import whitened_attention
from tests.ops.attention.test_memory import gradients, inputs

gradients(whitened_attention, inputs(64, 64, 64))  # what is loaded at first use
tensors = inputs(16384, 64, 64)
before = memory.start("cpu")
gradients(whitened_attention, tensors)
print(memory.peak("cpu") - before)
"""


@pytest.mark.slow
def test_long_sequences():
    """N = M = 16384, forward and backward, in a process of its own, whose memory is that of no
    other test: all scores at once would be 1 GiB."""
    run = subprocess.run(
        [sys.executable, "-c", LONG], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 2 << 30
    print(f"{int(run.stdout) >> 20} MiB")
