"""The C allocator's handling of freed memory, for processes that use large maps over and over."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_HUGE_PAGE = 1 << 21
_MOST = 8 << 30  # bytes that are advised


def keep_freed_memory() -> None:
    """Makes the C allocator reuse what was freed instead of returning it to the system, and asks
    the system for huge pages for it.

    Otherwise every large result is mapped anew, and the page faults of touching it for the first
    time cost many times what an addition does; and of scattered small pages it is left to chance
    how well a map fits into the caches. It holds for the whole process and to its end, so no
    library code calls this: commands do, and programs that want it. Without effect where the C
    library is not glibc.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # another C library
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, -1)
    _advise_huge_pages(libc)


def _advise_huge_pages(libc: ctypes.CDLL) -> None:
    """For addresses that the heap is to have next: it grows there, is not touched, and shrinks no
    more. Where there is no room for so much, or the system has no huge pages, all stays as it is.
    """
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = min(_MOST, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    block = libc.malloc(size)
    if block is None:
        return
    first = -(-block // _HUGE_PAGE) * _HUGE_PAGE
    libc.madvise(first, (block + size - first) // _HUGE_PAGE * _HUGE_PAGE, mmap.MADV_HUGEPAGE)
    libc.free(block)
