"""Fixtures for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.cuda))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-networks",
        action="store_true",
        help="every backbone with every upsampler and context module instead of a selection",
    )


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """The CPU, and CUDA where there is a device."""
    return request.param


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Fills what torch allocates with NaN, so that an output left unwritten is seen."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
