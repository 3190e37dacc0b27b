"""What a launch costs the host when everything is compiled."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")
from .calls import DIRECTIONS, ONE_CHUNK, SHAPES, Case
from .host import host_time

MICROSECONDS = 8.0  # for a launch
MARGIN = 1.3  # for what else the machine does


@pytest.mark.xfail(strict=True, reason="Triton binds the arguments of every launch: 40 to 60 us")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_microseconds_of_a_launch(direction, shape):
    time = host_time(Case(90, shape, direction, chunk_bytes=ONE_CHUNK))
    print(f"{time.call:.0f} us a call of {time.launches} launches, yardstick {time.yardstick:.0f}")
    assert time.per_launch <= MICROSECONDS * MARGIN * time.slowdown, time
