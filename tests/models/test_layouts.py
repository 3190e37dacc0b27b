"""The paper's network leaves its maps in the layout of the image from end to end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .helpers import build, image

COPIES = ("aten.clone", "aten.copy_", "aten._to_copy")


class Conversions(TorchDispatchMode):
    """Records the operators that copy a map or meet maps of two layouts, and where they run."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.running = [""]
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: self.running.append(name))
            module.register_forward_hook(self._leave)

    def _leave(self, *_: Any) -> None:
        self.running.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket)
        if name == "scrn_ops.conv3x3":
            args = args[:1]  # packed weights have an order of their own
        flat = [x for arg in args for x in (arg if isinstance(arg, list | tuple) else [arg])]
        maps = [x for x in [*flat, output] if isinstance(x, Tensor) and x.dim() == 4]
        if (name in COPIES and maps) or (
            not func.is_view and len(set(map(layout, maps)) - {None}) > 1
        ):
            self.found.append((self.running[-1], name))
        return output


def layout(x: Tensor) -> torch.memory_format | None:
    """Of a map, or of a part of its channels; None where it has one channel or one pixel, and of a
    packed weight."""
    if x.is_mkldnn or x.shape[1] == 1 or x.shape[2:].numel() == 1:
        return None
    return torch.channels_last if x.stride(1) < x.stride(3) else torch.contiguous_format


@pytest.mark.parametrize("fuse", [False, True], ids=["model", "fuse"])
@pytest.mark.parametrize("kind", [torch.contiguous_format, torch.channels_last], ids=str)
@torch.no_grad()
def test_nothing_converts_a_map(kind: torch.memory_format, fuse: bool) -> None:
    """But for the layer norms of the backbone in NCHW, which read channels side by side."""
    model = build("mscan_t").eval()
    model = (model.fuse() if fuse else model).to(memory_format=kind)
    x = image(96, 160).contiguous(memory_format=kind)
    model(x)  # the first call packs weights
    with (conversions := Conversions(model)):
        logits = model(x)
    assert logits.is_contiguous(memory_format=kind)
    norms = [(f"backbone.norm{i}", "aten.clone") for i in range(1, 5)]
    assert conversions.found == ([] if kind == torch.channels_last else norms)
