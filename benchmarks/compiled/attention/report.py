"""Calls and their kernels as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from scrn_ops.attention.table import SHARED_BYTES

from ...common.tables import number
from . import calls, driver
from .calls import Case
from .code import TENSOR_CORES, Code, code_of
from .host import host_calls, host_microseconds
from .record import Kernel, Launch


class KernelRow(NamedTuple):
    case: Case
    compiled: Kernel
    launches: int
    grid: int  # programs of the largest launch
    code: Code

    @property
    def kernel(self) -> str:
        return self.compiled.name

    @property
    def tiles(self) -> tuple[int, ...]:
        """Sizes of the tile as far as the kernel has them, warps and stages."""
        sizes = (self.compiled.constants.get(f"BLOCK_{axis}") for axis in "NMKC")
        metadata = self.compiled.metadata
        return (*filter(None, sizes), metadata.num_warps, metadata.num_stages)

    @property
    def on_tensor_cores(self) -> bool:
        """Whether every product of tiles is made by the instruction for the architecture."""
        wanted = TENSOR_CORES[self.case.family]
        others = sum(count for name, count in self.code.products.items() if name != wanted)
        return self.code.products[wanted] >= self.code.dots > 0 and others == 0

    @property
    def complaint(self) -> str:
        """What is wrong with its memory, or nothing."""
        if self.code.stack:
            return f"{self.code.stack} bytes of local memory"
        limit = SHARED_BYTES[self.case.family]
        return f"shared memory beyond {limit}" if self.code.shared > limit else ""


class CallRow(NamedTuple):
    case: Case
    launches: int
    variants: int  # the most of any kernel
    kernels: list[KernelRow]
    host_calls: int
    microseconds: float


def kernel_rows(case: Case, launches: Sequence[Launch]) -> list[KernelRow]:
    """A row for every kernel that was compiled, in the order of their first launches."""
    found: dict[str, list[Launch]] = {}
    for launch in launches:
        found.setdefault(launch.kernel.hash, []).append(launch)
    return [
        KernelRow(
            case,
            same[0].kernel,
            len(same),
            max(x * y * z for x, y, z in (launch.grid for launch in same)),
            code_of(same[0].kernel),
        )
        for same in found.values()
    ]


def call_row(case: Case) -> CallRow:
    launches = calls.record(case)[0]
    return CallRow(
        case,
        len(launches),
        max(driver.variants(launches).values()),
        kernel_rows(case, launches),
        host_calls(case),
        host_microseconds(case),
    )


def distinct(wanted: Iterable[Case]) -> Iterator[KernelRow]:
    """The kernels of all calls, each in that of its first launch."""
    seen: set[str] = set()
    for case in wanted:
        for row in kernel_rows(case, calls.record(case)[0]):
            if row.compiled.hash not in seen:
                seen.add(row.compiled.hash)
                yield row


CALL_COLUMNS: dict[str, Callable[[CallRow], object]] = {
    "call": lambda row: row.case,
    "launches": lambda row: row.launches,
    "kernels": lambda row: len(row.kernels),
    "variants": lambda row: row.variants,
    "2-byte accesses": lambda row: sum(k.code.narrow.total() for k in row.kernels),
    "tensor cores": lambda row: all(k.on_tensor_cores for k in row.kernels if k.code.dots),
    "registers": lambda row: max(k.code.registers for k in row.kernels),
    "stack": lambda row: max(k.code.stack for k in row.kernels),
    "shared": lambda row: max(k.code.shared for k in row.kernels),
    "host's calls": lambda row: row.host_calls,
    "us a call": lambda row: number(row.microseconds, 0),
    "us a launch": lambda row: number(row.microseconds, 1, 1 / row.launches),
}
KERNEL_COLUMNS: dict[str, Callable[[KernelRow], object]] = {
    "call": lambda row: row.case,
    "kernel": lambda row: row.kernel,
    "launches": lambda row: row.launches,
    "programs": lambda row: row.grid,
    "tile, warps, stages": lambda row: " ".join(map(str, row.tiles)),
    "registers": lambda row: row.code.registers,
    "stack": lambda row: row.code.stack,
    "shared": lambda row: row.code.shared,
    "bytes: accesses": lambda row: " ".join(
        f"{width}:{count}" for width, count in sorted(row.code.widths.items())
    ),
    "2-byte accesses": lambda row: " ".join(
        f"{place}:{count}" for place, count in row.code.narrow.items()
    ),
    "tensor cores": lambda row: row.on_tensor_cores if row.code.dots else "",
    "complaint": lambda row: row.complaint,
}
