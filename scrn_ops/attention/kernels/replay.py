"""Launches that are written down once and made again.

What Triton does in Python before a launch, binding arguments, finding out what they are
specialised to, and looking the kernel up, takes several times as long as a small kernel. Of
tensors of the same kind, that is of the same shapes, strides, types and alignment on one device,
all of it comes out the same: so the first call of a kind launches through Triton and writes down
the compiled kernels and their arguments, and later ones fill in addresses and launch at once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.runtime import driver

INTERPRETED = triton.knobs.runtime.interpret
_KINDS = 1024  # More than that are not remembered.
_ALIGNMENT = 256  # Every buffer in the memory of a call begins at a multiple of so many bytes.

Launcher = Callable[..., None]
Options = tuple[Hashable, ...]
Sizes = dict[str, tuple[tuple[int, ...], torch.dtype]]


class Call(NamedTuple):
    """What ``run`` and ``record`` take."""

    launcher: Launcher
    tensors: tuple[Tensor, ...]
    options: Options


class Step(NamedTuple):
    """One launch: the arguments as they were, and where addresses go, as (place among the
    arguments, number of the tensor, bytes after its first)."""

    kernel: Any
    function: Any
    programs: int
    arguments: list[Any]
    addresses: tuple[tuple[int, int, int], ...]


class Plan(NamedTuple):
    steps: list[Step]
    memory: int  # bytes of all buffers

    def only(self, name: str) -> Plan:
        """The launches of one kernel."""
        return self._replace(steps=[step for step in self.steps if step.kernel.name == name])

    def run(self, tensors: Sequence[Tensor]) -> None:
        first = [tensor.data_ptr() for tensor in tensors]
        memory = tensors[0].new_empty(self.memory, dtype=torch.uint8)
        first.append(memory.data_ptr())
        active = driver.active
        stream = active.get_current_stream(active.get_current_device())
        enter, leave = (_hook(f"launch_{name}_hook") for name in ("enter", "exit"))
        for kernel, function, programs, arguments, addresses in self.steps:
            filled = arguments.copy()
            for place, number, offset in addresses:
                filled[place] = first[number] + offset
            told = enter and kernel.launch_metadata((programs, 1, 1), stream, *filled)
            packed = kernel.packed_metadata
            kernel.run(programs, 1, 1, stream, function, packed, told, enter, leave, *filled)


class Tape:
    """Launches kernels, and writes down how."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        # Objects of their own: two arguments may be one tensor in this call, but not in the next.
        self.tensors = [tensor.detach() for tensor in tensors]
        self._numbers = {id(tensor): (i, 0) for i, tensor in enumerate(self.tensors)}
        self._memory = 0
        self._kept: dict[str, Tensor] = {}  # While they live, no other object has their identity.
        self._steps: list[Step] = []

    def buffers(self, sizes: Sizes) -> dict[str, Tensor]:
        """Uninitialised tensors in one piece of memory. To be called once."""
        places, end = {}, 0
        for name, (shape, dtype) in sizes.items():
            places[name] = end
            size = math.prod(shape) * dtype.itemsize
            end += -(-size // _ALIGNMENT) * _ALIGNMENT
        memory = self.tensors[0].new_empty(end, dtype=torch.uint8)
        found = {}
        for name, (shape, dtype) in sizes.items():
            size = math.prod(shape) * dtype.itemsize
            tensor = memory[places[name] : places[name] + size].view(dtype).view(shape)
            self._numbers[id(tensor)] = len(self.tensors), places[name]
            found[name] = tensor
        self._memory, self._kept = end, found
        return found

    def launch(
        self,
        kernel: Any,
        programs: int,
        *args: Any,
        warps: int = 4,
        stages: int = 3,
        **constants: Any,
    ) -> None:
        """``args`` are those of the kernel before its constants; tensors among them are those of
        the tape, or its buffers, as a whole."""
        addresses = tuple(
            (i, *self._numbers[id(arg)]) for i, arg in enumerate(args) if isinstance(arg, Tensor)
        )
        compiled = kernel[(programs,)](*args, **constants, num_warps=warps, num_stages=stages)
        if INTERPRETED:
            return
        rest = [constants[name] for name in kernel.arg_names[len(args) :]]
        kept = [None if isinstance(arg, Tensor) else arg for arg in args]
        function = compiled.function
        self._steps.append(Step(compiled, function, programs, [*kept, *rest], addresses))

    def plan(self) -> Plan:
        return Plan(self._steps, self._memory)


def _hook(name: str) -> Any:
    """A profiler's hook, which is rarely there. A chain of hooks without links counts as none."""
    hook = getattr(triton.knobs.runtime, name)
    return hook if getattr(hook, "calls", True) else None


_plans: dict[Hashable, Plan] = {}
_changing = threading.Lock()  # Forward and backward run on threads of their own.


def forget() -> None:
    """Forgets every kind, as is due after the table of tiles was changed."""
    with _changing:
        _plans.clear()


def record(launcher: Launcher, tensors: Sequence[Tensor], options: Options) -> Plan:
    """``launcher(tape, *options)`` with the tensors."""
    tape = Tape(tensors)
    launcher(tape, *options)
    return tape.plan()


def run(launcher: Launcher, tensors: Sequence[Tensor], options: Options) -> None:
    """``launcher(tape, *options)`` on the tensors' device, or the launches that it made before for
    tensors of the same kind."""
    if not tensors[0].is_cuda or tensors[0].get_device() == torch.cuda.current_device():
        _run(launcher, tensors, options)
    else:  # Triton launches on the current device.
        with torch.cuda.device_of(tensors[0]):
            _run(launcher, tensors, options)


def _run(launcher: Launcher, tensors: Sequence[Tensor], options: Options) -> None:
    if INTERPRETED:
        launcher(Tape(tensors), *options)
        return
    kind = (launcher, options, tensors[0].get_device(), *map(_kind, tensors))
    plan = _plans.get(kind)
    if plan is not None:
        plan.run(tensors)
        return
    plan = record(launcher, tensors, options)
    with _changing:
        if len(_plans) >= _KINDS:
            _plans.clear()  # So many kinds come back rarely, and are recorded again where they do.
        _plans[kind] = plan


def _kind(tensor: Tensor) -> tuple[Hashable, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.data_ptr() % 16
