"""Any shape, any strides, any values: no crash, and the reference's results."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scrn_ops
from scrn_ops import reference

from ..common.maps import DTYPES, F32, F64, generator

SETTINGS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    # The fixture only chooses the kernels.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SPECIAL = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    7.0,
    -40.0,
    1e9,
    -1e30,
    float("inf"),
    -float("inf"),
    float("nan"),
)


def strided(values, order, step, offset):
    """The same values in a storage of another order of dimensions, with gaps."""
    shape = [values.shape[d] for d in order]
    padded = torch.full([s * step + offset for s in shape], 7.0, dtype=values.dtype)
    view = padded[tuple(slice(offset, offset + s * step, step) for s in shape)]
    view = view.permute([order.index(d) for d in range(4)])
    return view.copy_(values)


@st.composite
def strides(draw):
    return (
        draw(st.permutations(range(4))),
        draw(st.sampled_from([1, 1, 2])),
        draw(st.integers(0, 2)),
    )


@st.composite
def shapes(draw):
    batch, channels = draw(st.integers(0, 3)), draw(st.integers(1, 20))
    height, width = draw(st.integers(1, 21)), draw(st.integers(1, 21))
    return batch, channels, draw(st.integers(1, height)), draw(st.integers(1, width)), height, width


@st.composite
def problems(draw):
    """Shapes, options, and the four maps in random strides."""
    batch, channels, h, w, height, width = draw(shapes())
    dtype = draw(st.sampled_from(DTYPES))
    numbers = generator(draw(st.integers(0, 10**6)))
    spread = draw(st.sampled_from([0.1, 1.0, 5.0, 100.0]))
    maps = []
    for c, size, scale, type in (
        (channels, (h, w), 1.0, dtype),
        (2, (height, width), spread, draw(st.sampled_from([F32, dtype]))),
        (9, (height, width), 1.0, draw(st.sampled_from([F32, dtype]))),
        (channels, (height, width), 1.0, dtype),
    ):
        values = torch.randn(batch, c, *size, generator=numbers) * scale
        maps.append(strided(values.to(type), *draw(strides())))
    options = {"mask_is_logits": draw(st.booleans()), "align_corners": draw(st.booleans())}
    return maps, options, draw(st.booleans()), numbers


def differentiate(op, maps, grad):
    leaves = [m.detach().requires_grad_() for m in maps]
    output = op(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, grad.to(output))]


@SETTINGS
@given(problem=problems())
def test_semantic_refine(kernels, problem):
    maps, options, with_skip, numbers = problem
    maps = [m.to(kernels) for m in maps[: 4 if with_skip else 3]]
    batch, _, height, width = maps[1].shape
    grad = torch.randn(batch, maps[0].shape[1], height, width, generator=numbers)
    grad = grad.to(maps[0].dtype)
    doubles = [m.cpu().double() for m in maps]
    aggregated = reference.aggregate_offsets(
        *doubles[1:3], mask_is_logits=options["mask_is_logits"]
    )
    # A point on the border of a cell may fall to either side: no gradient comes from there.
    near = ((aggregated - aggregated.round()).abs() < 1e-4).any(1, keepdim=True)
    grad = torch.where(near, 0, grad)
    actual = differentiate(lambda *m: scrn_ops.semantic_refine(*m, **options), maps, grad)
    expected = differentiate(lambda *m: reference.semantic_refine(*m, **options), doubles, grad)
    for name, got, want in zip(
        ("output", "low", "offset", "mask", "skip")[: len(actual)], actual, expected, strict=True
    ):
        assert_close_or_cancelled(name, got, want, doubles)


@SETTINGS
@given(problem=problems())
def test_offset_sample(kernels, problem):
    """To a larger map and, with the roles exchanged, to a smaller one."""
    (low, offset, _, _), options, shrink, numbers = problem
    options = {"align_corners": options["align_corners"]}
    if shrink:
        small = offset[:, :, : low.shape[2], : low.shape[3]]
        low = torch.randn(*low.shape[:2], *offset.shape[2:], generator=numbers).to(low.dtype)
        offset = small
    low, offset = low.to(kernels), offset.to(kernels)
    doubles = [low.cpu().double(), offset.cpu().double()]
    actual = scrn_ops.offset_sample(low, offset, **options)
    expected = reference.offset_sample(*doubles, **options)
    assert_close_or_cancelled("output", actual, expected, doubles)


def without_special(maps, options):
    """The output's elements that no special value bears on, all as they should be without any,
    and the maps without any."""
    doubles = [m.double() for m in maps]
    special = [~(m.abs() < 1e3).all(1, keepdim=True) for m in doubles]
    doubles = [torch.where(s, 0, m) for s, m in zip(special, doubles, strict=True)]
    low, offset, mask, skip = doubles
    expected = reference.semantic_refine(low, offset, mask, skip, **options)

    def widened(pixels):
        return torch.nn.functional.max_pool2d(pixels.double(), 3, 1, 1)

    # Neighbours, too: rounding may carry a sampling point into the next cell.
    reached = reference.semantic_refine(widened(special[0]), offset, mask, **options) != 0
    touched = reached | (widened(special[1]) != 0) | special[2] | special[3]
    return ~touched.expand_as(expected), expected, doubles


def assert_close_or_cancelled(name, actual, expected, doubles):
    """As documented; where offsets of 100 pixels cancel, up to what their rounding leaves."""
    assert actual.isfinite().all()
    if not actual.numel():
        return
    if actual.dtype in (F64, F32):
        unit = 1e-12 if actual.dtype == F64 else 2e-5
        scale = max(1.0, *(float(m.abs().max()) for m in doubles if m.numel()))
        largest = max(1.0, float(expected.abs().max()))
        error = (actual.cpu().double() - expected).abs().max()
        assert error <= unit * scale * largest, f"{name}: {error:.3g}"
    else:
        assert_close_half(name, actual, expected)


def assert_close_half(name, actual, expected):
    step = 2.0**-10 if actual.dtype == torch.float16 else 2.0**-7
    error = (actual.cpu().double() - expected).abs()
    bound = step * expected.abs().clamp(min=float(expected.abs().max()) * 0.05) + 1e-3
    assert (error <= bound).all(), f"{name}: {error.max():.3g}"


@SETTINGS
@given(problem=problems(), data=st.data())
def test_any_values(kernels, problem, data):
    """Also NaN, infinities and huge numbers anywhere: points that are not finite are outside, and
    pixels that none of these bears on are right."""
    maps, options, _, numbers = problem
    for m in maps:
        if not m.numel():
            continue
        for _ in range(data.draw(st.integers(0, 5))):
            index = tuple(data.draw(st.integers(0, s - 1)) for s in m.shape)
            m[index] = data.draw(st.sampled_from(SPECIAL))
    low, offset, mask, skip = (m.to(kernels) for m in maps)
    output, aggregated = torch.ops.scrn_ops.semantic_refine(
        low, offset, mask, skip, *options.values()
    )
    outside = ~aggregated.isfinite().all(1, keepdim=True)
    outside = outside.expand_as(output)
    torch.testing.assert_close(output[outside], skip[outside], rtol=0, atol=0, equal_nan=True)
    grads = torch.ops.scrn_ops.semantic_refine_backward(
        torch.randn(output.shape, generator=numbers).to(output),
        *(low, offset, mask, aggregated, *options.values()),
        *(True, True, True, False),
    )
    assert [g.shape for g in grads] == [low.shape, offset.shape, mask.shape]
    clean, expected, doubles = without_special(maps, options)
    assert_close_or_cancelled("output", output.cpu()[clean], expected[clean], doubles)
    sampled = scrn_ops.offset_sample(skip, offset, align_corners=options["align_corners"])
    outside = ~offset.isfinite().all(1, keepdim=True).expand_as(sampled)
    assert not sampled[outside].any()
