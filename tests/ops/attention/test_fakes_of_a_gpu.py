"""What the operators take on a GPU, and what they keep there: their fakes tell it without one."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import scrn_ops
from scrn_ops.attention.table import PATHS

from ..common.maps import BF16, DTYPES, F16, F32
from .cases import Shape

ops = torch.ops.scrn_ops
SHAPE = Shape(2, 7, 9, 16, 24)


@pytest.fixture(params=DTYPES, ids=str)
def tensors(request):
    with FakeTensorMode():
        yield [torch.empty(size, dtype=request.param, device="cuda") for size in SHAPE.sizes()]


def by_triton(tensors):
    return tensors[3].dtype in (F16, BF16)


@pytest.mark.parametrize("keep", [False, True])
def test_what_is_kept(tensors, keep):
    """Probabilities of the products' types, of Triton's the log-sum-exps and the pairwise term."""
    batch, n, m, _, channels = SHAPE
    dtype, triton = tensors[3].dtype, by_triton(tensors)
    output, log_sum_exp, shared, kept = ops.whitened_attention(*tensors, 1.0, keep)
    assert output.shape == (batch, n, channels)
    assert log_sum_exp.shape == ((batch, n) if triton else (0,))
    assert shared.shape == (batch, channels)
    assert kept.shape == ((batch, n, channels if triton else m) if keep else (0,))
    assert {output.dtype, kept.dtype} == {dtype}
    assert {log_sum_exp.dtype, shared.dtype} == {F32 if triton else dtype}


@pytest.mark.parametrize("module", [scrn_ops, ops], ids=["function", "operator"])
@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_for_half_types(tensors, path, module):
    call = module.whitened_attention
    if by_triton(tensors):
        call(*tensors, path=path)
        return
    message = rf"path: expected None .* {tensors[3].dtype}, got '{path}'; .* float16 and bfloat16"
    with pytest.raises(NotImplementedError, match=message):
        call(*tensors, path=path)


def test_a_backward_is_that_of_the_forward(tensors):
    """Only half types have log-sum-exps of Triton's, and only they have a backward of its."""
    output, own, *rest = ops.whitened_attention(*tensors)
    others = {False: own.new_empty(SHAPE[:2]), True: own.new_empty(0)}[by_triton(tensors)]

    def backward(log_sum_exp):
        arguments = torch.empty_like(output), *tensors, output, log_sum_exp, *rest, 1.0
        return ops.whitened_attention_backward(*arguments, True, True, True, True)

    assert [t.shape for t in backward(own)] == [t.shape for t in tensors]
    with pytest.raises(ValueError, match="log_sum_exp: expected"):
        backward(others)
