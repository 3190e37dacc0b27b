"""Bad input gets the documented error, naming the argument, what was expected and what came."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import scrn_ops
from scrn_ops._core import load

ops = torch.ops.scrn_ops
Z = torch.zeros


def msca(**changes):
    strips = (7, 11, 21)
    arguments = {
        "input": Z(2, 4, 6, 5),
        "local": Z(4, 1, 5, 5),
        "local_bias": Z(4),
        "rows": [Z(4, 1, 1, n) for n in strips],
        "row_biases": [Z(4)] * 3,
        "columns": [Z(4, 1, n, 1) for n in strips],
        "column_biases": [Z(4)] * 3,
    }
    return scrn_ops.multi_scale_depthwise(**{**arguments, **changes})


def lka(**changes):
    arguments = {
        "input": Z(2, 4, 6, 5),
        "local": Z(4, 1, 5, 5),
        "local_bias": Z(4),
        "dilated": Z(4, 1, 7, 7),
        "dilated_bias": Z(4),
    }
    return scrn_ops.large_kernel_depthwise(**{**arguments, **changes})


def gelu(**changes):
    arguments = {"input": Z(2, 4, 6, 5), "weight": Z(4, 1, 3, 3), "bias": Z(4)}
    return scrn_ops.depthwise_gelu(**{**arguments, **changes})


def strips(*lengths, columns=False, channels=4):
    return [Z(channels, 1, n, 1) if columns else Z(channels, 1, 1, n) for n in lengths]


# Function, the arguments replaced, the error, and what its message says.
CASES = [
    (msca, {"input": Z(4, 6, 5)}, ValueError, r"input: .* 4 dim.*got 3: \[4, 6, 5\]"),
    (lka, {"input": Z(2, 4, 0, 5)}, ValueError, "input: .*at least 1"),
    (gelu, {"input": Z(2, 4, 6, 5).int()}, TypeError, "input: expected dtype .*int32"),
    (gelu, {"input": "x"}, TypeError, "input: expected a Tensor, got str"),
    (msca, {"local": Z(4, 1, 3, 3)}, ValueError, r"local: expected \[4, 1, 5, 5\], got \[4, 1, 3"),
    (lka, {"local": Z(5, 1, 5, 5)}, ValueError, r"local: expected \[4, 1, 5, 5\], got \[5"),
    (lka, {"local": Z(4, 2, 5, 5)}, ValueError, r"local: expected \[4, 1, 5, 5\]"),
    (lka, {"dilated": Z(4, 1, 5, 5)}, ValueError, r"dilated: expected \[4, 1, 7, 7\]"),
    (gelu, {"weight": Z(4, 1, 9, 9)}, ValueError, r"weight: .* 3, 5 or 7, got \[4, 1, 9, 9\]"),
    (gelu, {"weight": Z(4, 1, 3, 5)}, ValueError, r"weight: expected \[4, 1, 5, 5\], got"),
    (gelu, {"weight": Z(4, 9)}, ValueError, r"weight: expected \[4, 1, k, k\] .*, got \[4, 9\]"),
    (gelu, {"bias": Z(5)}, ValueError, r"bias: expected \[4\], got \[5\]"),
    (lka, {"local_bias": Z(4, 1)}, ValueError, r"local_bias: expected \[4\], got \[4, 1\]"),
    (lka, {"dilated_bias": Z(3)}, ValueError, r"dilated_bias: expected \[4\]"),
    (msca, {"local_bias": Z(2)}, ValueError, r"local_bias: expected \[4\]"),
    (msca, {"rows": Z(3, 4, 1, 1, 7)}, TypeError, "rows: expected a sequence of 3"),
    (msca, {"rows": strips(7, 11)}, ValueError, "rows: expected 3 tensors, got 2"),
    (msca, {"columns": []}, ValueError, "columns: expected 3 tensors, got 0"),
    (msca, {"row_biases": [Z(4)] * 4}, ValueError, "row_biases: expected 3 tensors, got 4"),
    (msca, {"column_biases": 3}, TypeError, "column_biases: expected a sequence"),
    (msca, {"rows": strips(7, 10, 21)}, ValueError, r"rows\[1\]: .*odd length.*got 10"),
    (msca, {"rows": strips(7, 11, 33)}, ValueError, r"rows\[2\]: .*3 to 31, got 33"),
    (msca, {"rows": strips(1, 11, 21)}, ValueError, r"rows\[0\]: .*3 to 31, got 1"),
    (msca, {"rows": strips(9, 11, 21)}, ValueError, r"columns\[0\]: expected \[4, 1, 9, 1\]"),
    (msca, {"rows": strips(7, 11, 21, columns=True)}, ValueError, r"rows\[0\]: .*got 1"),
    (msca, {"rows": [Z(7)] * 3}, ValueError, r"rows\[0\]: expected \[C, 1, 1, n\], got \[7\]"),
    (msca, {"row_biases": [None, Z(4), Z(3)]}, ValueError, r"row_biases\[2\]: expected \[4\]"),
    (msca, {"column_biases": [Z(3), None, None]}, ValueError, r"column_biases\[0\]: expected"),
    (msca, {"local": Z(4, 1, 5, 5).half()}, TypeError, "local: expected dtype float32 or input's"),
    (lka, {"dilated": Z(4, 1, 7, 7).double()}, TypeError, "dilated: expected dtype float32"),
    (gelu, {"bias": Z(4).bfloat16()}, TypeError, "bias: expected dtype float32"),
    (gelu, {"weight": Z(4, 1, 3, 3, device="meta")}, ValueError, "weight: expected input's device"),
    (lka, {"dilation": 0}, ValueError, "dilation: expected 1 to 8, got 0"),
    (lka, {"dilation": 9}, ValueError, "dilation: expected 1 to 8, got 9"),
    (lka, {"dilation": 2.0}, TypeError, "dilation: expected an int, got float"),
    (lka, {"dilation": True}, TypeError, "dilation: expected an int, got bool"),
    (gelu, {"out": Z(2, 4, 6, 4)}, ValueError, r"out: expected \[2, 4, 6, 5\]"),
    (gelu, {"out": Z(2, 4, 6, 5).half()}, TypeError, "out: expected dtype torch.float32"),
    (gelu, {"out": 3}, TypeError, "out: expected a Tensor"),
    (gelu, {"backend": "cudnn"}, ValueError, "backend: expected None, 'fused'"),
    (gelu, {"input": Z(2, 4, 6, 5).to_sparse()}, NotImplementedError, "input: expected a dense"),
]


@pytest.mark.parametrize("backend", [None, "eager", "reference"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_bad_arguments(case, backend):
    function, changes, error, message = CASES[case]
    with pytest.raises(error, match=message):
        function(**{"backend": backend, **changes})


def test_out_is_for_results_without_gradients():
    weight = Z(4, 1, 3, 3, requires_grad=True)
    with pytest.raises(ValueError, match=r"out: .*torch\.no_grad"):
        gelu(weight=weight, out=Z(2, 4, 6, 5))
    with torch.no_grad():
        gelu(weight=weight, out=Z(2, 4, 6, 5))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_operators_check_for_themselves(device):
    """They are reachable without the functions, and traced by their fakes."""
    x = Z(2, 4, 6, 5, device=device)
    calls = [
        (lambda: ops.multi_scale_depthwise(x, Z(4, 109, device=device), 7, 11, 21), "weights"),
        (lambda: ops.multi_scale_depthwise(x, Z(4, 110, device=device), 7, 12, 21), "n1"),
        (lambda: ops.multi_scale_depthwise(x, Z(4, 110, device=device), 7, 11, 33), "n2"),
        (lambda: ops.large_kernel_depthwise(x, Z(5, 76, device=device), 3), "weights"),
        (lambda: ops.large_kernel_depthwise(x, Z(4, 76, device=device), 0), "dilation"),
        (lambda: ops.depthwise_gelu(x, Z(4, 10, device=device), 4), "size"),
        (lambda: ops.depthwise_gelu(x[0], Z(4, 10, device=device), 3), "input"),
        (lambda: ops.depthwise_gelu(x, Z(4, 10, device=device).half(), 3), "weights"),
        (
            lambda: ops.depthwise_gelu_backward(
                x[:, :, 1:], x, Z(4, 10, device=device), 3, True, True
            ),
            "grad",
        ),
        (
            lambda: ops.large_kernel_depthwise_backward(
                x.half(), x, Z(4, 76, device=device), 3, True, True
            ),
            "grad",
        ),
        (lambda: ops.depthwise_gelu_out(x, Z(4, 10, device=device), 3, x[:1]), "out"),
    ]
    for call, argument in calls:
        with pytest.raises((RuntimeError, ValueError, TypeError), match=f"{argument}: expected"):
            call()


@pytest.mark.parametrize("function", [msca, lka, gelu])
def test_without_the_cuda_library_a_gpu_has_no_kernels(function, monkeypatch):
    """An error, and not torch's convolutions in their place."""
    monkeypatch.setattr(load, "cuda_absence", lambda: "that is why")
    match = "no fused kernels for device 'cuda' .that is why.*eager"
    with FakeTensorMode(), torch.device("cuda"), pytest.raises(NotImplementedError, match=match):
        function()


