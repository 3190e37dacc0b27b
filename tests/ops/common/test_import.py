"""What importing the package needs and brings."""

from __future__ import annotations

import subprocess
import sys

import pytest

import scrn_ops


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )


def test_torch_alone_is_enough():
    """Neither numpy nor triton, nor anything of the network's."""
    missing = "numpy", "triton", "torchvision", "timm", "PIL", "scrn"
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({missing!r}))\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "import torch, scrn_ops\n"
        "low, offset = torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 4, 4)\n"
        "module = scrn_ops.SemanticRefinement(1, 1)\n"
        "module(low, torch.zeros(1, 1, 4, 4)).sum().backward()\n"
        "print(scrn_ops.semantic_refine(low, offset, torch.zeros(1, 9, 4, 4)).sum().item())\n"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "16.0"


def test_triton_comes_in_at_first_use():
    """And with it torch's FLOP counter, which then knows the ops, looked for before or not."""
    code = (
        "import sys, torch\n"
        "import scrn_ops\n"
        "import importlib.util; importlib.util.find_spec('torch.utils.flop_counter')\n"
        "brought = [n for n in ('triton', 'scrn', 'torchvision') if n in sys.modules]\n"
        "from torch.utils.flop_counter import FlopCounterMode\n"
        "with FlopCounterMode(display=False) as counter:\n"
        "    scrn_ops.aggregate_offsets(torch.ones(1, 2, 5, 5), torch.ones(1, 9, 5, 5))\n"
        "print(brought, counter.get_total_flops())\n"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == f"[] {25 * 36}"


def test_public_names():
    names = {"SemanticRefinement", "aggregate_offsets", "offset_sample", "semantic_refine"}
    assert names <= set(scrn_ops.__all__)
    for module in (scrn_ops, scrn_ops.reference, scrn_ops.eager):
        for name in ("aggregate_offsets", "offset_sample", "semantic_refine"):
            assert getattr(module, name).__doc__
    assert {"AggregateOffsets", "OffsetSample", "SemanticRefine"} <= set(scrn_ops.autograd.__all__)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at glibc's malloc")
def test_malloc_is_left_as_it_is():
    """By imports, and by a model that runs: until the program itself asks for kept memory."""
    code = (
        "import ctypes, torch\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
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
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["True", "True", "False"]
