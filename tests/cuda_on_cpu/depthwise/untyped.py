"""Calls of the units whose launchers find the types by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..harness.device import Device, Tensor
from .cases import Case
from .reference import GELU, LARGE_KERNEL

NAMES = {LARGE_KERNEL: "large_kernel", GELU: "gelu"}


@dataclass(frozen=True)
class UntypedCase(Case):
    """``max_shared``: bytes of shared memory that a block may have, 0 for all that there are."""

    max_shared: int = 0
    dispatched: bool = False  # calls what the bindings call

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}-shared{self.max_shared}" if self.max_shared > 0 else text

    @property
    def entry(self) -> str:
        return f"{'dispatch_' * self.dispatched}{NAMES[self.unit]}"

    @property
    def backward_entries(self) -> tuple[str, str]:
        return f"{NAMES[self.unit]}_workspace", f"{self.entry}_backward"

    def arguments(self, device: Device) -> dict[str, Any]:
        return {**super().arguments(device), "max_shared": self.max_shared}

    def forward(self, device: Device) -> Tensor:
        output = device.empty("output", self.shape, self.dtype, self.channels_last)
        device.launch(self.entry, **self.arguments(device), output=output, workspace=None)
        return output

    def over_input(self, device: Device) -> Tensor:
        """GELU alone."""
        arguments = self.arguments(device)
        output: Tensor = arguments["input"]
        output.buffer.set_writable(True)
        count = device.call("gelu_border_bytes", **arguments, output=output)
        workspace = device.workspace(count) if count > 0 else None
        device.launch(self.entry, **arguments, output=output, workspace=workspace)
        return output


def large_kernel(shape: tuple[int, int, int, int] = (2, 5, 9, 13), **options: Any) -> UntypedCase:
    return UntypedCase(LARGE_KERNEL, options.pop("sizes", ()), shape, **options)


def gelu(shape: tuple[int, int, int, int] = (2, 5, 9, 13), **options: Any) -> UntypedCase:
    return UntypedCase(GELU, options.pop("sizes", ()), shape, **options)
