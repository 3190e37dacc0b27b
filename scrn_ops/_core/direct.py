"""Operators whose kernels are Python, called without torch's dispatcher.

The way from Python through the dispatcher to Python takes as long as several of torch's operators.
A plain call goes past it. Modes, torch's profiler, traces, autocast, subclasses and everything that
has a key in the dispatcher get the operator. Two things do not: an observer of calls that is no
profiler (``ExecutionTraceObserver``), for which Python has no question, and a kernel that a program
registers in the place of the package's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.autograd.profiler as _profiler
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet

_keys_of = torch._C._dispatch_keys
_modes = torch._C._len_torch_dispatch_stack
_any_autocast = torch._C._is_any_autocast_enabled
_tracing_state = torch._C._get_tracing_state

_kernels: dict[Any, Callable[..., Any]] = {}


def _keys(*names: str) -> DispatchKeySet:
    keys = DispatchKeySet(getattr(DispatchKey, names[0]))
    for name in names[1:]:
        keys = keys.add(getattr(DispatchKey, name))
    return keys


# Of dense tensors that only their device's kernels act on, made outside of inference mode and in
# it: no subclass, no wrapper of torch.func, no view that is the negative of what lies in memory.
_PLAIN = tuple(
    keys
    for device in (("CUDA", "CPU") if torch.version.cuda else ("CPU",))
    for keys in (
        _keys(device, f"Autocast{device}", "ADInplaceOrView", f"Autograd{device}"),
        _keys(device, f"Autocast{device}"),
    )
)


def register_direct(operator: Any, kernel: Callable[..., Any]) -> None:
    """``kernel``: what the operator's kernels on a CPU and on CUDA are, both."""
    _kernels[operator] = kernel


def direct(operator: Any, args: tuple[Any, ...]) -> Any:
    """What computes ``operator(*args)`` below autograd: its kernel, or else the operator."""
    kernel = _kernels.get(operator)
    if kernel is None or _modes() or _any_autocast() or _tracing_state() is not None:
        return operator
    if _profiler._is_profiler_enabled:  # in any thread
        return operator
    for arg in args:
        if isinstance(arg, Tensor) and _keys_of(arg) not in _PLAIN:
            return operator
    return kernel
