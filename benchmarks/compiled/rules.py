"""What the kernels may cost: rules, a file of them for each family, all of which hold for the
kernels they name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path

from .kernels import Kernel

COMMON = "common"  # rules for the kernels of every family
DEFAULT = Path(__file__).with_name("budgets")


@dataclass(frozen=True)
class Rule:
    """Limits of the kernels that match; what is None is not limited."""

    kernels: tuple[str, ...]  # names, with * as a wildcard
    family: str = COMMON
    types: tuple[str, ...] | None = None
    architectures: tuple[int, ...] | None = None
    why: str = ""
    max_registers: int | None = None
    max_stack_bytes: int | None = None
    max_spills: int | None = None
    max_local_accesses: int | None = None
    max_generic_accesses: int | None = None
    min_blocks: int | None = None
    min_load_bits: int | None = None
    min_narrowest_load_bits: int | None = None
    min_store_bits: int | None = None
    min_loop_loads: int | None = None  # under way at a time, in every innermost loop that loads
    reductions: tuple[str, ...] = ()  # types that there must be
    no_reductions: bool = False

    def matches(self, kernel: Kernel) -> bool:
        return (
            self.family in (COMMON, kernel.family)
            and any(fnmatchcase(kernel.name, pattern) for pattern in self.kernels)
            and (self.types is None or kernel.feature_type in self.types)
            and (self.architectures is None or kernel.architecture in self.architectures)
        )

    def violations(self, kernel: Kernel) -> Iterator[str]:
        loads, stores = kernel.loads, kernel.stores
        most = (
            ("registers", kernel.registers, self.max_registers),
            ("bytes of stack", kernel.stack_bytes, self.max_stack_bytes),
            ("spills", kernel.spills, self.max_spills),
            ("accesses to local memory", kernel.local_accesses, self.max_local_accesses),
            ("generic accesses", kernel.generic_accesses, self.max_generic_accesses),
        )
        narrowest, under_way = min(loads, default=0), min(kernel.loop_loads, default=0)
        least = (
            ("blocks to a multiprocessor", kernel.occupancy.blocks, self.min_blocks),
            ("bits in the widest load", max(loads, default=0), self.min_load_bits),
            ("bits in the narrowest load", narrowest, self.min_narrowest_load_bits),
            ("bits in the widest store", max(stores, default=0), self.min_store_bits),
            ("loads under way at a time in a loop", under_way, self.min_loop_loads),
        )
        for what, value, limit in most:
            if limit is not None and value > limit:
                yield f"{value} {what}, at most {limit} allowed"
        for what, value, limit in least:
            if limit is not None and value < limit:
                yield f"{value} {what}, at least {limit} allowed"
        for kind in self.reductions:
            if kind not in kernel.reductions:
                yield f"no {kind} reductions"
        if self.no_reductions and (kernel.reductions or kernel.count("ATOMS")):
            yield "atomics or reductions where there may be none"


def load(path: Path = DEFAULT) -> list[Rule]:
    """The rules of a file, which is named after a family, or of all files of a folder.

    Raises:
        ValueError: a rule has a key that is not one of Rule's.
    """
    if path.is_dir():
        return [rule for file in sorted(path.glob("*.json")) for rule in load(file)]
    known = {each.name for each in fields(Rule)} - {"family"}
    rules = []
    for entry in json.loads(path.read_text()):
        if set(entry) - known or "kernels" not in entry:
            raise ValueError(
                f"{path}: expected rules with kernels and any of {sorted(known)}, got {entry}"
            )
        lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
        rules.append(Rule(**{**entry, **lists}, family=path.stem))
    return rules


def violations(kernels: Sequence[Kernel], rules: Sequence[Rule]) -> list[str]:
    """A line for each broken limit, and for each rule that is about no kernel."""
    found = []
    for rule in rules:
        matching = [kernel for kernel in kernels if rule.matches(kernel)]
        asked = rule.architectures is None or any(
            kernel.architecture in rule.architectures for kernel in kernels
        )
        names = {kernel.name for kernel in matching}
        for pattern in rule.kernels:
            if asked and not any(fnmatchcase(name, pattern) for name in names):
                found.append(f"budget for {pattern}: there is no such kernel")
        for kernel in matching:
            found += [
                f"{kernel.title} on sm_{kernel.architecture}: {line}"
                for line in rule.violations(kernel)
            ]
    return found
