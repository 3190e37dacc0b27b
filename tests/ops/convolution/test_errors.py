"""Bad input gets the documented error, naming the argument, what was expected and what came."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as forward_ad

import scrn_ops

Z = torch.zeros
CASES = [
    ({"input": Z(4, 6, 5)}, ValueError, r"input: .* 4 dim.*got 3: \[4, 6, 5\]"),
    ({"input": Z(2, 4, 0, 5)}, ValueError, "input: .*at least 1"),
    ({"input": Z(2, 4, 6, 5).int()}, TypeError, "input: expected dtype .*int32"),
    ({"input": "x"}, TypeError, "input: expected a Tensor, got str"),
    ({"input": Z(2, 5, 6, 5)}, ValueError, r"weight: .*\[F, 5, 3, 3\] for .*5 channels, got \[7"),
    ({"input": Z(2, 4, 6, 5).half()}, NotImplementedError, "input: expected float32.*float16"),
    ({"weight": Z(7, 4, 3, 3).half()}, TypeError, "weight: expected input's dtype .*float32, got"),
    ({"weight": Z(7, 4, 5, 5)}, ValueError, r"weight: expected \[F, C, 3, 3\], got"),
    ({"weight": Z(7, 36)}, ValueError, r"weight: expected \[F, C, 3, 3\], got \[7, 36\]"),
    ({"weight": None}, TypeError, "weight: expected a Tensor, got NoneType"),
    ({"bias": Z(6)}, ValueError, r"bias: expected \[7\], got \[6\]"),
    ({"bias": Z(7).double()}, TypeError, "bias: expected input's dtype .*float32, got .*float64"),
    (
        {"packed": Z(36, 1, 4, 8)},
        ValueError,
        r"packed: expected \[36, 1, 4, 16\].*pack_conv3x3.*got",
    ),
    ({"packed": Z(36, 1, 4, 16).double()}, TypeError, "packed: expected weight's dtype"),
    ({"packed": 1}, TypeError, "packed: expected a Tensor, got int"),
    ({"minimum": "0"}, TypeError, "minimum: expected a number, got str"),
    ({"maximum": torch.nan}, ValueError, "maximum: expected a number of .*float32, got nan"),
    ({"minimum": 1e300}, ValueError, "minimum: expected a number of .*float32, got 1e"),
    ({"maximum": 2**2000}, ValueError, "maximum: expected a number of .*float32, got 1"),
    ({"minimum": Z(1)}, TypeError, "minimum: expected a number, got Tensor$"),
    ({"backend": "fast"}, ValueError, "backend: expected None, 'fused'.*got 'fast'"),
]


def call(**changes):
    arguments = {"input": Z(2, 4, 6, 5), "weight": Z(7, 4, 3, 3), "bias": Z(7)}
    return scrn_ops.conv3x3(**{**arguments, **changes})


@pytest.mark.parametrize(("changes", "error", "message"), CASES, ids=str)
def test_bad_arguments(changes, error, message):
    with pytest.raises(error, match=message):
        call(**changes)


def test_bad_weights_to_pack():
    for weight, error in (
        (Z(7, 4, 5, 5), ValueError),
        (Z(7, 4, 3, 3).int(), TypeError),
        (Z(7, 4, 3, 3).half(), NotImplementedError),
    ):
        with pytest.raises(error, match=r"^weight: expected"):
            scrn_ops.pack_conv3x3(weight)


def test_what_there_is_no_kernel_for():
    doubles = {"input": Z(2, 4, 6, 5), "weight": Z(7, 4, 3, 3), "bias": Z(7)}
    with pytest.raises(NotImplementedError, match=r"input: expected float32.*float64"):
        scrn_ops.conv3x3(**{name: t.double() for name, t in doubles.items()})
    with pytest.raises(NotImplementedError, match=r"layout torch\.sparse_coo"):
        call(input=Z(2, 4, 6, 5).to_sparse())
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(Z(2, 4, 6, 5), Z(2, 4, 6, 5))
        with pytest.raises(NotImplementedError, match="conv3x3: forward-mode"):
            call(input=dual)
    with pytest.raises(NotImplementedError, match=r"weight, bias, packed: .*vmap"):
        torch.vmap(lambda w: call(weight=w))(Z(3, 7, 4, 3, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": Z(4, 6, 5)}, "input: expected 4 dimensions"),
        ({"input": Z(2, 4, 6, 5).double()}, "input: expected dtype float32"),
        ({"input": Z(2, 5, 6, 5)}, r"weight: expected \[F, 5, 3, 3\]"),
        ({"weight": Z(7, 4, 5, 5)}, r"weight: expected \[F, 4, 3, 3\]"),
        ({"weight": Z(17, 4, 3, 3)}, r"packed: expected \[36, 2, 4, 16\]"),
        ({"weight": Z(7, 4, 3, 3).half()}, "weight: expected dtype float32"),
        ({"bias": Z(6)}, r"bias: expected \[7\]"),
        ({"bias": Z(7).half()}, "bias: expected dtype float32"),
        ({"packed": Z(36, 1, 4, 8)}, r"packed: expected \[36, 1, 4, 16\]"),
        ({"packed": Z(36, 4, 16)}, r"packed: expected \[36, 1, 4, 16\]"),
        ({"packed": Z(36, 1, 4, 16).double()}, "packed: expected dtype float32"),
        ({"minimum": torch.nan}, "minimum: expected a number of float32, got nan"),
        ({"maximum": -1e39}, "maximum: expected a number of float32, got -1e"),
    ],
    ids=str,
)
def test_bad_arguments_of_the_operator(changes, message):
    good = {
        "input": Z(2, 4, 6, 5),
        "weight": Z(7, 4, 3, 3),
        "bias": Z(7),
        "packed": Z(36, 1, 4, 16),
    }
    operator = torch.ops.scrn_ops.conv3x3
    assert operator(**good).shape == (2, 7, 6, 5)
    with pytest.raises(RuntimeError, match=message):
        operator(**{**good, **changes})
