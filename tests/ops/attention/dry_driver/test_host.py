"""What a call costs the host when everything is compiled."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")
from benchmarks.compiled.attention import calls
from benchmarks.compiled.attention.calls import DIRECTIONS, SHAPES, Case
from benchmarks.compiled.attention.host import host_calls, host_microseconds

from .recorded import ONE_CHUNK

# Calls of functions, which is what the microseconds are made of. Beside other work on the machine
# those are more than twice as many as on a quiet one, so that no bar of theirs would hold.
MOST = {"forward": 100, "backward": 145}
MICROSECONDS = 8.0  # for a launch, what is done once for a call included
OF_A_BUSY_MACHINE = 5  # times as long


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_calls_of_a_call(direction, shape):
    assert host_calls(Case(90, shape, direction, chunk_bytes=ONE_CHUNK)) <= MOST[direction]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_microseconds_of_a_launch(direction):
    case = Case(90, SHAPES[0], direction, chunk_bytes=ONE_CHUNK)
    launches, time = len(calls.record(case)[0]), host_microseconds(case)
    print(f"{time:.0f} us a call of {launches} launches")
    assert 0 < time / launches <= MICROSECONDS * OF_A_BUSY_MACHINE
