"""Peak memory of one image through the network, each variant in a process of its own:
``python -m benchmarks.network.memory`` measures one and prints bytes."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path

import torch

from scrn import build_model

from .variants import VARIANTS, Variant, forbid_tf32

ROOT = Path(__file__).resolve().parents[2]
_WARM_UP = (64, 64)  # loads code and packs weights, on maps too small to count
_CALLS = 5


def peak_bytes(
    variant: Variant, backbone: str, num_classes: int, size: tuple[int, int], device: str
) -> int:
    """What inference needs beside the loaded model, the image included: the largest of several
    calls, since on a CPU it is the resident memory of the process, and what the system's
    allocator makes of the same requests varies twofold.

    Raises:
        RuntimeError: the measuring process failed; its last words are quoted.
    """
    command = [
        sys.executable, "-m", "benchmarks.network.memory", str(VARIANTS.index(variant)), backbone,
        str(num_classes), str(size[0]), str(size[1]), device, str(torch.get_num_threads()),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{variant.name}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def _measure(
    variant: Variant, backbone: str, num_classes: int, size: tuple[int, int], device: str
) -> int:
    model = variant.model(build_model(backbone, num_classes=num_classes)).to(device)
    peaks = []
    with torch.no_grad():
        model(variant.image(torch.zeros(1, 3, *_WARM_UP, device=device)))
        for _ in range(_CALLS):
            gc.collect()
            if device == "cpu":
                ctypes.CDLL(None).malloc_trim(0)  # or the next call would find memory to reuse
            before = start(device)
            model(variant.image(torch.randn(1, 3, *size, device=device)))
            peaks.append(peak(device) - before)
    return max(peaks)


def start(device: str) -> int:
    """Resets the peak; the memory in use."""
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak(device: str) -> int:
    """The most bytes in use since :func:`start`."""
    if device != "cpu":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", type=int, choices=range(len(VARIANTS)))
    parser.add_argument("backbone")
    parser.add_argument("num_classes", type=int)
    parser.add_argument("size", type=int, nargs=2)
    parser.add_argument("device")
    parser.add_argument("threads", type=int)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    forbid_tf32()
    size = (args.size[0], args.size[1])
    print(_measure(VARIANTS[args.variant], args.backbone, args.num_classes, size, args.device))


if __name__ == "__main__":
    main()
