"""Convolutions by packed weights, and when they are not taken."""

from __future__ import annotations

import copy
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scrn import flops
from scrn.models.packed_conv import (
    PackedConv2d,
    pack_convolutions,
)

from .helpers import build, image, relative

LAST = torch.channels_last
GEOMETRIES: list[dict[str, Any]] = [
    {"kernel_size": 1},
    {"kernel_size": 1, "bias": False},
    {"kernel_size": 1, "groups": 2, "channels": 6, "out": 4},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": (3, 5), "padding": (2, 4), "dilation": 2},
    {"kernel_size": 3, "padding": 1, "stride": 2, "groups": 6, "channels": 6, "out": 6},
    {"kernel_size": 5, "padding": 2, "groups": 2, "channels": 6, "out": 4},
]
SIZES = [(9, 11), (1, 1), (1, 6)]
ACTIVATIONS = ["relu", "relu6", "silu", "hardswish", "gelu"]


def packed(channels: int = 5, out: int = 7, **geometry: Any) -> PackedConv2d:
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, out, **(geometry or {"kernel_size": 1}))
    return PackedConv2d.of(conv).requires_grad_(False)


def maps(channels: int, height: int, width: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, height, width, generator=generator).to(memory_format=LAST)


def definition(conv: nn.Conv2d, x: Tensor) -> Tensor:
    weight, bias = conv.weight.double(), None if conv.bias is None else conv.bias.double()
    padding: Any = conv.padding
    return F.conv2d(x.double(), weight, bias, conv.stride, padding, conv.dilation, conv.groups)


def is_used(conv: PackedConv2d) -> bool:
    return conv._packed is not None


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_what_follows_is_in_the_same_pass(geometry: dict[str, Any], size: tuple[int, int]) -> None:
    conv = packed(**geometry)
    x = 4 * maps(conv.in_channels, *size)  # so that some results are beyond 6
    expected = definition(conv, x)
    other = maps(*expected.shape[1:])
    assert relative(conv(x), expected) < 1e-6
    assert relative(conv(x, times=other), expected * other.double()) < 1e-6
    total = other.clone(memory_format=torch.preserve_format)
    assert conv(x, onto=total).data_ptr() == total.data_ptr()
    assert relative(total, expected + other.double()) < 1e-6
    for name in ACTIVATIONS:
        conv.activation = name
        result = conv(x)
        assert relative(result, getattr(F, name)(expected)) < 1e-6
        assert result.is_contiguous(memory_format=LAST)
    assert is_used(conv) == (size != (1, 1))  # whose strides say no layout


def test_a_part_of_the_rows() -> None:
    conv, x = packed(), maps(5, 9, 11, batch=1)
    total = maps(7, 9, 11, batch=1)
    expected = total.double()
    expected[:, :, 2:5] += definition(conv, x[:, :, 3:6])
    conv(x[:, :, 3:6], onto=total[:, :, 2:5])
    assert relative(total, expected) < 1e-6
    assert is_used(conv)


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
@pytest.mark.parametrize(
    "given",
    [
        lambda x: x.contiguous(),
        lambda x: x.double(),
        lambda x: x.clone().requires_grad_(),
        lambda x: x[:0],
        lambda x: x[:, :, ::2],
    ],
    ids=["NCHW", "double", "gradient", "empty", "strided"],
)
def test_everything_else_takes_the_weight_itself(
    given: Callable[[Tensor], Tensor], activation: str | None
) -> None:
    conv, x = packed(kernel_size=3, padding=1), given(maps(5, 9, 11))
    conv = conv.to(x.dtype)
    conv.activation = activation
    result = conv(x)
    expected = definition(conv, x)
    expected = getattr(F, activation)(expected) if activation else expected
    assert result.shape == expected.shape
    assert not result.numel() or relative(result.detach(), expected.detach()) < 1e-6
    assert result.requires_grad == x.requires_grad
    assert not is_used(conv)


