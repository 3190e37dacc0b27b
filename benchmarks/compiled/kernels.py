"""One compiled kernel, and its instructions counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .loops import parse
from .occupancy import Occupancy, occupancy

FEATURE_TYPES = {"float": "fp32", "double": "fp64", "__half": "fp16", "__nv_bfloat16": "bf16"}
INDEX_BITS = {"int": 32, "long": 64}


@dataclass(frozen=True)
class Kernel:
    """A ``__global__`` function's code for one architecture."""

    family: str  # of ops, whose namespace it is in; "common" where it is in none
    name: str  # without the ending _kernel
    feature_type: str  # fp32, fp64, fp16, bf16; empty where the kernel does not depend on it
    index_bits: int  # 32 or 64; 0 where the kernel does not depend on it
    architecture: int  # 90 for sm_90
    threads: int  # of a block
    registers: int  # of a thread
    stack_bytes: int  # of a thread, in local memory
    shared_bytes: int  # of a block
    spills: int  # instructions that the compiler marks as spills or refills
    opcodes: Counter[str]
    # Of each innermost loop that reads global memory: the most loads that share one latency.
    loop_loads: tuple[int, ...] = ()

    def count(self, *families: str) -> int:
        """Instructions whose name before the first dot is one of these."""
        return sum(n for code, n in self.opcodes.items() if code.split(".")[0] in families)

    def widths(self, family: str) -> dict[int, int]:
        """Bits of a thread's access to how many instructions make such accesses, widest first."""
        found: Counter[int] = Counter()
        for code, n in self.opcodes.items():
            name, *modifiers = code.split(".")
            if name == family:
                found[access_bits(modifiers)] += n
        return dict(sorted(found.items(), reverse=True))

    @property
    def loads(self) -> dict[int, int]:
        return self.widths("LDG")

    @property
    def stores(self) -> dict[int, int]:
        return self.widths("STG")

    @property
    def local_accesses(self) -> int:
        return self.count("LDL", "STL")

    @property
    def generic_accesses(self) -> int:
        """Accesses of which the compiler does not know that they go to global memory."""
        return self.count("LD", "ST", "ATOM")

    @property
    def reductions(self) -> dict[str, int]:
        """Reductions and atomics on global memory by type: F32x4 is a vector of four."""
        found: Counter[str] = Counter()
        for code, n in self.opcodes.items():
            name, *modifiers = code.split(".")
            if name in ("RED", "REDG", "ATOM", "ATOMG"):
                found[next((m for m in modifiers if re.match(r"[FSU]\d|\d+$", m)), name)] += n
        return dict(sorted(found.items()))

    @property
    def occupancy(self) -> Occupancy:
        return occupancy(self.architecture, self.threads, self.registers, self.shared_bytes)

    @property
    def title(self) -> str:
        index = f"int{self.index_bits}" if self.index_bits else ""
        return " ".join(part for part in (self.name, self.feature_type, index) if part)

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        derived = ("loads", "stores", "local_accesses", "generic_accesses", "reductions")
        # Not dataclasses.asdict, which counts a Counter's pairs anew.
        return {
            **vars(self),
            **{name: getattr(self, name) for name in derived},
            "occupancy": vars(self.occupancy),
        }


def access_bits(modifiers: Iterable[str]) -> int:
    """The width that an opcode's modifiers name; a plain access has 32 bits."""
    for modifier in modifiers:
        if modifier in ("U8", "S8", "U16", "S16"):
            return int(modifier[1:])
        if modifier in ("64", "128", "256"):
            return int(modifier)
    return 32


def count_opcodes(lines: Iterable[str]) -> Counter[str]:
    return Counter(each.code for each in parse(lines))


def parse_name(demangled: str) -> tuple[str, str, str, int]:
    """Family, kernel, feature type and index width from a C++ signature."""
    match = re.match(
        r"(?:void )?scrn::(?:(\w+)::)??(?:cuda::)(\w+?)(?:_kernel)?(?:<([^<>(]*)>)?\(", demangled
    )
    if match is None:
        raise ValueError(f"not the signature of a kernel: {demangled!r}")
    arguments = [each.strip() for each in (match.group(3) or "").split(",")]
    feature = next((FEATURE_TYPES[each] for each in arguments if each in FEATURE_TYPES), "")
    bits = next((INDEX_BITS[each] for each in arguments if each in INDEX_BITS), 0)
    return match.group(1) or "common", match.group(2), feature, bits
