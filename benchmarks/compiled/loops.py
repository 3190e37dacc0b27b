"""How many loads a kernel's innermost loops have under way at a time, read from SASS.

A thread waits at the first instruction that uses what a load brings. Loads that are issued before
it share one latency of the memory; each one behind it pays another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    bounds = list(zip(starts, [*starts[1:], len(code)], strict=True))
    block_at = {start: number for number, start in enumerate(starts)}
    after: list[list[int]] = []
    for _, end in bounds:
        last = code[end - 1]
        next_blocks: list[int] = []
        if last.target is not None:
            next_blocks.append(block_at[place[last.target]])
        leaves = last.family in ("BRA", "EXIT", "RET") and not last.conditional
        if not leaves and end in block_at:
            next_blocks.append(block_at[end])
        after.append(next_blocks)
    before: list[list[int]] = [[] for _ in bounds]
    for number, blocks in enumerate(after):
        for each in blocks:
            before[each].append(number)
    dominators = _dominators(before)
    loops = set()
    for latch, blocks in enumerate(after):
        for header in blocks:
            if dominators[latch] >> header & 1:
                loops.add(_body(header, latch, before))
    inner = [loop for loop in loops if not any(other < loop for other in loops)]
    return [
        [each for number in sorted(loop) for each in code[slice(*bounds[number])]]
        for loop in sorted(inner, key=min)
    ]


def _dominators(before: Sequence[Sequence[int]]) -> list[int]:
    """Of each block, as bits; block 0 is where the kernel starts."""
    everything = (1 << len(before)) - 1
    found = [1] + [everything] * (len(before) - 1)
    changed = True
    while changed:
        changed = False
        for number in range(1, len(before)):
            common = everything
            for each in before[number]:
                common &= found[each]
            common |= 1 << number
            changed = changed or common != found[number]
            found[number] = common
    # What is reached by calls only has no block before it and would be dominated by all.
    return [mask if mask != everything else 0 for mask in found]


def _body(header: int, latch: int, before: Sequence[Sequence[int]]) -> frozenset[int]:
    body, open_ends = {header}, [latch]
    while open_ends:
        block = open_ends.pop()
        if block not in body:
            body.add(block)
            open_ends += before[block]
    return frozenset(body)


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
