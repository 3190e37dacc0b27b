"""The harness finds what it is for: right kernels pass, and each planted mistake is reported."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from . import build
from .device import Device, Tensor
from .session import KIND

COUNT = 200


@pytest.fixture
def numbers(selftest: Device) -> Tensor:
    return selftest.upload("input", np.arange(COUNT), "float32")


def fault(device: Device, name: str, **arguments: object) -> str:
    with pytest.raises(device.module.KernelFault) as caught:
        device.launch(name, **arguments)
    return str(caught.value)


def block_sum(device: Device, numbers: Tensor, mistake: int = 0) -> np.ndarray:
    output = device.empty("output", (4,), "float32")
    device.launch("block_sum", input=numbers, output=output, count=COUNT, mistake=mistake)
    return output.numpy()


def warp_sum(device: Device, numbers: Tensor, mistake: int = 0) -> float:
    output = device.empty("output", (1,), "float32")
    output.raw()[...] = 0
    device.launch(
        "warp_sum", input=numbers, output=output, count=COUNT, threads=96, mistake=mistake
    )
    return float(output.numpy()[0])


ORDERS = [("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)]


@pytest.mark.parametrize(("order", "seed"), ORDERS)
def test_right_kernels(selftest: Device, numbers: Tensor, order: str, seed: int) -> None:
    selftest.set_order(order, order, seed)
    values = np.arange(COUNT)
    assert block_sum(selftest, numbers).tolist() == [
        values[i : i + 64].sum() for i in range(0, COUNT, 64)
    ]
    assert warp_sum(selftest, numbers) == values.sum()
    selftest.set_order()


def test_collectives(selftest: Device) -> None:
    v = (np.arange(32) * 7 + 3) % 32
    lane = np.arange(32)
    source = selftest.empty("input", (32,), "float32")
    source.raw().view(np.int32)[...] = v
    result = selftest.empty("output", (17, 32), "float32")
    selftest.launch("collectives", input=source, output=result)
    same_rest = [sum(1 << j for j in range(32) if v[j] % 3 == v[i] % 3) for i in range(32)]
    expected = [
        v[lane // 2],
        v[lane // 8 * 8 + 3],
        v[np.where(lane >= 3, lane - 3, lane)],
        v[np.where(lane % 8 >= 3, lane - 3, lane)],
        v[np.where(lane < 27, lane + 5, lane)],
        v[np.where(lane % 16 < 11, lane + 5, lane)],
        v[lane ^ 9],
        v[lane ^ 1],
        np.full(32, sum(1 << i for i in range(32) if v[i] > 16)),
        np.full(32, 1),
        np.full(32, 0),
        np.array(same_rest),
        np.full(32, v.sum()),
        np.full(32, 0),
        np.full(32, (v % 2).sum()),
        np.full(32, 1),
        np.full(32, 0),
    ]
    got = result.raw().view(np.int32)
    for row, values in enumerate(expected):
        assert got[row].view(np.uint32).tolist() == values.astype(np.uint32).tolist(), row


def test_half_atomics(selftest: Device) -> None:
    source = selftest.upload("input", np.full(100, 0.5), "float16")
    result = selftest.empty("output", (2,), "float16")
    result.raw()[...] = 0
    selftest.launch("half_sum", input=source, output=result, count=100)
    assert result.numpy().tolist() == [50.0, 100.0]


def test_read_behind_the_end(selftest: Device, numbers: Tensor) -> None:
    message = fault_of_block_sum(selftest, numbers, 1)
    assert "block (3,0,0), thread (8,0,0): read of 0 bytes behind the end of `input`" in message


def fault_of_block_sum(device: Device, numbers: Tensor, mistake: int) -> str:
    output = device.empty("output", (4,), "float32")
    return fault(device, "block_sum", input=numbers, output=output, count=COUNT, mistake=mistake)


def test_write_behind_the_end(selftest: Device, numbers: Tensor) -> None:
    message = fault_of_block_sum(selftest, numbers, 6)
    assert "thread (0,0,0): write to 0 bytes behind the end of `output` (16 bytes)" in message


def test_read_in_front(selftest: Device) -> None:
    selftest.placement = "start"
    numbers = selftest.upload("input", np.arange(32), "float32")
    selftest.placement = "end"
    message = fault(selftest, "read_in_front", input=numbers, output=numbers)
    assert "read of 4 bytes in front of `input` (128 bytes)" in message


def test_missing_barrier(
    selftest: Device, numbers: Tensor, take_reports: Callable[[], str]
) -> None:
    sums = block_sum(selftest, numbers, 2)
    assert np.isnan(sums).any()  # shared memory starts as NaN
    if KIND == "tsan":
        report = take_reports()
        assert "data race" in report
        assert "in block_sum" in report
        assert "block (0,0,0) thread" in report


def test_threads_may_leave_before_a_barrier(selftest: Device, numbers: Tensor) -> None:
    assert block_sum(selftest, numbers, 3)[0] == np.arange(64).sum()


def test_diverging_barriers(selftest: Device, numbers: Tensor) -> None:
    message = fault_of_block_sum(selftest, numbers, 4)
    assert "diverging barriers: it waits at selftest.cu:" in message
    assert message.count("selftest.cu:") == 3  # the launch and both barriers


def test_write_behind_shared_memory(
    selftest: Device, numbers: Tensor, take_reports: Callable[[], str]
) -> None:
    if KIND == "asan":
        block_sum(selftest, numbers, 5)
        report = take_reports()
        assert "use-after-poison" in report
        assert "index 64 out of bounds" in report
    else:
        message = fault_of_block_sum(selftest, numbers, 5)
        assert "behind the end of `tree` in shared memory" in message


WARP_MISTAKES = {
    1: "reads lane 16, which is not in the mask",
    2: "but the kernel was left by lane 31",
    3: "waits in __shfl_xor_sync(0xffffffff)",
    4: "reads lane 20, which is not in the mask",
}


@pytest.mark.parametrize(("mistake", "cause"), WARP_MISTAKES.items())
def test_warp_mistakes(selftest: Device, numbers: Tensor, mistake: int, cause: str) -> None:
    output = selftest.empty("output", (1,), "float32")
    arguments = {"input": numbers, "output": output, "count": COUNT, "threads": 96}
    message = fault(selftest, "warp_sum", **arguments, mistake=mistake)
    assert message.startswith("warp_sum (launched at selftest.cu:")
    assert cause in message


@pytest.mark.skipif(KIND != "tsan", reason="only ThreadSanitizer sees a race that ends well")
@pytest.mark.parametrize("mistake", [5, 6], ids=["warp barrier for block", "plain add for atomic"])
def test_races(
    selftest: Device, numbers: Tensor, take_reports: Callable[[], str], mistake: int
) -> None:
    warp_sum(selftest, numbers, mistake)
    report = take_reports()
    assert "data race" in report
    assert "in warp_sum" in report


def rotate(device: Device, mistake: int) -> tuple[Tensor, str]:
    source = device.empty("input", (64,), "float32")
    source.raw().view(np.int32)[...] = np.arange(64)
    source.buffer.set_writable(False)
    output = device.empty("output", (64,), "float32")
    try:
        device.launch("rotate", input=source, output=output, blocks=2, mistake=mistake)
    except device.module.KernelFault as error:
        return output, str(error)
    return output, ""


def test_missing_syncwarp(selftest: Device, take_reports: Callable[[], str]) -> None:
    output, message = rotate(selftest, 0)
    assert not message
    assert output.raw().view(np.int32)[:32].tolist() == [*range(1, 32), 0]
    output, _ = rotate(selftest, 1)
    assert output.raw().view(np.int32)[:32].tolist() != [*range(1, 32), 0]
    if KIND == "tsan":
        assert "in rotate" in take_reports()


ROTATE_MISTAKES = {
    2: "no thread can go on",
    4: "write to `input`, which is an input",
    5: "integer division by zero",
}


@pytest.mark.parametrize(("mistake", "cause"), ROTATE_MISTAKES.items())
def test_other_mistakes(
    selftest: Device, take_reports: Callable[[], str], mistake: int, cause: str
) -> None:
    _, message = rotate(selftest, mistake)
    assert cause in message
    if KIND == "asan" and mistake == 5:
        assert "division by zero" in take_reports()


@pytest.mark.skipif(KIND == "tsan", reason="its runtime cannot be left from a timer's signal")
def test_endless_loop(selftest: Device) -> None:
    selftest.module.set_options(seconds=0.3)
    _, message = rotate(selftest, 3)
    selftest.set_order()
    assert "block (0,0,0), thread (0,0,0): the launch takes too long" in message


@pytest.mark.skipif(KIND != "asan", reason="UndefinedBehaviorSanitizer checks alignment")
def test_misaligned_access(selftest: Device, take_reports: Callable[[], str]) -> None:
    rotate(selftest, 6)
    report = take_reports()
    assert report.count("misaligned address") == 2  # one of them in shared memory


def test_impossible_launches_return_an_error(selftest: Device, numbers: Tensor) -> None:
    output = selftest.empty("output", (1,), "float32")
    for threads in (1056, 0):
        arguments = {"count": 0, "threads": threads, "mistake": 0}
        if threads == 0:
            arguments |= {"threads": 32}  # no elements, no blocks
        error = selftest.call("warp_sum", input=numbers, output=output, **arguments)
        assert error == 9, threads  # cudaErrorInvalidConfiguration


def test_launches_are_recorded(selftest: Device, numbers: Tensor) -> None:
    selftest.module.take_records()
    block_sum(selftest, numbers)
    warp_sum(selftest, numbers)
    first, second = selftest.module.take_records()
    assert first["expression"] == "block_sum"
    assert (first["grid"], first["block"]) == ((4, 1, 1), (64, 1, 1))
    assert first["static_shared_bytes"] == 256
    assert first["barriers"] == 4 * 7
    assert second["dynamic_shared_bytes"] == 12
    assert second["atomics"] == 3
    assert second["collectives"] == 3 * 3 * 5


def test_a_compiler_that_is_ended_has_refused_nothing() -> None:
    with pytest.raises(RuntimeError, match="sh: ended by signal 2") as caught:
        build.run_compiler(["sh", "-c", "kill -INT $$"])
    assert not isinstance(caught.value, build.BuildFailure)
    with pytest.raises(build.BuildFailure):
        build.run_compiler(["sh", "-c", "exit 1"])
