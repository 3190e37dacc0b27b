"""The table of ``benchmarks.attention_accuracy``: no path is worse than torch's attention on
inputs that were whitened in float32.

Where both round the same numbers at the same places, as on a GPU, the errors are the same but for
the order of sums: a simulation of both over twelve seeds gives ratios from 0.993 to 1.002.
"""

from __future__ import annotations

import pytest
import torch

from benchmarks.attention_accuracy import NAMES, WHITENED, errors
from scrn_ops.attention.table import PATHS


@pytest.mark.parametrize("mean", [0.0, 3.0])
@pytest.mark.parametrize("embeddings", ["float32", "half"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_not_worse_than_sdpa(device, dtype, embeddings, mean):
    found = errors(dtype, torch.float32 if embeddings == "float32" else dtype, mean, device)
    for path in PATHS:
        for name, error, bar in zip(NAMES, found[path], found[WHITENED], strict=True):
            assert error <= 1.01 * bar, f"{path}, {name}: {error:.2e} > {bar:.2e}"
