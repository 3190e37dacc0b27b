"""What a process that uses the network finds its memory managed by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MALLOC = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
"""
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def printed(code: str) -> list[str]:
    """By a process of its own that has the C library's malloc."""
    command = [sys.executable, "-c", MALLOC + code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at glibc's malloc")
def test_malloc_is_left_as_it_is():
    """By imports, and by a model that runs: until the program itself asks for kept memory."""
    code = (
        "import torch\n"
        "def is_mapped():\n"  # glibc's flag in front of a block; its own limit is at most 32 MiB
        "    block = libc.malloc(64 << 20)\n"
        "    flags = ctypes.c_size_t.from_address(block - ctypes.sizeof(ctypes.c_size_t)).value\n"
        "    libc.free(block)\n"
        "    return bool(flags & 2)\n"
        "print(is_mapped())\n"
        "import scrn_ops, scrn\n"
        "model = scrn.build_model('mscan_t', num_classes=3).eval()\n"
        "image = torch.zeros(1, 3, 64, 64)\n"
        "with torch.no_grad():\n"
        "    model(image), model.fuse()(image), model.segment(image)\n"
        "print(is_mapped())\n"
        "scrn.keep_freed_memory()\n"
        "print(is_mapped())\n"
    )
    assert printed(code) == ["True", "True", "False"]


@pytest.mark.skipif(not HUGE_PAGES.is_file(), reason="this system has no huge pages")
def test_kept_memory_is_advised_to_be_huge_pages():
    """Where the next large blocks lie, also once they are freed; none of it is touched."""
    code = (
        "import re, resource, scrn\n"
        "def advised(address):\n"
        "    maps = re.split(r'(?m)^(?=[0-9a-f]+-[0-9a-f]+ )', open('/proc/self/smaps').read())\n"
        "    for each in filter(None, maps):\n"
        "        first, last = (int(x, 16) for x in each.split()[0].split('-'))\n"
        "        if first <= address < last:\n"
        "            return ' hg' in re.search('VmFlags:(.*)', each)[1]\n"
        "def block(size):\n"
        "    found = libc.malloc(size)\n"
        "    libc.free(found)\n"
        "    return found + size // 2\n"
        "print(advised(block(64 << 20)))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "scrn.keep_freed_memory()\n"
        "print(advised(block(64 << 20)), advised(block(256 << 20)))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10)\n"
    )
    assert printed(code) == ["None", "True", "True", "True"]