@pytest.mark.parametrize("function", [msca, lka, gelu])
def test_the_chain_runs_on_a_gpu(function):
    with FakeTensorMode(), torch.device("cuda"):
        assert function(backend="eager").device.type == "cuda"


def test_out_tells_a_graph_that_has_saved_it():
    weight, bias = torch.randn(3, 1, 3, 3), torch.randn(3)
    hidden = torch.randn(1, 3, 5, 6, requires_grad=True) * 1
    squares = hidden.square()
    with torch.no_grad():
        scrn_ops.depthwise_gelu(hidden, weight, bias, out=hidden)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        squares.sum().backward()


def test_out_is_refused_where_it_would_lose_a_tangent():
    weight, bias = torch.randn(3, 1, 3, 3), torch.randn(3)
    x = torch.randn(1, 3, 5, 6)

    def overwrite(x):
        return scrn_ops.depthwise_gelu(x * 1, weight, bias, out=torch.empty_like(x))

    with pytest.raises(NotImplementedError, match=r"out: expected None inside torch\.func"):
        torch.func.jvp(overwrite, (x,), (x,))
    with pytest.raises(NotImplementedError, match=r"out: expected None inside torch\.func"):
        torch.func.vmap(overwrite)(x[None])
    with (
        torch.autograd.forward_ad.dual_level(),
        pytest.raises(NotImplementedError, match="forward-mode"),
    ):
        overwrite(torch.autograd.forward_ad.make_dual(x, x))


def test_a_module_s_list_of_parameters_is_a_sequence():
    x = torch.randn(1, 2, 5, 6)
    rows = torch.nn.ParameterList([torch.randn(2, 1, 1, n) for n in (3, 5, 7)])
    columns = torch.nn.ParameterList([torch.randn(2, 1, n, 1) for n in (3, 5, 7)])
    none = [None] * 3
    local = torch.randn(2, 1, 5, 5)
    got = scrn_ops.multi_scale_depthwise(x, local, None, rows, none, columns, none)
    want = scrn_ops.multi_scale_depthwise(x, local, None, [*rows], none, [*columns], none)
    assert torch.equal(got, want)
