"""How many kernels a call launches and compiles, and that a repeated call launches the same."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("triton")
from . import calls, driver
from .calls import DIRECTIONS, ONE_CHUNK, SHAPES, Case, chunked

MOST = {"forward": 4, "backward": 9}  # launches of a call whose scores are one chunk
MOST_PER_CHUNK = 4
MOST_VARIANTS = 2
SMALL = (1, 920, 256, 256)


@pytest.mark.xfail(strict=True, reason="9 launches forward, 15 backward")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_launches_of_a_call(direction, shape):
    launches = calls.record(Case(90, shape, direction, chunk_bytes=ONE_CHUNK)).launches
    names = Counter(launch.kernel.name for launch in launches)
    assert 0 < len(launches) <= MOST[direction], dict(names)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_launches_of_a_chunk(direction):
    name = {"forward": "weighted_values", "backward": "score_gradients"}[direction]
    case = chunked(direction)
    whole = calls.record(case._replace(chunk_bytes=ONE_CHUNK)).launches
    parts = calls.record(case).launches
    assert [launch.kernel.name for launch in whole].count(name) == 1
    chunks = [launch.kernel.name for launch in parts].count(name)
    assert chunks > 1
    assert len(parts) - len(whole) <= MOST_PER_CHUNK * (chunks - 1)


@pytest.mark.xfail(strict=True, reason="starts and numbers of rows are compiled in")
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_variants_of_a_chunked_call(direction):
    found = driver.variants(calls.record(chunked(direction)).launches)
    assert found
    assert max(found.values()) <= MOST_VARIANTS, {str(k): v for k, v in found.items()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_variants_of_a_call(direction, shape, request):
    if direction == "backward" and shape[0] == 8:
        reason = "starts and numbers of rows are compiled in"
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    found = driver.variants(calls.record(Case(90, shape, direction)).launches)
    assert max(found.values()) <= MOST_VARIANTS, {str(k): v for k, v in found.items()}


@pytest.mark.parametrize("layout", calls.LAYOUTS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_repeated_call_launches_the_same_on_its_own_tensors(direction, layout):
    """Whatever of a call is kept for the next one must not keep addresses."""
    case = Case(90, SMALL, direction, layout=layout)
    kept = [calls.tensors_of(case) for _ in range(3)]
    first, *others = [calls.record(case, tensors).described() for tensors in kept]
    given = {str(word).split("+")[0] for launch in first for word in launch[2]}
    assert set(kept[0]) <= given, "a tensor that no kernel is given"
    for other in others:
        assert other == first


@pytest.mark.parametrize("name", ["query", "key", "unary", "value"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_repeated_call_with_an_odd_address(direction, name):
    """Kernels that were compiled for addresses divisible by 16 must not be given another; the
    driver refuses them."""
    case = Case(90, SMALL, direction)
    aligned = calls.tensors_of(case)
    calls.record(case, aligned)
    size = aligned[name].shape
    memory = calls.empty(case, size.numel() + 1)
    odd = {**aligned, name: memory[1:].view(size)}
    recorded = calls.record(case, odd)
    start, _ = recorded.places[name]
    addresses = [a for launch in recorded.launches for a in launch.arguments]
    assert start + memory.element_size() in addresses
