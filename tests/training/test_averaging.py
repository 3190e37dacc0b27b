"""The average of a short training is one of its last steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from scrn.engine.averaging import WarmedAveraging


@pytest.mark.parametrize(("decay", "steps"), [(0.998, 200), (0.5, 40), (0.0, 3)])
def test_the_average_by_hand(decay, steps):
    module = nn.BatchNorm1d(1)
    callback = WarmedAveraging(decay)
    average = AveragedModel(module, use_buffers=True, avg_fn=callback._averaged)
    expected = None
    for step in range(steps):
        module.weight.data.fill_(step)
        module.running_mean.fill_(-step)
        module.num_batches_tracked.fill_(step)
        assert callback.should_update(step_idx=step)
        average.update_parameters(module)
        kept = min(decay, (1 + step) / (10 + step))
        expected = step if expected is None else kept * expected + (1 - kept) * step
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)
    assert average.module.running_mean.item() == pytest.approx(-expected, rel=1e-5)
    assert average.module.num_batches_tracked.item() == steps - 1
    assert expected > 0.85 * (steps - 1)
    assert not callback.should_update(epoch_idx=1)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_is_none(decay):
    with pytest.raises(ValueError, match="decay: expected a number from 0 and below 1"):
        WarmedAveraging(decay)


def test_a_constant_decay_would_not_do():
    """Why there is one that rises."""
    value = torch.zeros(())
    for _ in range(250):
        value = torch.lerp(torch.ones(()), value, 0.998)
    assert value < 0.41
