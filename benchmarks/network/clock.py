"""Time in nested sections, on the CPU and on CUDA, also of what the backward pass does."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

Path = tuple[str, ...]


class Clock:
    """Collects time by the path of sections that were open; a section's own time excludes that
    of the sections within it. On CUDA the time is that of the device."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._on_cuda = torch.device(device).type == "cuda"
        self._open: list[str] = []
        self._stamps: list[tuple[Path, Any]] = []

    @property
    def depth(self) -> int:
        return len(self._open)

    def enter(self, section: str) -> None:
        self._stamp()
        self._open.append(section)

    def leave(self) -> None:
        self._stamp()
        self._open.pop()

    @contextmanager
    def within(self, section: str) -> Iterator[None]:
        """A section; those that were entered inside and not left end with it."""
        depth = self.depth
        self.enter(section)
        yield
        while self.depth > depth:
            self.leave()

    def seconds(self) -> dict[Path, float]:
        """Between the first stamp and the last; what lies outside all sections has the path ()."""
        if self._on_cuda:
            torch.cuda.synchronize()
        totals: Counter[Path] = Counter()
        for (_, start), (path, stop) in itertools.pairwise(self._stamps):
            totals[path] += start.elapsed_time(stop) / 1e3 if self._on_cuda else stop - start
        return dict(totals)

    def _stamp(self) -> None:
        """Of the end of what ran until now, under the path that was open."""
        if self._on_cuda:
            now: Any = torch.cuda.Event(enable_timing=True)
            now.record()
        else:
            now = time.perf_counter()
        self._stamps.append((tuple(self._open), now))


@contextmanager
def sections(clock: Clock, names: Mapping[nn.Module, str]) -> Iterator[None]:
    """Makes every call of these modules a section, and also their part of a backward pass.

    The engine runs the backward pass in the reverse order of the forward one, so that all that
    runs between the gradients of a module's outputs and those of its inputs belongs to it.
    """
    handles = []

    def mark(values: Any, action: Callable[[], None]) -> Any:
        tensors: list[Tensor] = []
        tree_map_only(Tensor, tensors.append, values)
        if not torch.is_grad_enabled() or not any(t.requires_grad for t in tensors):
            return values
        marked = iter(_Mark.apply(action, *tensors))
        return tree_map_only(Tensor, lambda _: next(marked), values)

    for module, name in names.items():

        def before(_module: nn.Module, inputs: Any, name: str = name) -> Any:
            clock.enter(name)
            return mark(inputs, clock.leave)

        def after(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> Any:
            output = mark(output, lambda: clock.enter(name))
            clock.leave()
            return output

        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Mark(torch.autograd.Function):
    """Identity whose backward calls ``action``."""

    @staticmethod
    def forward(ctx: Any, action: Callable[[], None], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.action = action
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.action()
        return (None, *grads)
