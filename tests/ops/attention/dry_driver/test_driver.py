"""The stand-in itself: it records what is launched on every way, and refuses what a device would
get wrong without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch

triton = pytest.importorskip("triton")
from benchmarks.compiled.attention import calls, driver  # noqa: E402
from benchmarks.compiled.attention.driver import (  # noqa: E402
    STREAM,
    DryDriver,
    device,
    recording,
)
from scrn_ops.attention.kernels import launch  # noqa: E402

from .recorded import record  # noqa: E402

tl = triton.language
M = 64


@triton.jit
def widened(unary, weights, m, stride_b, stride_m, BLOCK: tl.constexpr):
    row, places = tl.program_id(0), tl.arange(0, BLOCK)
    logits = tl.load(unary + row * stride_b + places * stride_m, mask=places < m, other=0.0)
    tl.store(weights + row * m + places, logits.to(tl.float32), mask=places < m)


class Compiled(NamedTuple):
    """A compiled kernel, what it was launched with, and the driver."""

    dry: DryDriver
    kernel: Any
    arguments: dict[str, Any]

    def launch(self, stream: int = STREAM, function: int = 0, **changed: Any) -> None:
        """As Triton's own launch does, and everything that goes around it."""
        kernel = self.kernel
        function = function or kernel.function
        kernel.run(3, 1, 1, stream, function, kernel.packed_metadata, None, None, None,
                   *{**self.arguments, **changed}.values())  # fmt: skip


@pytest.fixture
def compiled() -> Iterator[Compiled]:
    logits, weights = torch.empty(3, M, dtype=torch.bfloat16), torch.empty(3, M)
    with device(90) as dry, recording(dry):
        kernel = widened[(3,)](logits, weights, M, M, 1, BLOCK=M, num_warps=8)
        names = [name for name, _ in dry.launches[0].kernel.arguments]
        values = (logits, weights, M, M, 1, M)
        yield Compiled(dry, kernel, dict(zip(names, values, strict=True)))


def test_a_launch_is_recorded(compiled):
    (recorded,) = compiled.dry.launches
    logits, weights, *numbers = compiled.arguments.values()
    assert recorded.kernel.name == "widened"
    assert recorded.grid == (3, 1, 1)
    assert recorded.arguments == (logits.data_ptr(), weights.data_ptr(), *numbers)
    assert recorded.kernel.divisors["m"] == 16
    assert recorded.kernel.constants == {"stride_m": 1, "BLOCK": M}
    assert recorded.kernel.declared == (("BLOCK", M),)


def test_a_launch_of_the_compiled_kernel_is_recorded_alike(compiled):
    compiled.launch()
    addresses = {
        name: value.data_ptr()
        for name, value in compiled.arguments.items()
        if isinstance(value, torch.Tensor)
    }
    compiled.launch(**addresses)
    compiled.kernel[(3, 1, 1)](*compiled.arguments.values())
    first, *others = compiled.dry.launches
    assert len(others) == 3
    for other in others:
        assert other == first


def name_of_change(value):
    """A tensor by its type and shape: what memory held before is not the same in every process."""
    if isinstance(value, str):
        return value
    (name, changed), *_ = value.items()
    if isinstance(changed, torch.Tensor):
        changed = f"{changed.dtype}{list(changed.shape)}"
    return f"{name}={changed}"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"unary": torch.empty(3 * M + 1, dtype=torch.bfloat16)[1:]}, "multiples of 16"),
        ({"unary": 4097}, "multiples of 16"),
        ({"unary": torch.empty(3, M)}, "float32, compiled for .bf16"),
        ({"unary": 0}, "no address"),
        ({"unary": None}, "no address"),
        ({"m": M + 1}, "multiples of 16"),
        ({"m": 2**31}, "compiled for i32"),
        ({"m": 64.0}, "compiled for i32"),
        ({"stride_m": 2}, "stride_m is 2, compiled for 1"),
        ({"BLOCK": 128}, "BLOCK is 128, compiled for 64"),
        ({"another": 1}, "7 arguments for 6"),
        ({"stream": 0}, "stream 0"),
        ({"function": 12}, "handle of another kernel"),
    ],
    ids=name_of_change,
)
def test_what_a_kernel_was_not_compiled_for_is_refused(compiled, changed, message):
    assert "unary" in compiled.arguments
    with pytest.raises((ValueError, RuntimeError), match=message):
        compiled.launch(**changed)
    assert len(compiled.dry.launches) == 1


def test_an_empty_grid_is_refused(compiled):
    with pytest.raises(ValueError, match="grid"):
        compiled.kernel[(0, 1, 1)](*compiled.arguments.values())
    with pytest.raises(ValueError, match="grid"):
        compiled.kernel[(1, 65536, 1)](*compiled.arguments.values())


def test_a_kernel_of_another_device_is_refused(compiled):
    compiled.dry.launches = None
    with (
        device(80) as other,
        recording(other),
        pytest.raises(RuntimeError, match="not loaded on"),
    ):
        compiled.launch()


@pytest.mark.parametrize("family", driver.FAMILIES)
def test_the_launchers_see_the_device(family):
    tensor = torch.empty(1)
    with device(family):
        assert launch.family(tensor) == family
        assert launch.processors(tensor) == driver.PROCESSORS[family]
        assert triton.runtime.driver.active.get_current_target().arch == family


def test_everything_is_as_before_afterwards():
    before = triton.runtime.driver._active
    with pytest.raises(ValueError, match="expected 1090, got 0"), device(90) as dry:
        dry.set_current_device(0 if torch.empty(1).is_cuda else dry.device)
    assert triton.runtime.driver._active is before
    assert not torch.empty(1).is_cuda
    assert torch.empty(1).get_device() == -1
    assert "is_cuda" not in vars(torch.Tensor)


def test_nothing_is_recorded_while_time_is_measured(compiled):
    compiled.dry.launches = None
    compiled.launch()
    assert compiled.dry.launches is None


def test_addresses_get_names():
    case = calls.Case(90, (1, 256, 256, 256), "forward")
    recorded = record(case)
    start, size = recorded.places["query"]
    assert size == 256 * 256 * 2
    assert recorded.named(start) == "query+0"
    assert recorded.named(start + size - 1) == f"query+{size - 1}"
    assert not str(recorded.named(start - 1)).startswith("query")
    assert not str(recorded.named(start + size)).startswith("query")
    words = {word for launched in recorded.described() for word in map(str, launched[2])}
    assert {"query+0", "key+0", "unary+0", "value+0", "result 0+0", "scratch+0"} <= words
