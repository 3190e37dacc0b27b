"""A repeated call launches what the first did, and nothing of what was only the first's: whatever
the launchers keep from a call for the next one must not be an address, a stream or a factor."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")
from benchmarks.compiled.attention import calls
from benchmarks.compiled.attention.calls import DIRECTIONS, Case
from benchmarks.compiled.attention.driver import STREAM, driver_of

from .recorded import NOWHERE, chunked, record

SHAPE = (1, 920, 256, 256)
CALLS = [
    *(Case(90, SHAPE, direction, layout=layout)
      for direction in DIRECTIONS for layout in calls.LAYOUTS),
    Case(90, SHAPE, "forward", path="split_softmax"),
    *(chunked(direction) for direction in DIRECTIONS),
]  # fmt: skip
Launches = list[tuple[str, tuple[int, int, int], tuple[object, ...]]]
both_directions = pytest.mark.parametrize("direction", DIRECTIONS)


def same(repeated: Launches, first: Launches) -> bool:
    """Empty buffers have no address in the first call, and that of some other in a repeated one."""
    return [launch[:2] for launch in repeated] == [launch[:2] for launch in first] and all(
        before in (NOWHERE, now)
        for launch, known in zip(repeated, first, strict=True)
        for now, before in zip(launch[2], known[2], strict=True)
    )


@pytest.fixture(autouse=True)
def nothing_written_down() -> None:
    """The first call of each test is one that the launchers do not know."""
    calls.plans_of.cache_clear()


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_other_tensors(call):
    kept = [calls.tensors_of(call) for _ in range(3)]
    first, *others = [record(call, tensors).described() for tensors in kept]
    given = {str(word).split("+")[0] for launch in first for word in launch[2]}
    assert set(kept[0]) <= given, "a tensor that no kernel is given"
    for other in others:
        assert same(other, first)


@pytest.mark.parametrize("name", ["query", "key", "unary", "value"])
@both_directions
def test_an_odd_address(direction, name):
    """Kernels that were compiled for addresses divisible by 16 must not be given another: the
    stand-in refuses that."""
    case = Case(90, SHAPE, direction)
    aligned = calls.tensors_of(case)
    record(case, aligned)
    size = aligned[name].shape
    memory = calls.empty(case, size.numel() + 1)
    recorded = record(case, {**aligned, name: memory[1:].view(size)})
    start, _ = recorded.places[name]
    addresses = [a for launch in recorded.launches for a in launch.arguments]
    assert start + memory.element_size() in addresses


@both_directions
def test_other_strides(direction):
    """Of the same shape."""
    case = Case(90, SHAPE, direction)
    by_channels = case._replace(layout="channel_major")
    rows, columns = record(case).described(), record(by_channels).described()
    assert rows != columns
    assert same(record(case).described(), rows)
    assert same(record(by_channels).described(), columns)


@both_directions
def test_another_scale(direction):
    case = Case(90, SHAPE, direction)
    once, twice = (record(case, scale=scale).described() for scale in (0.125, 0.25))
    factors = []
    for (_, grid, before), (_, other_grid, after) in zip(once, twice, strict=True):
        assert grid == other_grid
        differing = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
        factors += [a / b for b, a in differing]
    assert factors
    assert set(factors) == {2.0}


@both_directions
def test_another_stream(direction):
    case = Case(90, SHAPE, direction)
    dry = driver_of(90)
    record(case)
    try:
        for dry.stream in (STREAM + 1, STREAM + 2):
            assert record(case).launches, "the stand-in refuses launches on another stream"
    finally:
        dry.stream = STREAM


def test_other_gradients():
    case = Case(90, SHAPE, "backward")
    every = record(case).described()
    for wanted in range(4):
        needs = tuple(i == wanted for i in range(4))
        some = record(case, needs=needs)
        assert 0 < len(some.launches) < len(every)
        assert f"result {wanted}+0" in {word for launch in some.described() for word in launch[2]}
    assert same(record(case).described(), every)


@both_directions
def test_other_devices(direction):
    """A kernel stays on the device that it was loaded on."""
    for family in (90, 120, 90):
        launches = record(Case(family, SHAPE, direction)).launches
        assert {launch.kernel.metadata.target.arch for launch in launches} == {family}
