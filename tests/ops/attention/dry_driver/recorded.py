"""What a call on the stand-in launched, with names in place of addresses, and calls of which some
have their scores divided into chunks."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from benchmarks.compiled.attention import calls
from benchmarks.compiled.attention.calls import Case
from benchmarks.compiled.attention.record import Launch

NOWHERE = "nowhere"
ONE_CHUNK = 1 << 40  # bytes: more scores than any call has
# Where Triton specialises on the first image and row of a chunk, 0, 1 and other numbers differ.
CHUNKED = (3, 920, 256, 256)
FEW_ROWS = 1 << 20


def chunked(direction: str) -> Case:
    """A call whose scores are worked through in several chunks for each of its images."""
    path = "split_softmax" if direction == "forward" else None
    return Case(90, CHUNKED, direction, path=path, chunk_bytes=FEW_ROWS)


class Recorded(NamedTuple):
    """A call's launches, and the addresses and sizes in bytes of what it was given and returned."""

    launches: list[Launch]
    places: dict[str, tuple[int, int]]

    def named(self, address: int) -> str | None:
        """The tensor at an address, and how far in; memory of the call's own has no name. Where a
        kernel is given an empty tensor there is no address."""
        if address == 0:
            return NOWHERE
        for name, (start, size) in self.places.items():
            if start <= address < start + size:
                return f"{name}+{address - start}"
        return None

    def scratch(self) -> int:
        """Where the memory of the call's own begins, which is one piece."""
        return min(
            value
            for launch in self.launches
            for (_, kind), value in zip(launch.kernel.arguments, launch.arguments, strict=True)
            if kind.startswith("*") and self.named(value) is None
        )

    def described(self) -> list[tuple[str, tuple[int, int, int], tuple[object, ...]]]:
        """Kernel, grid and arguments of every launch, with names in place of addresses."""
        scratch = self.scratch()
        return [
            (
                launch.kernel.hash,
                launch.grid,
                tuple(
                    (self.named(value) or f"scratch+{value - scratch}")
                    if kind.startswith("*")
                    else value
                    for (_, kind), value in zip(
                        launch.kernel.arguments, launch.arguments, strict=True
                    )
                ),
            )
            for launch in self.launches
        ]


def record(case: Case, tensors: dict[str, Tensor] | None = None, **options: Any) -> Recorded:
    """One call's launches, in their order; ``options`` are those of ``calls.record``."""
    tensors = calls.tensors_of(case) if tensors is None else tensors
    launches, results = calls.record(case, tensors, **options)
    known = {**tensors, **{f"result {i}": result for i, result in enumerate(results)}}
    places = {
        name: (t.untyped_storage().data_ptr(), t.untyped_storage().nbytes())
        for name, t in known.items()
    }
    return Recorded(launches, places)
