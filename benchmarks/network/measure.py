"""Where the time of a network's inference goes, by part and by operator, and its memory."""

from __future__ import annotations

import ctypes
import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scrn import SCRN
from scrn.flops import operations

from ..common import memory

# What the attention and the ops take is not in the time of the part around them.
DNL, SRM = "DNL", "SRM"
REST = "logits"  # their upsampling to the image's size
PARTS = ("backbone", "CRM", DNL, "decoder", SRM, "head", REST)
MARK = "part: "  # of the profiler's events that are looked at

CALLS = 5  # of which the memory is the largest

aten, mkldnn, scrn_ops = torch.ops.aten, torch.ops.mkldnn, torch.ops.scrn_ops


@torch.no_grad()
def inference_bytes(model: nn.Module, image: Tensor) -> int:
    """What a call needs beside the loaded model, the image included: the largest of several, since
    on a CPU it is the resident memory of the process, and what the system's allocator makes of the
    same requests varies twofold."""
    device, peaks = image.device.type, []
    for _ in range(CALLS):
        gc.collect()
        if device == "cpu":
            ctypes.CDLL(None).malloc_trim(0)  # or the next call would find memory to reuse
        before = memory.start(device)
        model(image.clone())
        peaks.append(memory.peak(device) - before)
    return max(peaks)


def parts(model: SCRN) -> dict[nn.Module, str]:
    """The modules that are parts of inference, by name; see ``PARTS``."""
    names: dict[nn.Module, str] = {
        model.backbone: "backbone",
        model.context: "CRM",
        model.context.spatial_attention: DNL,
        model.decoder: "decoder",
        model.head: "head",
    }
    return names | dict.fromkeys(model.upsamplers, SRM)


@contextmanager
def marked(names: dict[nn.Module, str]) -> Iterator[None]:
    """Makes every call of these modules an event of the profiler."""
    handles, opened = [], []

    def enter(module: nn.Module, _: Any) -> None:
        opened.append(record_function(MARK + names[module]))
        opened[-1].__enter__()

    def leave(*_: Any) -> None:
        opened.pop().__exit__(None, None, None)

    for module in names:
        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def own_seconds(call: Callable[[], object], device: str) -> dict[str, float]:
    """Of every marked event, without those within it; on CUDA it is the device's time."""
    on_cuda = torch.device(device).type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities) as profiler:
        call()
    totals: Counter[str] = Counter()
    for event in profiler.events():
        if not event.name.startswith(MARK) or event.device_type != torch.autograd.DeviceType.CPU:
            continue
        micros = event.device_time_total if on_cuda else event.cpu_time_total
        totals[event.name.removeprefix(MARK)] += micros / 1e6
        around = event.cpu_parent
        while around is not None and not around.name.startswith(MARK):
            around = around.cpu_parent
        if around is not None:
            totals[around.name.removeprefix(MARK)] -= micros / 1e6
    return dict(totals)


@torch.no_grad()
def inference_by_part(model: SCRN, image: Tensor, runs: int) -> dict[str, float]:
    """Seconds of each part in the fastest of the runs."""

    def call() -> None:
        with marked(parts(model)), record_function(MARK + REST):
            model(image)

    call()
    return _fastest(own_seconds(call, image.device.type) for _ in range(runs))


class Work(NamedTuple):
    """Of the calls of one kind of operator: seconds, operations (see :mod:`scrn.flops`), and the
    seconds that the device needs at least."""

    seconds: float
    operations: int
    floor: float


class Rates(NamedTuple):
    """What the device reaches: operations a second of a matrix product, bytes a second of a copy
    beyond the caches, read and written."""

    product: float
    copy: float

    def floor(self, operations: int, moved: int) -> float:
        return max(operations / self.product, moved / self.copy)


@torch.no_grad()
def inference_by_operator(model: SCRN, image: Tensor, runs: int, rates: Rates) -> dict[str, Work]:
    """The work of each kind of operator, in the fastest of the runs. What lies between the
    operators, Python for one, is not in any.

    The floor of a call is that of its operations, or of reading its arguments and writing its
    results once, whichever is longer; what only makes views has none.
    """

    def call() -> None:
        counts.clear()
        floors.clear()
        with _Operators(counts, floors, rates):
            model(image)

    counts: Counter[str] = Counter()
    floors: dict[str, float] = {}
    call()
    seconds = _fastest(own_seconds(call, image.device.type) for _ in range(runs))
    return {kind: Work(value, counts[kind], floors[kind]) for kind, value in seconds.items()}


def _fastest(runs: Iterable[dict[str, float]]) -> dict[str, float]:
    return min(runs, key=lambda seconds: sum(seconds.values()))


class _Operators(TorchDispatchMode):
    def __init__(self, counts: Counter[str], floors: dict[str, float], rates: Rates) -> None:
        super().__init__()
        self.counts, self.floors, self.rates = counts, floors, rates

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = _kind(func, args)
        with record_function(MARK + kind):
            output = func(*args, **kwargs)
        count = operations(func, args, kwargs, output) or 0
        moved = 0 if func.is_view else _bytes((args, kwargs)) + _bytes(output)
        self.counts[kind] += count
        if func.overloadpacket is scrn_ops.conv3x3:
            count //= 4  # of the multiplications that its algorithm leaves
        self.floors[kind] = self.floors.get(kind, 0.0) + self.rates.floor(count, moved)
        return output


def _bytes(values: Any) -> int:
    """Of all tensors in the arguments or in the results of an operator."""
    tensors = [each for each in tree_leaves(values) if isinstance(each, Tensor)]
    return sum(each.numel() * each.element_size() for each in tensors)


def _kind(func: Any, args: Any) -> str:
    packet = func.overloadpacket
    if packet is aten.convolution:
        height, width = args[1].shape[2:]
        if args[8] == 1:
            return f"convolution {height}x{width}"
        return f"depthwise {height}x{width}" if height == width else "depthwise strips"
    if packet in (mkldnn._convolution_pointwise, mkldnn._convolution_pointwise_):
        weight = next(each for each in args if isinstance(each, Tensor) and each.is_mkldnn)
        return f"convolution {weight.shape[2]}x{weight.shape[3]}"
    if packet is mkldnn._linear_pointwise:
        return "convolution 1x1"
    if packet is scrn_ops.conv3x3:
        return "convolution 3x3"
    if packet in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm):
        return "matrix product"
    return str(packet).removeprefix("aten.").removesuffix("_")
