"""Peak memory of one image through the network, each variant in a process of its own:
``python -m benchmarks.network.memory`` measures one and prints bytes."""

from __future__ import annotations

import ctypes
import gc
import json
import sys

import torch

from scrn import build_model

from ..common.memory import in_own_process, peak, start
from .variants import VARIANTS, Variant, forbid_tf32

_WARM_UP = (64, 64)  # loads code and packs weights, on maps too small to count
_CALLS = 5


def peak_bytes(
    variant: Variant, backbone: str, num_classes: int, size: tuple[int, int], device: str
) -> int:
    """What inference needs beside the loaded model, the image included: the largest of several
    calls, since on a CPU it is the resident memory of the process, and what the system's
    allocator makes of the same requests varies twofold."""
    which, threads = VARIANTS.index(variant), torch.get_num_threads()
    return in_own_process(__name__, which, backbone, num_classes, size, device, threads)


def main(arguments: str) -> None:
    which, backbone, num_classes, size, device, threads = json.loads(arguments)
    torch.set_num_threads(threads)
    forbid_tf32()
    variant = VARIANTS[which]
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
    print(max(peaks))


if __name__ == "__main__":
    main(sys.argv[1])
