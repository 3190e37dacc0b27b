"""``python -m benchmarks.gpu.small``: every op once on small maps with tails, forward and
backward, in every mode, for a sanitizer to watch."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence

import torch

from ..cases import LAYOUTS, AttentionCase, Case
from ..gate import evaluate
from ..ops import OPS, OURS, PATHS, arguments

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.small", description=__doc__)
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args(argv).device
    for deterministic, dtype, layout in itertools.product((False, True), DTYPES, LAYOUTS):
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        for case in (
            Case("semantic_refine", (6, 7), (11, 13), 2, 9, dtype, layout, field="random"),
            Case("offset_sample", (11, 13), (11, 13), 1, 33, dtype, layout, field="random"),
            Case("aggregate_offsets", (5, 37), (5, 37), 2, 0, dtype),
        ):
            evaluate(OPS[case.op].implementations[OURS], arguments(case, device), True)
    for dtype in DTYPES:
        case = AttentionCase(75, 40, 72, 2, dtype)
        functions = PATHS.values() if torch.device(device).type == "cuda" else ()
        for function in (OPS[case.op].implementations[OURS], *functions):
            evaluate(function, arguments(case, device), True)
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    print("every op ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
