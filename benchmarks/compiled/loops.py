"""How many loads a kernel's innermost loops have under way at a time, read from SASS.

A thread waits at the first instruction that uses what a load brings. Loads that are issued before
it share one latency of the memory; each one behind it pays another.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx  # which torch depends on

INSTRUCTION = re.compile(
    r"/\*(?P<address>[0-9a-f]{4,})\*/ +(?:(?P<guard>@!?U?P\w+) +)?(?P<code>[A-Z][\w.]*)"
    r"(?P<operands>[^;]*)"
)


@dataclass(frozen=True)
class Instruction:
    address: int
    code: str
    guarded: bool
    operands: str

    @property
    def family(self) -> str:
        return self.code.split(".")[0]

    @property
    def target(self) -> int | None:
        """Where a direct branch goes."""
        found = re.search(r"0x([0-9a-f]+)\s*$", self.operands)
        return int(found.group(1), 16) if self.family == "BRA" and found else None

    @property
    def conditional(self) -> bool:
        return self.guarded or bool(re.match(r"(?:\.\w+)*\s+!?U?P\d", self.operands))

    @property
    def registers(self) -> list[int]:
        return [int(number) for number in re.findall(r"\bR(\d+)", self.operands)]

    @property
    def loaded(self) -> range:
        """The registers that a load from global memory fills."""
        first = self.registers[:1]
        wide = next((int(part) for part in self.code.split(".") if part in ("64", "128")), 32)
        return range(first[0], first[0] + wide // 32) if first else range(0)


def parse(lines: Iterable[str]) -> list[Instruction]:
    found = []
    for line in lines:
        match = INSTRUCTION.search(line)
        if match is not None:
            address, guard = int(match["address"], 16), match["guard"]
            found.append(Instruction(address, match["code"], guard is not None, match["operands"]))
    return found


def innermost_loops(code: Sequence[Instruction]) -> list[list[Instruction]]:
    """The bodies, in the order of addresses, of the natural loops that hold no other.

    A block behind the code that jumps back into it makes no loop: its target does not dominate it.
    """
    place = {each.address: number for number, each in enumerate(code)}
    targets = {place[each.target] for each in code if each.target is not None}
    ends = {number + 1 for number, each in enumerate(code) if each.family in ("BRA", "EXIT", "RET")}
    starts = sorted(number for number in {0} | targets | ends if number < len(code))
    blocks = {start: range(start, end) for start, end in itertools.pairwise([*starts, len(code)])}
    flow = nx.DiGraph()
    flow.add_nodes_from(blocks)
    for start, block in blocks.items():
        last = code[block[-1]]
        if last.target is not None:
            flow.add_edge(start, place[last.target])
        leaves = last.family in ("BRA", "EXIT", "RET") and not last.conditional
        if not leaves and block.stop in blocks:
            flow.add_edge(start, block.stop)
    # What is reached by calls only is dominated by nothing.
    dominators = nx.DiGraph((by, block) for block, by in nx.immediate_dominators(flow, 0).items())
    loops = set()
    for latch, header in flow.edges:
        if latch in dominators and header in {latch} | nx.ancestors(dominators, latch):
            others = flow.subgraph(flow.nodes - {header})
            body = nx.ancestors(others, latch) | {latch} if latch != header else set()
            loops.add(frozenset(body | {header}))
    inner = [loop for loop in loops if not any(other < loop for other in loops)]
    return [
        [code[number] for start in sorted(loop) for number in blocks[start]]
        for loop in sorted(inner, key=min)
    ]


def loads_under_way(loop: Sequence[Instruction]) -> int:
    """The most loads from global memory that are issued before a result of theirs is used."""
    most, count, pending = 0, 0, set[int]()
    # Twice: a load at the loop's end may be for its next turn.
    for each in (*loop, *loop):
        if pending.intersection(each.registers):
            count, pending = 0, set()
        if each.family == "LDG":
            count += 1
            pending.update(each.loaded)
            most = max(most, count)
    return most


def loop_loads(lines: Iterable[str]) -> tuple[int, ...]:
    """For each innermost loop that reads global memory."""
    loops = innermost_loops(parse(lines))
    return tuple(most for most in map(loads_under_way, loops) if most > 0)
