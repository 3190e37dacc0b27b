"""The ways to run one set of weights, as a person who deploys the network compares them: each is
built in its own process.

Nothing of torch is imported for those that do without it, whose memory is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

WEIGHTS, ONNX, IMAGE, EXPECTED = "weights.pt", "network.onnx", "image.npy", "expected.npy"
NUM_CLASSES = 19
EXACT, HALF = 1e-4, 1e-1  # allowed relative L2 errors of the logits


@dataclass(frozen=True)
class Engine:
    """A way to run one set of weights.

    Args:
        kind: ``"scrn"``: the network itself; ``"compile"``: by torch.compile, with freezing;
            ``"onnxruntime"``, ``"openvino"``: what ``scrn export --format onnx`` makes of it.
        ops, fuse, channels_last: of the network; ``fuse`` is SCRN.fuse().
        keep_memory: the process keeps what it frees, see :func:`scrn.keep_freed_memory`.
        bfloat16: the engine computes in it.
    """

    kind: str = "scrn"
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
        parts += ["kept memory"] * self.keep_memory + ["bf16"] * self.bfloat16
        return " + ".join(parts)

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
PLAIN = Engine()
EAGER_FUSED = Engine(fuse=True, channels_last=True)
OURS = replace(EAGER_FUSED, ops="fused")
VARIANTS = (PLAIN, Engine(ops="fused"), Engine(channels_last=True), EAGER_FUSED, OURS)
OURS_KEPT = replace(OURS, keep_memory=True)  # which is compared with other engines


def engines(bfloat16: bool) -> list[Engine]:
    """All, those in bfloat16 where the processor has its products."""
    found = [OURS_KEPT, OURS] + [replace(OURS_KEPT, bfloat16=True)] * bfloat16
    for keep in (True, False):
        found += [replace(each, keep_memory=keep) for each in (EAGER_FUSED, PLAIN)]
    found += [
        Engine("compile", channels_last=last, keep_memory=keep)
        for keep in (True, False)
        for last in (True, False)
    ]
    found += [Engine("onnxruntime"), Engine("openvino")]
    return found + [Engine("openvino", bfloat16=True)] * bfloat16


class Task(NamedTuple):
    """What every engine runs, and how: the network whose weights are in the folder."""

    folder: Path
    backbone: str
    threads: int
    device: str = "cpu"
    keep_memory: bool = False  # in every process


@dataclass
class Built:
    """``call`` is what is timed, ``logits`` the same with its result on the CPU. Of the network
    itself ``model`` and ``image`` are what it is made of."""

    call: Callable[[], object]
    logits: Callable[[], np.ndarray]
    model: Any = None
    image: Any = None


def build(engine: Engine, task: Task) -> Built:
    """Gives the logits of the folder's image by the folder's weights."""
    image = np.load(task.folder / IMAGE)
    if engine.kind == "onnxruntime":
        call = _onnxruntime(image, task)
    elif engine.kind == "openvino":
        call = _openvino(image, task, "bf16" if engine.bfloat16 else "f32")
    else:
        return _torch(engine, image, task)
    return Built(call, call)


def _onnxruntime(image: np.ndarray, task: Task) -> Callable[[], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    path, providers = task.folder / ONNX, ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    feed = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feed)[0]


def _openvino(image: np.ndarray, task: Task, precision: str) -> Callable[[], np.ndarray]:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": task.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = openvino.compile_model(task.folder / ONNX, "CPU", settings).create_infer_request()
    return lambda: request.infer([image], share_inputs=True, share_outputs=True)[0]


def _torch(engine: Engine, image: np.ndarray, task: Task) -> Built:
    import torch

    from scrn import build_model, keep_freed_memory

    from .weights import forbid_tf32, variant

    if engine.keep_memory or task.keep_memory:
        keep_freed_memory()
    torch.set_num_threads(task.threads)
    forbid_tf32()
    original = build_model(task.backbone, num_classes=NUM_CLASSES)
    original.load_state_dict(torch.load(task.folder / WEIGHTS, weights_only=True))
    layout = torch.channels_last if engine.channels_last else torch.contiguous_format
    dtype = torch.bfloat16 if engine.bfloat16 else None
    model: Any = variant(original.to(task.device), engine.ops, engine.fuse, layout, dtype)
    given = torch.from_numpy(image).to(task.device).contiguous(memory_format=layout)
    if engine.kind == "compile":
        torch._inductor.config.freezing = True
        model = torch.compile(model)

    def call() -> torch.Tensor:
        with torch.no_grad():
            output: torch.Tensor = model(given)
        if output.is_cuda:
            torch.cuda.synchronize()
        return output

    return Built(call, lambda: call().cpu().numpy(), model, given)
