"""Memory checks in Triton's interpreter: every load and store must stay inside one of the tensors
that the kernel was given, as far as its sizes and strides reach."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor
from triton.runtime import interpreter

Extent = tuple[int, int]


def extent(tensor: Tensor) -> Extent:
    """First address of a view, and the one after its last element."""
    first = tensor.data_ptr()
    if tensor.numel() == 0:
        return first, first
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return first, first + (last + 1) * tensor.element_size()


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    extents: list[Extent] = []
    arguments = interpreter.GridExecutor._init_args_hst
    builder = interpreter.InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store

    def record(self: Any, args: Any, kwargs: Any) -> Any:
        result = arguments(self, args, kwargs)
        extents[:] = [extent(arg) for arg in result[0] if isinstance(arg, Tensor)]
        return result

    def check(pointers: Any, mask: Any, what: str) -> None:
        used = pointers.data[mask.data.astype(bool)]  # of a product of masks it is a number
        if used.size == 0:
            return
        width = pointers.get_element_ty().primitive_bitwidth // 8
        first, last = int(used.min()), int(used.max()) + width
        if not any(low <= first and last <= high for low, high in extents):
            raise AssertionError(f"the kernel {what} outside of its tensors")

    def guarded_load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        check(pointers, mask, "reads")
        return load(self, pointers, mask, *rest)

    def guarded_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        check(pointers, mask, "writes")
        return store(self, pointers, value, mask, *rest)

    monkeypatch.setattr(interpreter.GridExecutor, "_init_args_hst", record)
    monkeypatch.setattr(builder, "create_masked_load", guarded_load)
    monkeypatch.setattr(builder, "create_masked_store", guarded_store)
