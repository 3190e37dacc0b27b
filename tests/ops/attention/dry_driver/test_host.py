"""What a launch costs the host when everything is compiled."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")
from benchmarks.compiled.attention.calls import DIRECTIONS, SHAPES, Case
from benchmarks.compiled.attention.host import host_time

from .recorded import ONE_CHUNK

MOST = {"forward": 4, "backward": 7}  # launches
MICROSECONDS = 8.0  # for a launch, what is done once for a call included
MARGIN = 1.3  # for what else the machine does


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_microseconds_of_a_launch(direction, shape):
    time = host_time(Case(90, shape, direction, chunk_bytes=ONE_CHUNK))
    print(f"{time.call:.0f} us a call of {time.launches} launches, yardstick {time.yardstick:.0f}")
    # A call with fewer launches, where keys are not split, has no less to do around them.
    assert time.call <= MOST[direction] * MICROSECONDS * MARGIN * time.slowdown, time