def test_autocast_transforms_and_tracing_take_the_weight_itself() -> None:
    conv, x = packed(), maps(5, 9, 11)
    expected = definition(conv, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = conv(x)
    assert half.dtype == torch.bfloat16
    assert relative(half, expected) < 1e-2
    mapped = torch.func.vmap(lambda each: conv(each[None])[0])(x)
    assert relative(mapped, expected) < 1e-6
    exported = torch.export.export(conv, (x,)).module()
    assert relative(exported(x), expected) < 1e-6
    with torch.backends.mkldnn.flags(enabled=False):
        assert relative(conv(x), expected) < 1e-6
    assert not is_used(conv)
    with torch.inference_mode():
        made_there = PackedConv2d.of(nn.Conv2d(5, 7, 1))
        made_there(x)
    assert not is_used(made_there)


def test_it_works_in_inference_mode() -> None:
    conv, x = packed(), maps(5, 9, 11)
    with torch.inference_mode():
        assert relative(conv(x), definition(conv, x)) < 1e-6
    assert is_used(conv)


@pytest.mark.parametrize(
    "change",
    [
        lambda conv: conv.weight.mul_(2),
        lambda conv: setattr(conv, "weight", nn.Parameter(conv.weight * 3, False)),
        lambda conv: setattr(conv.weight, "data", conv.weight.data * 3),
        lambda conv: conv.load_state_dict({k: v + 1 for k, v in conv.state_dict().items()}),
        lambda conv: conv.bias.add_(1),
    ],
    ids=["in place", "replaced", "data", "loaded", "bias"],
)
def test_a_changed_weight_is_packed_again(change: Callable[[nn.Module], object]) -> None:
    conv, x = packed(), maps(5, 9, 11)
    before = conv(x)
    change(conv)
    assert relative(conv(x), before.double()) > 0.1
    assert relative(conv(x), definition(conv, x)) < 1e-6


def test_a_cast_or_a_move_lets_go_of_the_packed_weight() -> None:
    """Or a weight cast there and back, rounded, might lie where the first one did."""
    conv, x = packed(), maps(5, 9, 11)
    conv(x)
    conv.half()
    assert not is_used(conv)
    conv.float()
    assert relative(conv(x), definition(conv, x)) < 1e-6


def sizes_of(conv: PackedConv2d) -> list[torch.Size | None]:
    return [] if conv._packed is None else [size for size, _ in conv._packed[2]]


def test_a_product_is_packed_once() -> None:
    conv = packed()
    for size in SIZES[0], (4, 6):
        assert relative(conv(x := maps(5, *size)), definition(conv, x)) < 1e-6
    assert sizes_of(conv) == [None]


def test_others_are_packed_for_four_sizes_and_for_one_that_comes_again() -> None:
    conv = packed(kernel_size=3, padding=1)
    sizes = [torch.Size((2, 5, 4 + i, 6)) for i in range(6)]
    for size in (*sizes, *sizes):
        x = maps(5, *size[2:])
        assert relative(conv(x), definition(conv, x)) < 1e-6
        assert sizes_of(conv) == sizes[: min(4, size[2] - 3)] or sizes_of(conv) == sizes[:4]
    for _ in range(2):
        assert relative(conv(x), definition(conv, x)) < 1e-6
    assert sizes_of(conv) == [*sizes[1:4], sizes[5]]
    # One that only adds or multiplies is packed for a size as well.
    product, x = packed(), maps(5, 4, 6)
    product(x, times=maps(7, 4, 6))
    product(x)
    assert sizes_of(product) == [x.shape, None]


def test_other_types_beside_it_take_the_weight_itself() -> None:
    conv, x = packed(), maps(5, 4, 6)
    result = conv(x, times=maps(7, 4, 6).double().float().bfloat16())
    assert relative(result, definition(conv, x) * maps(7, 4, 6).bfloat16().double()) < 1e-6
    assert not is_used(conv)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_types(dtype: torch.dtype, geometry: dict[str, Any]) -> None:
    conv = packed(**geometry).to(dtype)
    x = 4 * maps(conv.in_channels, 9, 11).to(dtype)
    expected = definition(conv, x)
    other = maps(*expected.shape[1:]).to(dtype)
    bound = torch.finfo(dtype).eps
    assert relative(conv(x), expected) < bound
    assert relative(conv(x, times=other), expected * other.double()) < 1.5 * bound
    total = other.clone(memory_format=torch.preserve_format)
    assert relative(conv(x, onto=total), expected + other.double()) < 1.5 * bound
    for name in ACTIVATIONS:
        conv.activation = name
        result = conv(x)
        assert result.dtype == dtype
        assert relative(result, getattr(F, name)(expected)) < 1.5 * bound
    has_it = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    assert is_used(conv) == has_it[dtype]()


def test_copies_and_state_are_without_the_packed_weight() -> None:
    conv, x = packed(), maps(5, 9, 11)
    conv.activation = "relu"
    expected = conv(x)
    assert set(conv.state_dict()) == {"weight", "bias"}
    copied = copy.deepcopy(conv)
    assert not is_used(copied)
    file = io.BytesIO()
    torch.save(conv, file)
    file.seek(0)
    for other in (copied, torch.load(file, weights_only=False)):
        assert torch.equal(other(x), expected)
    copied.weight.zero_()
    assert torch.equal(conv(x), expected)
    assert "activation=relu" in repr(conv)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        type("Other", (nn.Conv2d,), {})(4, 4, 1),
    ],
    ids=["same", "reflect", "class"],
)
def test_what_is_left_as_it_is(conv: nn.Conv2d) -> None:
    with pytest.raises(ValueError, match="conv: expected a plain Conv2d"):
        PackedConv2d.of(conv)
    holder = nn.Sequential(conv, nn.ReLU())
    pack_convolutions(holder)
    assert holder[0] is conv
    assert isinstance(holder[1], nn.ReLU)


