"""The compiled kernels with the interface of a module of executed CUDA kernels, so that both are
given the same cases: buffers between guard pages, and calls by name."""

from __future__ import annotations

import ctypes
import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np

PAGE = mmap.PAGESIZE
PROT_NONE, PROT_READ, PROT_WRITE = 0, 1, 2
PRIVATE_ANONYMOUS = 0x22
ORDERS = ("forward", "reverse", "random")

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


class GuardedBuffer:
    """Memory of exactly that size against a page that nobody may touch, and with another one on
    the other side. A kernel that goes beyond is killed by a signal, as are the tests with it."""

    def __init__(self, name: str, count: int, placement: str, misalignment: int) -> None:
        self.count = count
        self.pages = -(-(count + misalignment) // PAGE) * PAGE
        size = self.pages + 2 * PAGE
        self.base = libc.mmap(None, size, PROT_NONE, PRIVATE_ANONYMOUS, -1, 0)
        if self.base in (None, ctypes.c_void_p(-1).value):
            raise MemoryError(f"{name}: mmap gave errno {ctypes.get_errno()}")
        self.first = self.base + PAGE
        self.protect(PROT_READ | PROT_WRITE)
        end = self.first + self.pages
        self.address = self.first + misalignment if placement == "start" else end - count
        ctypes.memset(self.first, 0xFF, self.pages)

    def protect(self, rights: int) -> None:
        if self.pages and libc.mprotect(self.first, self.pages, rights) != 0:
            raise MemoryError(f"mprotect gave errno {ctypes.get_errno()}")

    def set_writable(self, writable: bool) -> None:
        self.protect(PROT_READ | PROT_WRITE if writable else PROT_READ)

    def bytes(self) -> np.ndarray:
        return view(self)

    def __del__(self) -> None:
        libc.munmap(self.base, self.pages + 2 * PAGE)


class CheckedBuffer:
    """Memory from the allocator, which AddressSanitizer surrounds with memory that it watches."""

    def __init__(self, name: str, count: int, placement: str, misalignment: int) -> None:
        self.count = count
        self.base = libc.malloc(count + misalignment)
        self.address = self.base + misalignment
        ctypes.memset(self.address, 0xFF, count)

    def set_writable(self, writable: bool) -> None:
        """The allocator's memory stays writable."""

    def bytes(self) -> np.ndarray:
        return view(self)

    def __del__(self) -> None:
        libc.free(self.base)


def view(buffer: Any) -> np.ndarray:
    memory = (ctypes.c_uint8 * buffer.count).from_address(buffer.address)
    memory.owner = buffer
    return np.frombuffer(memory, np.uint8)


class Library:
    """What `tests.cuda_on_cpu.harness.device.Device` asks of a module."""

    def __init__(self, path: Path, kind: str) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.cpu_kernels_call.restype = ctypes.c_bool
        self.library.cpu_kernels_set_order.argtypes = [ctypes.c_int, ctypes.c_uint64]
        self.Buffer = CheckedBuffer if kind == "asan" else GuardedBuffer

    def set_options(self, threads: str, blocks: str, seed: int) -> None:
        self.library.cpu_kernels_set_order(ORDERS.index(blocks), seed)

    def call(self, name: str, **values: Any) -> int:
        """The types are among the arguments: one entry serves them all."""
        name = re.sub(r"_b?float\d+$", "", name)
        keys = (ctypes.c_char_p * len(values))(*(key.encode() for key in values))
        integers = (ctypes.c_int64 * len(values))(
            *(getattr(value, "address", value) for value in values.values())
        )
        result, message = ctypes.c_int64(), ctypes.create_string_buffer(512)
        arguments = [name.encode(), keys, integers, len(values), ctypes.byref(result), message]
        if not self.library.cpu_kernels_call(*arguments, ctypes.c_size_t(len(message))):
            raise RuntimeError(message.value.decode())
        return result.value
