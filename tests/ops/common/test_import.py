"""What importing the package needs and brings."""

from __future__ import annotations

import subprocess
import sys

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
