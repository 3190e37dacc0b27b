"""The network on a CUDA device."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch

from scrn.models import with_ops

from .helpers import build, image, relative, type_of_logits
from .networks import COVERING, Network
from .test_ops_agree import NETWORKS, assert_ops_agree, between_pixels

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

DEVICE = "cuda"
SAME = 5e-5
PAPERS = [n for n in COVERING if n.is_tiny and n.upsampler == "srm"]
RUNS = 20


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    """Convolutions without TF32, whose rounding is larger than what is looked for here, and by
    the same algorithm every time."""
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        matmul = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        yield
        torch.backends.cuda.matmul.allow_tf32 = matmul


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_fused_ops_are_their_definition(network: Network, training: bool) -> None:
    assert_ops_agree(network, training, DEVICE)


@pytest.mark.parametrize("network", COVERING, ids=str)
@torch.no_grad()
def test_the_device_is_the_cpu(network: Network) -> None:
    """Also in channels_last, and rewritten for inference."""
    model = between_pixels(build(*network)).eval()
    x = image(97, 131)
    expected = model(x)
    for variant in (model, model.fuse()):
        there = copy.deepcopy(variant).to(DEVICE)
        assert relative(there(x.to(DEVICE)).cpu(), expected) < SAME
        there.to(memory_format=torch.channels_last)
        laid = x.to(DEVICE).contiguous(memory_format=torch.channels_last)
        assert relative(there(laid).cpu(), expected) < SAME


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("network", PAPERS, ids=str)
@torch.no_grad()
def test_autocast_costs_no_more_than_in_plain_pytorch(network: Network, dtype: torch.dtype) -> None:
    model = between_pixels(build(*network)).eval().to(DEVICE)
    x = image(97, 131).to(DEVICE)
    expected = model(x)
    errors = []
    for ops in ("fused", "reference"):
        with torch.autocast(DEVICE, dtype=dtype):
            logits = with_ops(model, ops)(x)
        assert logits.dtype == type_of_logits(DEVICE, dtype)
        errors.append(relative(logits, expected))
    assert errors[0] < 1.1 * errors[1] + 1e-3


@pytest.mark.parametrize("network", PAPERS, ids=str)
@torch.no_grad()
def test_graphs(captured, network: Network) -> None:
    model = build(*network).eval().fuse().to(DEVICE)
    x = image(64, 96).to(DEVICE)
    graph, (logits,) = captured(lambda: [model(x)])
    for seed in (3, 4):
        x.copy_(image(64, 96, seed=seed))
        logits.fill_(torch.nan)
        graph.replay()
        assert relative(logits, model(x)) < SAME


@pytest.mark.parametrize("network", PAPERS, ids=str)
@torch.no_grad()
def test_the_same_bits_every_time(network: Network) -> None:
    model = build(*network).eval().to(DEVICE)
    x = image(97, 131).to(DEVICE)
    expected = model(x)
    for _ in range(RUNS - 1):
        assert torch.equal(model(x), expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no second CUDA device")
@torch.no_grad()
def test_a_second_device() -> None:
    model = build().eval()
    x = image(97, 131)
    expected = model.to("cuda:0")(x.to("cuda:0")).cpu()
    assert relative(model.to("cuda:1")(x.to("cuda:1")).cpu(), expected) < SAME
    assert torch.cuda.current_device() == 0
