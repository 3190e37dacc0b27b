"""What the host does for a call of the launchers: microseconds, and calls of functions.

The stand-in returns at once from a launch, and memory is the CPU's, kept from one call to the
next: what is left out is the driver's own launch, and what CUDA's allocator does differently.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter_ns
from typing import NamedTuple

from . import calls
from .calls import Case

ROUNDS = 1000  # short ones, some of which nothing else on the machine disturbs


class HostTime(NamedTuple):
    launches: int
    call: float  # microseconds of the fastest round
    yardstick: float  # as well

    @property
    def per_launch(self) -> float:
        return self.call / self.launches


def yardstick() -> None:
    """What launchers do most: calls, tuples and look-ups, but always the same."""
    known: dict[tuple[int, int], int] = {}
    for i in range(300):
        key = (i & 15, i & 3)
        known[key] = known.get(key, 0) + max(*key)


@contextmanager
def memory_kept() -> Iterator[None]:
    """As CUDA's allocator does: the C library would ask the kernel for every large piece, and give
    it back, which takes longer than all the launches of a call."""
    library = ctypes.CDLL(None)
    trim_threshold, mmap_max = -1, -4
    library.mallopt(mmap_max, 0)
    library.mallopt(trim_threshold, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(mmap_max, 65536)
        library.mallopt(trim_threshold, 128 << 10)
        library.malloc_trim(0)


def microseconds(call: Callable[[], object]) -> float:
    start = perf_counter_ns()
    call()
    return (perf_counter_ns() - start) / 1000


def calls_of_functions(case: Case) -> int:
    """Of Python and of C, in a repeated call: a count of what the host does that nothing else on
    the machine moves."""
    tensors = calls.tensors_of(case)
    calls.record(case, tensors)
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    with calls.prepared(case):
        call = calls.function_of(case, tensors)
        call()
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            call()
        finally:
            sys.setprofile(before)
    return counted


def host_time(case: Case) -> HostTime:
    """Of a repeated call: everything is compiled, and whatever is kept between calls is there."""
    tensors = calls.tensors_of(case)
    launches = len(calls.record(case, tensors)[0])
    with calls.prepared(case), memory_kept():
        call = calls.function_of(case, tensors)
        call()
        enabled = gc.isenabled()
        gc.disable()
        try:
            rounds = [(microseconds(call), microseconds(yardstick)) for _ in range(ROUNDS)]
        finally:
            if enabled:
                gc.enable()
    return HostTime(launches, *map(min, zip(*rounds, strict=True)))
