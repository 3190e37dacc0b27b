"""The stand-in for Triton's driver, and the devices that it can be."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.driver import driver as triton_driver

from scrn_ops.attention.table import SHARED_BYTES

from .record import Kernel, Launch, check

STREAM = 7  # no stream of a real device, and not the default one
# Multiprocessors of an A100, an H100, a B200 and an RTX 5090: they decide how keys are split.
PROCESSORS = {80: 108, 90: 132, 100: 148, 120: 170}
FAMILIES = tuple(PROCESSORS)


class Launcher:
    """What Triton calls to start a kernel (``CompiledKernel.run``)."""

    def __init__(self, src: Any, metadata: Any) -> None:
        self.driver = triton_driver.active
        self.kernel = self.driver.utils.announced = Kernel(src, metadata)

    def __call__(self, *launch: Any) -> None:
        """Grid, stream, function, two kinds of metadata, two hooks, the kernel's arguments."""
        grid, (stream, function), arguments = launch[:3], launch[3:5], launch[9:]
        active = triton_driver.active
        launches = active.launches
        if launches is None:
            return
        if self.driver is not active:
            raise RuntimeError(f"{self.kernel.name}: launched on a device it was not loaded on")
        kernel = active.utils.loaded.get(function)
        if kernel is None or kernel.hash != self.kernel.hash:
            raise RuntimeError(f"{self.kernel.name}: launched with the handle of another kernel")
        if stream != active.stream:
            raise RuntimeError(f"{kernel.name}: launched on stream {stream}, not on the current")
        check(kernel, grid, arguments)
        addresses = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
        launches.append(Launch(kernel, grid, tuple(addresses)))


class Utilities:
    """What Triton asks about a device, and the loading of code."""

    def __init__(self, family: int) -> None:
        self.loaded: dict[int, Kernel] = {}
        self.announced: Kernel | None = None
        self.properties = {
            # Triton would refuse what needs more than a block has; the report is to say what does.
            "max_shared_mem": 1 << 30,
            "max_num_regs": 65536,
            "multiprocessor_count": PROCESSORS[family],
            "warpSize": 32,
            "sm_clock_rate": 1_500_000,
            "mem_clock_rate": 1_500_000,
            "mem_bus_width": 5120,
        }

    def get_device_properties(self, device: int) -> dict[str, int]:
        return self.properties

    def load_binary(
        self, name: str, cubin: bytes, shared: int, device: int
    ) -> tuple[None, int, int, int, int]:
        """Module, function, registers, spills and threads a block may have.

        There is no module: Triton would unload it by a driver that is no longer active.
        """
        kernel = self.announced
        assert kernel is not None
        assert kernel.name == name
        kernel.cubin = cubin
        handle = 1 + int(kernel.hash[:12], 16)
        self.loaded.setdefault(handle, kernel)
        return None, handle, 0, 0, 1024

    def unload_module(self, module: None) -> None: ...


class DryDriver(DriverBase):
    """A device of an architecture, which records launches while ``launches`` is a list."""

    def __init__(self, family: int) -> None:
        super().__init__()
        self.family = family
        # Triton keeps compiled kernels by the number of the device.
        self.device = 1000 + family
        self.target = GPUTarget("cuda", family, 32)
        self.utils = Utilities(family)
        self.launcher_cls = Launcher
        self.stream = STREAM
        self.launches: list[Launch] | None = None

    @classmethod
    def is_active(cls) -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        raise NotImplementedError("no launcher is compiled without a device")

    def get_benchmarker(self) -> Any:
        raise NotImplementedError("nothing can be timed without a device")

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        return torch.cuda

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return self.device

    def set_current_device(self, device: int) -> None:
        if device != self.device:
            raise ValueError(f"device: expected {self.device}, got {device}")

    def get_current_stream(self, device: int | None = None) -> int:
        return self.stream

    def get_device_capability(self, device: Any = None) -> tuple[int, int]:
        return divmod(self.family, 10)


@functools.cache
def driver_of(family: int) -> DryDriver:
    """One driver for each architecture: what it loaded stays loaded."""
    return DryDriver(family)


@contextlib.contextmanager
def device(family: int) -> Iterator[DryDriver]:
    """Within, tensors on the CPU pass for tensors on a device of this architecture."""
    if triton.knobs.runtime.interpret:
        raise RuntimeError("TRITON_INTERPRET is set, so that nothing would be compiled")
    dry = driver_of(family)
    properties = SimpleNamespace(
        name=f"stand-in for sm_{family}",
        major=family // 10,
        minor=family % 10,
        multi_processor_count=PROCESSORS[family],
        shared_memory_per_block_optin=SHARED_BYTES[family],
        L2_cache_size=50 << 20,
        warp_size=32,
    )
    stand_ins: list[tuple[Any, str, Any]] = [
        (torch.cuda, "current_device", dry.get_current_device),
        (torch.cuda, "current_stream", lambda device=None: SimpleNamespace(cuda_stream=dry.stream)),
        (torch.cuda, "device_of", contextlib.nullcontext),
        (torch.cuda, "get_device_capability", dry.get_device_capability),
        (torch.cuda, "get_device_properties", lambda device=None: properties),
        (torch.cuda, "is_current_stream_capturing", lambda: False),
        (torch._C, "_cuda_getCurrentRawStream", dry.get_current_stream),
        (torch._C, "_cuda_getDevice", dry.get_current_device),
        # These hide the attributes of the class in C that torch.Tensor derives from.
        (torch.Tensor, "is_cuda", property(lambda tensor: True)),
        (torch.Tensor, "get_device", lambda tensor: dry.device),
        (triton_driver, "_active", dry),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, stand_in in stand_ins:
            # A torch without CUDA has not all of its C functions.
            patch = mock.patch.object(owner, name, stand_in, create=owner is torch._C)
            stack.enter_context(patch)
        yield dry


@contextlib.contextmanager
def recording(dry: DryDriver) -> Iterator[list[Launch]]:
    """Collects what is launched within."""
    with mock.patch.object(dry, "launches", []) as launches:
        yield launches


def variants(launches: Sequence[Launch]) -> dict[tuple[object, ...], int]:
    """How many kernels were compiled from each function with each set of the constants that the
    source declares: more than one by what Triton found out about the other arguments."""
    found: dict[tuple[object, ...], set[str]] = {}
    for kernel in (launch.kernel for launch in launches):
        key = (kernel.name, *kernel.declared)
        found.setdefault(key, set()).add(kernel.hash)
    return {key: len(hashes) for key, hashes in found.items()}
