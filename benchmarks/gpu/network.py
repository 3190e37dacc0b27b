"""``python -m benchmarks.gpu.network``: times of the whole network, its backbone alone, and its
memory, by type, layout and ops. Whether its logits are right is for the tests to say."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from scrn import build_model
from scrn.models import with_ops

from ..cases import LAYOUTS
from ..memory import peak_bytes
from .measure import call_seconds, first_line, graph_seconds, on_cuda
from .record import OK, Record

BACKBONE, CLASSES = "mscan_s", 19
SIZE, SMALL = (1024, 2048), (64, 64)
FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


@torch.no_grad()
def measured(model: nn.Module, image: Tensor, device: str) -> dict[str, float | int | None]:
    found: dict[str, float | int | None] = {}

    def whole() -> object:
        with torch.no_grad():
            return model(image)

    def backbone() -> object:
        with torch.no_grad():
            return model.backbone(image)

    whole()  # cuDNN tries its algorithms
    found["call"] = call_seconds(whole, device, 0.3)
    found["graph"] = graph_seconds(whole, device)
    found["backbone"] = call_seconds(backbone, device, 0.3)
    found["backbone_graph"] = graph_seconds(backbone, device)
    weights = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
    found["peak_bytes"] = peak_bytes(whole, device) + weights + image.nbytes
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.network", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, required=True, metavar="PATH")
    options = parser.parse_args(argv)
    device = options.device
    torch.backends.cudnn.benchmark = True
    height, width = SIZE if on_cuda(device) else SMALL
    dtypes = (torch.float32, torch.bfloat16)
    planned = {
        f"{BACKBONE} {height}x{width} {str(dtype).removeprefix('torch.')} {layout} {ops} ops":
        (dtype, layout, ops)
        for dtype, layout, ops in itertools.product(dtypes, LAYOUTS, ("eager", "fused"))
    }  # fmt: skip
    record = Record(options.json, "network", planned)
    torch.manual_seed(0)
    original = build_model(BACKBONE, num_classes=CLASSES).eval()
    image = torch.randn(1, 3, height, width)
    for name, (dtype, layout, ops) in planned.items():
        if record.ended_well(name):
            continue
        try:
            model = with_ops(original, ops).fuse()
            model = model.to(device, dtype, memory_format=FORMATS[layout])
            laid_out = image.to(device, dtype).contiguous(memory_format=FORMATS[layout])
            facts = measured(model, laid_out, device)
            record.add(name, OK, dtype=str(dtype).removeprefix("torch."), layout=layout, ops=ops,
                       **facts)  # fmt: skip
            print(f"ok: {name}: {facts['call']} s", flush=True)
        except Exception as problem:
            record.add(name, f"failed: {first_line(problem)}")
            print(f"failed: {name}: {first_line(problem)}", flush=True)
    return int(not record.all_ended_well)


if __name__ == "__main__":
    sys.exit(main())
