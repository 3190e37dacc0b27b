"""What a call costs the host when everything is compiled."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")
from benchmarks.compiled.attention.calls import DIRECTIONS, SHAPES, Case
from benchmarks.compiled.attention.host import calls_of_functions, host_time

from .recorded import ONE_CHUNK

# Calls of functions, which is what the microseconds are made of. Beside other work on the machine
# those are more than twice as many as on a quiet one, so that no bar of theirs would hold.
MOST = {"forward": 100, "backward": 145}
MICROSECONDS = 8.0  # for a launch, what is done once for a call included
OF_A_BUSY_MACHINE = 5  # times as long


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_calls_of_a_call(direction, shape):
    assert calls_of_functions(Case(90, shape, direction, chunk_bytes=ONE_CHUNK)) <= MOST[direction]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_microseconds_of_a_launch(direction):
    time = host_time(Case(90, SHAPES[0], direction, chunk_bytes=ONE_CHUNK))
    print(f"{time.call:.0f} us a call of {time.launches} launches, yardstick {time.yardstick:.0f}")
    assert 0 < time.per_launch <= MICROSECONDS * OF_A_BUSY_MACHINE, time
