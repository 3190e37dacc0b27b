"""The C allocator's handling of freed memory, for processes that use large maps over and over."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Makes the C allocator reuse what was freed instead of returning it to the system.

    Otherwise every large result is mapped anew, and the page faults of touching it for the first
    time cost many times what an addition does. It holds for the whole process and to its end, so no
    library code calls this: commands do, and programs that want it. Without effect where the C
    library is not glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent in other C libraries
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
