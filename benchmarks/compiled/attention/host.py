"""What the host does for a repeated call of the launchers: microseconds, and calls of functions.

The stand-in returns at once from a launch, and memory is the CPU's, kept from one call to the
next: what is left out is the driver's own launch, and what CUDA's allocator does differently.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scrn_ops._core.allocator import keep_freed_memory

from . import calls
from .calls import Case

ROUNDS = 1000  # short ones, some of which nothing else on the machine disturbs


@contextmanager
def repeated(case: Case) -> Iterator[Callable[[], object]]:
    """The call, everything compiled, and whatever is kept between calls there."""
    tensors = calls.tensors_of(case)
    calls.record(case, tensors)
    with calls.prepared(case):
        call = calls.function_of(case, tensors)
        call()
        yield call


def host_calls(case: Case) -> int:
    """Of functions of Python and of C: what nothing else on the machine moves."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    with repeated(case) as call:
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            call()
        finally:
            sys.setprofile(before)
    return counted


def host_microseconds(case: Case) -> float:
    """Of the fastest round."""
    # As CUDA's allocator does: to map every large piece anew takes longer than all the launches.
    keep_freed_memory()
    with repeated(case) as call:
        return 1e6 * min(timeit.repeat(call, number=1, repeat=ROUNDS))
