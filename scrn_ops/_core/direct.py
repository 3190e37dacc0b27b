"""Operators whose kernels are Python, called without torch's dispatcher.

The way from Python through the dispatcher to Python takes as long as ten of torch's own operators.
A plain call goes past it; whatever has to see an operator, or to act before its kernel, gets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet

_keys_of = torch._C._dispatch_keys
_modes = torch._C._len_torch_dispatch_stack
_any_autocast = torch._C._is_any_autocast_enabled
_profiles = torch._C._autograd._profiler_enabled
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
    for device in ("CPU", "CUDA")
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
    if kernel is None or _modes() or _any_autocast() or _profiles() or _tracing_state() is not None:
        return operator
    for arg in args:
        if isinstance(arg, Tensor) and _keys_of(arg) not in _PLAIN:
            return operator
    return kernel
