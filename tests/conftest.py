"""Fixtures for every test."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor

DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append(pytest.param("cuda", marks=pytest.mark.cuda))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-networks",
        action="store_true",
        help="every backbone with every upsampler and context module instead of a selection",
    )
    parser.addoption(
        "--all-dry-runs",
        action="store_true",
        help="the attention's launchers for every architecture, type, layout and documented shape "
        "instead of a selection",
    )
    parser.addoption(
        "--all-sanitized",
        action="store_true",
        help="the kernels' tests under the sanitizers with every case instead of a sample",
    )


def pytest_configure() -> None:
    # A shell's job in the background ignores interrupts, and so would what the tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_trace_log() -> Iterator[None]:
    """Without torch's trace of what it compiles and exports, which pytest's capturing of logs
    switches on: with it an export takes several times as long."""
    log = logging.getLogger("torch.__trace")
    held, log.handlers, log.propagate = (log.handlers, log.propagate), [], False
    yield
    log.handlers, log.propagate = held


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


Results = Sequence[Tensor]


@pytest.fixture
def captured() -> Callable[[Callable[[], Results]], tuple[torch.cuda.CUDAGraph, Results]]:
    """Captures a call in a CUDA graph: the graph, and the results that a replay overwrites."""
    from benchmarks.gpu.measure import captured

    return captured


@pytest.fixture
def on_side_stream() -> Callable[[Callable[..., Results], Sequence[Tensor]], Results]:
    """Calls with leaves of these values on a stream that fills them late: whatever is launched
    on another stream finds NaN."""

    def call(function: Callable[..., Results], values: Sequence[Tensor]) -> Results:
        held = [torch.full_like(value.detach(), torch.nan) for value in values]
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(100_000_000)
            for empty, value in zip(held, values, strict=True):
                empty.copy_(value.detach())
            results = function([tensor.requires_grad_() for tensor in held])
        stream.synchronize()
        return results

    return call
