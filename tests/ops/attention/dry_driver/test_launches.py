"""How many kernels a call launches and compiles, and that a repeated call launches the same."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("triton")
from benchmarks.compiled.attention import driver
from benchmarks.compiled.attention.calls import DIRECTIONS, SHAPES, Case

from .recorded import ONE_CHUNK, chunked, record

MOST = {"forward": 4, "backward": 7}  # launches of a call whose scores are one chunk
MOST_PER_CHUNK = 2
MOST_VARIANTS = 1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_launches_of_a_call(direction, shape):
    launches = record(Case(90, shape, direction, chunk_bytes=ONE_CHUNK)).launches
    names = Counter(launch.kernel.name for launch in launches)
    assert 0 < len(launches) <= MOST[direction], dict(names)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_launches_of_a_chunk(direction):
    name = {"forward": "weighted_values", "backward": "score_gradients"}[direction]
    case = chunked(direction)
    whole = record(case._replace(chunk_bytes=ONE_CHUNK)).launches
    parts = record(case).launches
    assert [launch.kernel.name for launch in whole].count(name) == 1
    chunks = [launch.kernel.name for launch in parts].count(name)
    assert chunks > 1
    assert len(parts) - len(whole) <= MOST_PER_CHUNK * (chunks - 1)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_variants_of_a_chunked_call(direction):
    found = driver.variants(record(chunked(direction)).launches)
    assert found
    assert max(found.values()) <= MOST_VARIANTS, {str(k): v for k, v in found.items()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_variants_of_a_call(direction, shape):
    found = driver.variants(record(Case(90, shape, direction)).launches)
    assert max(found.values()) <= MOST_VARIANTS, {str(k): v for k, v in found.items()}
