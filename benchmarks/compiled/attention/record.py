"""What is known of a launch, and whether the kernel was compiled for what it is given."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from triton.runtime.cache import get_cache_manager

LARGEST_GRID = (2**31 - 1, 65535, 65535)
INTEGERS = {
    "i1": (0, 1),
    "i32": (-(2**31), 2**31 - 1),
    "u32": (0, 2**32 - 1),
    "i64": (-(2**63), 2**63 - 1),
    "u64": (0, 2**64 - 1),
}
POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}


class Kernel:
    """A compiled specialisation of a function."""

    def __init__(self, src: Any, metadata: Any) -> None:
        self.name: str = metadata.name
        self.hash: str = metadata.hash
        self.metadata = metadata
        self.cubin = b""
        names = src.fn.arg_names
        self.arguments: tuple[tuple[str, str], ...] = tuple(src.signature.items())
        self.constants: dict[str, Any] = {
            key if isinstance(key, str) else names[key[0]]: value
            for key, value in src.constants.items()
        }
        self.declared = tuple(
            (p.name, self.constants[p.name]) for p in src.fn.params if p.is_constexpr
        )
        self.divisors: dict[str, int] = {
            names[path[0]]: number
            for path, attributes in src.attrs.items()
            for attribute, number in attributes
            if attribute == "tt.divisibility"
        }

    @cached_property
    def ptx(self) -> str:
        return self._stage("ptx")

    @cached_property
    def ttir(self) -> str:
        return self._stage("ttir")

    def _stage(self, suffix: str) -> str:
        """What a stage of the compilation left in Triton's cache."""
        files = get_cache_manager(self.hash).get_group(f"{self.name}.json")
        if files is None:
            raise FileNotFoundError(f"{self}: not in Triton's cache")
        return Path(files[f"{self.name}.{suffix}"]).read_text()

    def __str__(self) -> str:
        return f"{self.name} for sm_{self.metadata.target.arch}"


class Launch(NamedTuple):
    kernel: Kernel
    grid: tuple[int, int, int]
    arguments: tuple[Any, ...]  # addresses and numbers, in the order of the kernel's parameters

    def named(self) -> dict[str, Any]:
        names = (name for name, _ in self.kernel.arguments)
        return dict(zip(names, self.arguments, strict=True))


def check(kernel: Kernel, grid: tuple[int, int, int], arguments: tuple[Any, ...]) -> None:
    """A kernel that assumes what its arguments are not reads and writes the wrong memory."""

    def fail(what: str) -> None:
        raise ValueError(f"{kernel}: {what}")

    for size, largest in zip(grid, LARGEST_GRID, strict=True):
        if not 0 < size <= largest:
            fail(f"a grid of {grid}")
    if len(arguments) != len(kernel.arguments):
        fail(f"{len(arguments)} arguments for {len(kernel.arguments)} parameters")
    for (name, kind), argument in zip(kernel.arguments, arguments, strict=True):
        number = argument
        if kind == "constexpr":
            if number != kernel.constants[name]:
                fail(f"{name} is {number}, compiled for {kernel.constants[name]}")
            continue
        if isinstance(argument, torch.Tensor):
            number = argument.data_ptr()
            if POINTERS[argument.dtype] != kind:
                fail(f"{name} points at {argument.dtype}, compiled for {kind}")
        elif kind in INTEGERS:
            smallest, largest = INTEGERS[kind]
            if not isinstance(number, int) or not smallest <= number <= largest:
                fail(f"{name} is {number}, compiled for {kind}")
        elif kind.startswith("*"):
            if not isinstance(number, int) or number <= 0:
                fail(f"{name} is {number}, which is no address")
        elif kind.startswith("fp") and not isinstance(number, (int, float)):
            fail(f"{name} is {number!r}, compiled for {kind}")
        if name in kernel.divisors and number % kernel.divisors[name]:
            fail(f"{name} is {number}, compiled for multiples of {kernel.divisors[name]}")
