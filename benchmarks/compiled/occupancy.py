"""Theoretical occupancy: how many blocks of a kernel a multiprocessor holds at a time."""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
REGISTERS = 65536
REGISTER_GRANULARITY = 256  # per warp
PARTITIONS = 4  # of a multiprocessor; a warp's registers lie in one
SHARED_GRANULARITY = 128
SHARED_RESERVED = 1024  # per block, by the driver


@dataclass(frozen=True)
class Limits:
    """Of one multiprocessor, from the CUDA programming guide's table of compute capabilities."""

    warps: int
    blocks: int
    shared_bytes: int


LIMITS = {
    80: Limits(warps=64, blocks=32, shared_bytes=164 << 10),
    86: Limits(warps=48, blocks=16, shared_bytes=100 << 10),
    89: Limits(warps=48, blocks=24, shared_bytes=100 << 10),
    90: Limits(warps=64, blocks=32, shared_bytes=228 << 10),
    100: Limits(warps=64, blocks=32, shared_bytes=228 << 10),
    120: Limits(warps=48, blocks=24, shared_bytes=100 << 10),
}


@dataclass(frozen=True)
class Occupancy:
    blocks: int
    warps: int
    share: float  # of the warps that the multiprocessor could hold
    limiter: str  # "registers", "shared memory", "warps" or "blocks"


def occupancy(architecture: int, threads: int, registers: int, shared_bytes: int) -> Occupancy:
    """Of blocks of so many threads, registers to a thread and bytes of shared memory.

    Raises:
        ValueError: the limits of that architecture are not known, or one block does not fit.
    """
    if architecture not in LIMITS:
        raise ValueError(f"architecture: expected one of {sorted(LIMITS)}, got {architecture}")
    limits = LIMITS[architecture]
    warps = -(-threads // WARP)
    of_warp = _round_up(max(registers, 1) * WARP, REGISTER_GRANULARITY)
    warps_by_registers = REGISTERS // PARTITIONS // of_warp * PARTITIONS
    shared = _round_up(shared_bytes + SHARED_RESERVED, SHARED_GRANULARITY)
    bounds = {
        "registers": warps_by_registers // warps,
        "shared memory": limits.shared_bytes // shared,
        "warps": limits.warps // warps,
        "blocks": limits.blocks,
    }
    limiter = min(bounds, key=lambda name: bounds[name])
    blocks = bounds[limiter]
    if blocks == 0:
        raise ValueError(
            f"a block of {threads} threads with {registers} registers and {shared_bytes} bytes of "
            f"shared memory does not fit into sm_{architecture}: {limiter}"
        )
    return Occupancy(blocks, blocks * warps, blocks * warps / limits.warps, limiter)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
