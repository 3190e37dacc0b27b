"""Fake kernels, by which torch finds out an operator's results without computing them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

_Kernel = Callable[..., Any]
# Whether scrn_ops.onnx has made a translation table in this process.
_translated = False


def note_translation_table() -> None:
    global _translated
    _translated = True


def register_fake(
    name: str, lib: torch.library.Library | None = None
) -> Callable[[_Kernel], _Kernel]:
    """Registers the fake kernel of an operator of inference, which torch.onnx.export calls, too:
    without a translation it would end with the advice to report a bug to PyTorch."""

    def register(kernel: _Kernel) -> _Kernel:
        @functools.wraps(kernel)
        def checked(*args: Any, **kwargs: Any) -> Any:
            # No NotImplementedError, which torch takes for a fake kernel that there is not.
            if not _translated and torch.onnx.is_in_onnx_export():
                raise RuntimeError(
                    f"scrn_ops.{name}: expected torch.onnx.export(..., dynamo=True, "
                    "custom_translation_table=scrn_ops.onnx.translation_table()), or "
                    'backend="eager" for the module that calls it; got no table'
                )
            return kernel(*args, **kwargs)

        torch.library.register_fake(f"scrn_ops::{name}", checked, lib=lib)
        return kernel

    return register
