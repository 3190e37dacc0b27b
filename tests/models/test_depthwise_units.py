"""The depthwise units of MSCAN and VAN are computed by the ops that the network is built with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from scrn import SCRN, build_model, flops
from scrn.models import with_ops
from scrn.models.backbones.large_kernel import DepthwiseUnit, unit_backend
from scrn_ops.depthwise import eager, reference

from .helpers import build, image, relative

BLOCKS = 3 + 3 + 5 + 2
GATES = {"mscan_t": "multi_scale_depthwise", "van_t": "large_kernel_depthwise"}


@pytest.mark.parametrize("rewrite", [lambda model: model, SCRN.fuse], ids=["model", "fused"])
@pytest.mark.parametrize("backbone", GATES)
@torch.no_grad()
def test_with_other_ops(
    backbone: str, rewrite: Callable[[SCRN], SCRN], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for module in (eager, reference):
        for name in (GATES[backbone], "depthwise_gelu"):
            op = getattr(module, name)
            record = partial(lambda op, name, *a, **k: calls.append(name) or op(*a, **k), op, name)
            monkeypatch.setattr(module, name, record)
    model = rewrite(build(backbone).eval())
    x = image(64, 96)
    expected = model(x)
    assert calls == []
    assert relative(with_ops(model, "reference")(x), expected) < 1e-4
    assert sorted(calls) == sorted([GATES[backbone], "depthwise_gelu"] * BLOCKS)
    assert relative(with_ops(model, "eager")(x), expected) < 1e-4


@pytest.mark.parametrize("ops", ["fused", "eager", "reference"])
def test_ops_reach_the_backbone(ops: str) -> None:
    with torch.device("meta"):
        model = build_model("mscan_t", ops=ops)
    units = [module for module in model.modules() if isinstance(module, DepthwiseUnit)]
    assert len(units) == 2 * BLOCKS
    assert {unit.backend for unit in units} == {ops}


def test_every_convolution_of_a_unit_is_named() -> None:
    """They are counted by these names, as the op does not call them."""
    for backbone in GATES:
        with torch.device("meta"):
            model = build_model(backbone)
        named = [
            conv
            for unit in model.modules()
            if isinstance(unit, DepthwiseUnit)
            for conv in unit.convolutions()
        ]
        depthwise = [
            module
            for module in model.backbone.modules()
            if isinstance(module, nn.Conv2d) and module.groups > 1
        ]
        assert len(named) == len(set(named))
        assert set(named) == set(depthwise)


@pytest.mark.parametrize("kind", ["cpu", "cuda", "meta", "xpu"])
def test_where_there_are_no_kernels_the_units_are_torchs(kind: str) -> None:
    class There:
        device = torch.device(kind)

    x: Any = There()
    assert unit_backend(x, "fused") == ("eager" if kind == "xpu" else "fused")
    assert unit_backend(x, "eager") == "eager"
    assert unit_backend(x, "reference") == "reference"


@pytest.mark.parametrize("backbone", GATES)
def test_a_fused_network_holds_each_weight_once_and_costs_the_same(backbone: str) -> None:
    model = build(backbone).eval().fuse()
    state = model.state_dict()
    assert len({each.data_ptr() for each in state.values() if each.numel()}) == sum(
        each.numel() > 0 for each in state.values()
    )
    x = image(64, 96)
    counts = [
        sum(flops.module_counts(each, x).values()) for each in (model, with_ops(model, "eager"))
    ]
    assert counts[0] == counts[1] > 0
