"""What the compiler made of a kernel: widths of its accesses, tensor cores, registers, memory."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from .. import cuobjdump
from .record import Kernel

_LINE = re.compile(r"^\s*\.loc\s.*// ([^\s:]+):(\d+):\d+")
_ACCESS = re.compile(r"\b(ld|st)\.(?:\w+\.)*?global((?:\.[\w:]+)*)")
_VECTOR = re.compile(r"\.v(\d)")
_TYPE = re.compile(r"\.[busf](\d+)$")
_COPY = re.compile(r"\b(cp\.async)\.c[ag]\.shared\.global[^;]*?\]\s*,[^;]*?\]\s*,\s*(0x\w+|\d+)")
_MOVE = re.compile(r"\btt\.(?:load|store)\b.*: (?:tensor<((?:\d+x)*))?!tt\.ptr.*loc\((.*)\)$")
_PLACE = re.compile(r'"([^"]+)":(\d+):\d+')
_ALIAS = re.compile(r"^(#\w+) = loc\((.*)\)$", re.MULTILINE)
# The instructions that multiply on tensor cores, as Triton emits them for an architecture.
TENSOR_CORES = {80: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma", 120: "mma.sync"}

Place = tuple[str, int]  # a file's name and a line


class Access(NamedTuple):
    """An instruction that moves data between global memory and a thread."""

    instruction: str
    width: int  # bytes
    place: Place


def accesses(ptx: str) -> Iterator[Access]:
    place = ("", 0)
    for line in ptx.splitlines():
        if found := _LINE.match(line):
            place = found[1], int(found[2])
            continue
        code = line.split("//")[0]
        if code.lstrip().startswith("."):  # a declaration, of a parameter for example
            continue
        for instruction, suffixes in _ACCESS.findall(code):
            bits, vector = _TYPE.search(suffixes), _VECTOR.search(suffixes)
            if bits is None:
                raise ValueError(f"an access of unknown width: {line.strip()}")
            yield Access(instruction, int(bits[1]) // 8 * (int(vector[1]) if vector else 1), place)
        for instruction, width in _COPY.findall(code):
            yield Access(instruction, int(width, 0), place)


def ranks(ttir: str) -> dict[Place, int]:
    """By line, the largest number of axes of what is loaded and stored there."""
    aliases = dict(_ALIAS.findall(ttir))

    def resolved(location: str) -> Place | None:
        """Where something stands, in the function that was called if it was inlined."""
        if place := _PLACE.search(location):
            return place[1].rsplit("/", 1)[-1], int(place[2])
        alias = re.search(r"#\w+", location)
        return resolved(aliases[alias[0]]) if alias and alias[0] in aliases else None

    found: dict[Place, int] = {}
    for line in ttir.splitlines():
        if move := _MOVE.search(line):
            place, rank = resolved(move[2]), (move[1] or "").count("x")
            if place is not None:
                found[place] = max(rank, found.get(place, 0))
    return found


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers of a thread, and bytes of its stack: spills, and arrays indexed at run time."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        (usage,) = cuobjdump.resources(file.name).values()
    return usage["REG"], usage["STACK"]


class Code(NamedTuple):
    """Of one kernel; ``dots`` are the products of tiles in its source, and ``narrow`` the accesses
    to matrices of two bytes and less: a quarter of what the memory can move.

    One of a vector, such as the logits, is left out: there is one of it for a matrix's row.
    """

    registers: int
    stack: int
    shared: int
    widths: Counter[int]
    narrow: Counter[str]
    dots: int
    products: dict[str, int]


_KNOWN: dict[str, Code] = {}


def code_of(kernel: Kernel) -> Code:
    if kernel.hash not in _KNOWN:
        registers, stack = resources(kernel.cubin)
        found, axes = list(accesses(kernel.ptx)), ranks(kernel.ttir)
        _KNOWN[kernel.hash] = Code(
            registers=registers,
            stack=stack,
            shared=kernel.metadata.shared,
            widths=Counter(access.width for access in found),
            narrow=Counter(
                f"{access.place[0]}:{access.place[1]} {access.instruction}"
                for access in found
                # What cannot be found in the source counts as a matrix.
                if access.width <= 2 and axes.get(access.place, 2) > 1
            ),
            dots=len(re.findall(r"\btt\.dot(?:_scaled)?\b", kernel.ttir)),
            products={name: kernel.ptx.count(name) for name in set(TENSOR_CORES.values())},
        )
    return _KNOWN[kernel.hash]
