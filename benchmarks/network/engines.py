"""What a person who deploys the network on a CPU compares: each engine, built in its own process.

Nothing of torch is imported for those that do without it, whose memory is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

WEIGHTS, ONNX, IMAGE, EXPECTED = "weights.pt", "network.onnx", "image.npy", "expected.npy"
EXACT, HALF = 1e-4, 1e-1  # allowed relative L2 errors of the logits
Call = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Engine:
    """A way to run one set of weights.

    Args:
        kind: ``"scrn"``: the network itself; ``"compile"``: by torch.compile, with freezing;
            ``"onnxruntime"``, ``"openvino"``: what torch.onnx exports of it.
        ops, fuse, channels_last: of the network, see :class:`.variants.Variant`.
        keep_memory: the process keeps what it frees, see :func:`scrn.keep_freed_memory`.
        bfloat16: the engine computes in it.
    """

    kind: str
    ops: str = "eager"
    fuse: bool = False
    channels_last: bool = False
    keep_memory: bool = False
    bfloat16: bool = False

    @property
    def name(self) -> str:
        if self.kind in _TITLES:
            return _TITLES[self.kind] + (" bf16" if self.bfloat16 else "")
        parts = ["torch.compile" if self.kind == "compile" else f"{self.ops} ops"]
        parts += ["fuse()"] * self.fuse + ["channels_last"] * self.channels_last
        return " + ".join(parts + ["kept memory"] * self.keep_memory)

    @property
    def allowed(self) -> float:
        return HALF if self.bfloat16 else EXACT

    @property
    def is_ours(self) -> bool:
        return self.kind == "scrn" and self.ops == "fused"

    @property
    def missing(self) -> str | None:
        """A package without which it cannot run."""
        needed = (self.kind, "onnx", "onnxscript") if self.reads_onnx else ("torch",)
        return next((name for name in needed if not find_spec(name)), None)

    @property
    def reads_onnx(self) -> bool:
        return self.kind in _TITLES


_TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
OURS = Engine("scrn", "fused", fuse=True, channels_last=True, keep_memory=True)


def engines(bfloat16: bool) -> list[Engine]:
    """All, those in bfloat16 where the processor has its products."""
    found = [OURS, Engine("scrn", "fused", fuse=True, channels_last=True)]
    for keep in (True, False):
        found += [
            Engine("scrn", fuse=True, channels_last=True, keep_memory=keep),
            Engine("scrn", keep_memory=keep),
        ]
    found += [
        Engine("compile", channels_last=last, keep_memory=keep)
        for keep in (True, False)
        for last in (True, False)
    ]
    found += [Engine("onnxruntime"), Engine("openvino")]
    return found + [Engine("openvino", bfloat16=True)] * bfloat16


def build(engine: Engine, folder: Path, backbone: str, num_classes: int, threads: int) -> Call:
    """A call that gives the logits of the folder's image by the folder's weights."""
    image = np.load(folder / IMAGE)
    if engine.kind == "onnxruntime":
        return _onnxruntime(folder, image, threads)
    if engine.kind == "openvino":
        return _openvino(folder, image, threads, "bf16" if engine.bfloat16 else "f32")
    return _torch(engine, folder, image, backbone, num_classes, threads)


def _onnxruntime(folder: Path, image: np.ndarray, threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        folder / ONNX, options, providers=["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feed)[0]


def _openvino(folder: Path, image: np.ndarray, threads: int, precision: str) -> Call:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = openvino.compile_model(folder / ONNX, "CPU", settings).create_infer_request()
    return lambda: request.infer([image], share_inputs=True, share_outputs=True)[0]


def _torch(
    engine: Engine, folder: Path, image: np.ndarray, backbone: str, num_classes: int, threads: int
) -> Call:
    import torch

    from scrn import build_model, keep_freed_memory

    from .variants import Variant

    if engine.keep_memory:
        keep_freed_memory()
    torch.set_num_threads(threads)
    original = build_model(backbone, num_classes=num_classes).eval()
    original.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
    variant = Variant(engine.ops, engine.fuse, engine.channels_last)
    model: Any = variant.model(original)
    given = variant.image(torch.from_numpy(image))
    if engine.kind == "compile":
        torch._inductor.config.freezing = True
        model = torch.compile(model)

    def call() -> np.ndarray:
        with torch.no_grad():
            return model(given).numpy()

    return call
