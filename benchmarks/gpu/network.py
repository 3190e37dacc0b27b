"""``python -m benchmarks.gpu.network``: times of the whole network, its backbone alone, and its
memory, by type, layout and ops. Whether its logits are right is for the tests to say."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import torch

from scrn import build_model
from scrn.models import with_ops

from ..common.memory import peak_bytes
from .measure import call_seconds, graph_seconds, on_cuda, parser, work
from .record import Record

BACKBONE, CLASSES = "mscan_s", 19
SIZE, SMALL = (1024, 2048), (64, 64)
FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
Variant = tuple[torch.dtype, str, str]  # type, layout and ops


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    options = parser("network", __doc__).parse_args(argv)
    device = options.device
    torch.backends.cudnn.benchmark = True
    height, width = SIZE if on_cuda(device) else SMALL
    variants = itertools.product((torch.float32, torch.bfloat16), FORMATS, ("eager", "fused"))
    planned: dict[str, Variant] = {
        f"{BACKBONE} {height}x{width} {str(dtype).removeprefix('torch.')} {layout} {ops} ops":
        (dtype, layout, ops)
        for dtype, layout, ops in variants
    }  # fmt: skip
    torch.manual_seed(0)
    original = build_model(BACKBONE, num_classes=CLASSES).eval()
    photo = torch.randn(1, 3, height, width)

    def measure(variant: Variant) -> dict[str, Any]:
        dtype, layout, ops = variant
        fused = with_ops(original, ops).fuse(None if dtype == torch.float32 else dtype)
        model = fused.to(device, memory_format=FORMATS[layout])
        image = photo.to(device, dtype).contiguous(memory_format=FORMATS[layout])
        model(image)  # cuDNN tries its algorithms
        weights = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
        return {
            "dtype": str(dtype).removeprefix("torch."),
            "layout": layout,
            "ops": ops,
            "call": call_seconds(lambda: model(image), device, 0.3),
            "graph": graph_seconds(lambda: model(image), device),
            "backbone": call_seconds(lambda: model.backbone(image), device, 0.3),
            "backbone_graph": graph_seconds(lambda: model.backbone(image), device),
            "peak_bytes": peak_bytes(lambda: model(image), device) + weights + image.nbytes,
        }

    return work(Record(options.json, planned), planned, measure)


if __name__ == "__main__":
    sys.exit(main())
