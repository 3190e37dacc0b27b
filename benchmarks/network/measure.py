"""What is measured of a network: the whole, its parts, its operators, a step of training."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scrn import SCRN
from scrn.flops import operations

from .clock import Clock, Path, sections

# What the attention and the ops take is not in the time of the part around them.
DNL, SRM = "DNL", "SRM"
REST = "logits"  # their upsampling to the image's size
PARTS = ("backbone", "CRM", DNL, "decoder", SRM, "head", "embedding", REST)

aten = torch.ops.aten


def parts(model: SCRN) -> dict[nn.Module, str]:
    """The modules that are parts, by name; see ``PARTS``."""
    names: dict[nn.Module, str] = {
        model.backbone: "backbone",
        model.context: "CRM",
        model.context.spatial_attention: DNL,
        model.decoder: "decoder",
        model.head: "head",
    }
    if model.embedding is not None:  # A fused model has none: it is there for training alone.
        names[model.embedding] = "embedding"
    return names | dict.fromkeys(model.upsamplers, SRM)


def in_turns(
    calls: Mapping[str, Callable[[], object]], device: str, rounds: int, seconds: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of each call in every round: ``rounds`` of them, and more until ``seconds`` have
    passed. In a round each runs once, so that a slow spell of the machine hits them all; the
    first round warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        _once(call, device)
    start = time.perf_counter()
    done = 0
    while done < rounds or time.perf_counter() - start < seconds:
        for name, call in calls.items():
            times[name].append(_once(call, device))
        done += 1
    return times


def _once(call: Callable[[], object], device: str) -> float:
    on_cuda = torch.device(device).type == "cuda"
    if on_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if on_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


@torch.no_grad()
def inference_by_part(model: SCRN, image: Tensor, runs: int) -> dict[str, float]:
    """Seconds of each part in the fastest of the runs."""

    def run() -> dict[str, float]:
        clock = Clock(image.device)
        with sections(clock, parts(model)), clock.within(REST):
            model(image)
        return _by_last(clock.seconds())

    run()
    return _fastest(run() for _ in range(runs))


def training_step_by_part(
    model: SCRN,
    image: Tensor,
    labels: Tensor,
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    runs: int,
) -> dict[tuple[str, str], float]:
    """Seconds by phase (``forward``, ``loss``, ``backward``, ``optimizer``) and part, in the
    fastest of the runs. Parameters and norms' statistics change, as in training.

    Args:
        model: in training mode.
        image: [B, 3, H, W].
        labels: [B, H, W].
        loss: ``(logits, labels, embedding)`` to a dictionary with ``"loss"``.
        optimizer: of the model's parameters.
    """

    def run() -> dict[tuple[str, str], float]:
        optimizer.zero_grad(set_to_none=True)
        clock = Clock(image.device)
        with sections(clock, parts(model)):
            with clock.within("forward"), clock.within(REST):
                logits, embedding = model(image, return_embedding=True)
            with clock.within("loss"):
                total = loss(logits, labels, embedding)["loss"]
            with clock.within("backward"), clock.within(REST):
                total.backward()
            with clock.within("optimizer"):
                optimizer.step()
        seconds: Counter[tuple[str, str]] = Counter()
        for path, value in clock.seconds().items():
            if path:
                seconds[path[0], path[-1] if len(path) > 1 else ""] += value
        return dict(seconds)

    run()
    return _fastest(run() for _ in range(runs))


def _by_last(seconds: Mapping[Path, float]) -> dict[str, float]:
    totals: Counter[str] = Counter()
    for path, value in seconds.items():
        if path:
            totals[path[-1]] += value
    return dict(totals)


def _fastest(runs: Any) -> Any:
    return min(runs, key=lambda seconds: sum(seconds.values()))


@torch.no_grad()
def inference_by_operator(model: SCRN, image: Tensor, runs: int) -> dict[str, tuple[float, int]]:
    """Seconds and operations (see :mod:`scrn.flops`) of each kind of operator, in the fastest
    of the runs. What lies between the operators, Python for one, is not in any."""

    def run() -> dict[str, float]:
        clock = Clock(image.device)
        counts.clear()
        with _Operators(clock, counts):
            model(image)
        return {path[-1]: value for path, value in clock.seconds().items() if path}

    counts: Counter[str] = Counter()
    run()
    seconds = _fastest(run() for _ in range(runs))
    return {kind: (value, counts[kind]) for kind, value in seconds.items()}


class _Operators(TorchDispatchMode):
    def __init__(self, clock: Clock, counts: Counter[str]) -> None:
        super().__init__()
        self.clock, self.counts = clock, counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = _kind(func, args)
        with self.clock.within(kind):
            output = func(*args, **kwargs)
        self.counts[kind] += operations(func, args, kwargs, output) or 0
        return output


def _kind(func: Any, args: Any) -> str:
    packet = func.overloadpacket
    if packet is aten.convolution:
        height, width = args[1].shape[2:]
        if args[8] == 1:
            return f"convolution {height}x{width}"
        return f"depthwise {height}x{width}" if height == width else "depthwise strips"
    if packet in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm):
        return "matrix product"
    return str(packet).removeprefix("aten.").removesuffix("_")


def matrix_product_speed(device: str, size: int = 2048) -> float:
    """Operations a second in a float32 matrix product: what the machine can do."""
    a, b = torch.rand(2, size, size, device=device).unbind()
    times = in_turns({"mm": lambda: a @ b}, device, 5, seconds=1)
    return 2 * size**3 / min(times["mm"])
