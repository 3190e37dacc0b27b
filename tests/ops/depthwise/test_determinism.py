"""The same bits for any number of threads and in either layout; results in place."""

from __future__ import annotations

import pytest
import torch

import scrn_ops

from ..common.maps import BF16, DENSE_LAYOUTS, F32, leaf
from .cases import GELU, UNITS, results


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_calls_and_threads(kernels, unit, dtype, layout):
    tensors = unit.inputs((1, 33, 20, 270), dtype, kernels, layout=layout)
    before = torch.get_num_threads()
    want, _ = results(unit, tensors)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            got, _ = results(unit, tensors)
            assert all(map(torch.equal, got, want))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_layouts_give_the_same_bits(kernels, unit):
    for shape in ((2, 19, 9, 37), (1, 64, 10, 70), (1, 18, 12, 270)):
        maps = (unit.inputs(shape, F32, kernels, layout=layout) for layout in DENSE_LAYOUTS)
        assert all(map(torch.equal, *(results(unit, each)[0] for each in maps)))


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 20, 9, 11), (1, 16, 5, 1030), (3, 3, 1, 1)], ids=str)
def test_gelu_over_its_input(kernels, shape, layout):
    with torch.no_grad():
        tensors = GELU.inputs(shape, F32, kernels, layout=layout)
        want = GELU(*tensors)
        apart = torch.empty_like(tensors[0])
        assert scrn_ops.depthwise_gelu(*tensors, out=apart) is apart
        assert torch.equal(apart, want)
        other = leaf(tensors[0], F32, kernels, "sliced").detach()
        assert torch.equal(scrn_ops.depthwise_gelu(*tensors, out=other), want)
        sliced = leaf(tensors[0], F32, kernels, "sliced_nhwc").detach()
        assert torch.equal(scrn_ops.depthwise_gelu(sliced, *tensors[1:], out=sliced), want)
        overlapping = torch.cat([tensors[0], tensors[0][:1]])
        overlapping[:-1] = tensors[0]
        scrn_ops.depthwise_gelu(overlapping[:-1], *tensors[1:], out=overlapping[1:])
        assert torch.equal(overlapping[1:], want)
        scrn_ops.depthwise_gelu(*tensors, out=tensors[0])
        assert torch.equal(tensors[0], want)


@pytest.mark.parametrize("backend", ["eager", "reference"])
def test_out_of_the_other_backends(backend):
    with torch.no_grad():
        tensors = GELU.inputs((1, 3, 4, 5), F32)
        want = GELU(*tensors, backend=backend)
        got = scrn_ops.depthwise_gelu(*tensors, out=tensors[0], backend=backend)
        assert got is tensors[0]
        assert torch.equal(got, want)