def test_an_activation_is_taken_in_only_where_it_follows() -> None:
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 3, 1), nn.ReLU()

    apart = Apart()
    pack_convolutions(apart)
    assert isinstance(apart.conv, PackedConv2d)
    assert apart.conv.activation is None
    assert isinstance(apart.act, nn.ReLU)
    layers = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.Identity(), nn.ReLU(), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.GELU("tanh")
    )
    pack_convolutions(layers)
    assert [layer.activation for layer in layers if isinstance(layer, PackedConv2d)] == [
        "relu",
        None,
    ]
    assert isinstance(layers[3], nn.ReLU)
    assert isinstance(layers[5], nn.GELU)


def test_an_activation_excludes_a_product_and_a_sum() -> None:
    conv, x = packed(5, 5), maps(5, 3, 3)
    conv.activation = "gelu"
    for name in ("times", "onto"):
        with pytest.raises(ValueError, match="activation: expected None beside"):
            conv(x, **{name: x})


class Calls(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket).rstrip("_")
        self.names[name] += 1
        count = flops.operations(func, args, kwargs or {}, output)
        assert count is not None, func
        self.operations[name] += count
        return output


@torch.no_grad()
def test_a_fused_network_takes_packed_weights_and_counts_the_same() -> None:
    fused = build("mscan_t").eval().fuse()
    x = image(64, 96, batch=1)
    rows = {}
    for name, layout in (("NCHW", torch.contiguous_format), ("packed", LAST)):
        fused.to(memory_format=layout)(x.to(memory_format=layout))  # packs
        with Calls() as calls:
            rows[name] = (fused(x.to(memory_format=layout)), calls)
    (plain, counted), (result, calls) = rows["NCHW"], rows["packed"]
    assert relative(result, plain) < 1e-5
    convolutions = {n: m for n, m in fused.named_modules() if isinstance(m, PackedConv2d)}
    unused = {name: conv for name, conv in convolutions.items() if not is_used(conv)}
    uncalled = [conv for m in fused.modules() if hasattr(m, "uncalled") for conv in m.uncalled(x)]
    # The masks' convolutions read half of the channels of a map.
    assert all(name.endswith(".mask") or conv in uncalled for name, conv in unused.items())
    products, others = (calls.names[f"mkldnn._{n}_pointwise"] for n in ("linear", "convolution"))
    assert products > 0
    tiles = calls.names["scrn_ops.conv3x3"]
    assert products + others + tiles == len(convolutions) - len(unused)
    assert not {"mkldnn._convolution_pointwise", "scrn_ops.conv3x3"} & set(counted.names)
    assert "aten.gelu" in counted.names
    assert calls.names["aten.gelu"] < counted.names["aten.gelu"]
    assert sum(calls.operations.values()) == sum(counted.operations.values())


class Twice(nn.Sequential):
    """A Sequential that is more than its layers in turn."""

    def forward(self, x: Tensor) -> Tensor:
        first = self[0](x)
        return self[1](first) + first


def test_activations_stay_where_the_map_before_them_is_seen() -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(5, 7, 1), maps(5, 9, 11)
    seen: list[Tensor] = []
    hooked = nn.Sequential(conv, nn.ReLU())
    hooked[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    for layers in (Twice(conv, nn.ReLU()), hooked, nn.Sequential(conv, nn.ReLU(), nn.GELU())):
        with torch.no_grad():
            expected = layers(x)
            pack_convolutions(layers)
            pack_convolutions(nn.Sequential(layers))  # what has two parents is visited twice
            assert relative(layers(x), expected) < 1e-6
    with torch.no_grad():
        assert relative(seen[-1], definition(conv, x)) < 1e-6


@pytest.mark.parametrize("leaf", ["bias", "times", "onto", "weight"])
def test_gradients_of_all_that_is_given(leaf: str) -> None:
    conv, x, other = packed(kernel_size=3, padding=1), maps(5, 9, 11), maps(7, 9, 11)
    by_name = {"bias": conv.bias, "weight": conv.weight, "times": other, "onto": other}
    given = by_name[leaf]
    assert given is not None
    given.requires_grad_()
    beside = {leaf: other} if given is other else {}
    (conv(x * 1, **{k: v * 1 for k, v in beside.items()})).sum().backward()
    assert given.grad is not None
    assert not is_used(conv)
