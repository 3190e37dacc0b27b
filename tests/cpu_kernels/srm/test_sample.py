"""Eq. 4, with Eq. 3 and the skip, and its gradients, against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cuda_on_cpu.harness.compare import assert_close
from tests.cuda_on_cpu.harness.device import DTYPES, Device
from tests.cuda_on_cpu.srm.cases import Sample, compute_type
from tests.cuda_on_cpu.srm.test_forward import name

LAYOUTS = [False, True]
FULL = Sample(mask="logits", skip=True)

# Channels: fewer than a register, tails of one, a slab and more; pixels: less than a chunk, a tile
# and more than one of 256 columns.
SHAPES = [
    (1, 1, 1),
    (3, 6, 5),
    (8, 9, 13),
    (17, 5, 67),
    (37, 9, 9),
    (64, 3, 8),
    (77, 2, 9),
    (2, 10, 300),
]
SHAPED = [
    FULL.but(
        channels_last=last,
        channels=channels,
        in_size=((h + 1) // 2, (w + 2) // 3),
        out_size=(h, w),
    )
    for last in LAYOUTS
    for channels, h, w in SHAPES
]
TYPES = [
    FULL.but(dtype=dtype, channels_last=last, channels=channels)
    for dtype in DTYPES
    for last in LAYOUTS
    for channels in (3, 21)
]
RATIOS = [
    ((4, 4), (8, 8)),
    ((3, 3), (5, 5)),
    ((6, 7), (6, 7)),
    ((1, 1), (4, 6)),
    ((2, 9), (2, 17)),
    ((8, 3), (15, 70)),
]
UPSAMPLED = [
    Sample(in_size=i, out_size=o, align_corners=align, dtype=dtype)
    for align in LAYOUTS
    for dtype in ("float32", "float64")
    for i, o in RATIOS
]
DIRECT = [
    Sample(in_size=i, out_size=o, align_corners=align, upsample=False, channels_last=last)
    for align in LAYOUTS
    for last in LAYOUTS
    for i, o in (((5, 11), (5, 11)), ((9, 8), (4, 5)), ((3, 4), (7, 70)), ((4, 6), (1, 1)))
]
# More than the forward's window holds: the pixels that are far from most are computed on their own.
BEYOND_THE_WINDOW = [
    Sample(
        dtype=dtype,
        channels=channels,
        batch=1,
        in_size=(40, 60),
        out_size=out_size,
        field="far",
        upsample=out_size != (40, 60),
    )
    for dtype, channels in (("float32", 3), ("float64", 18), ("float16", 17))
    for out_size in ((48, 64), (40, 60))
]
CASES = [*SHAPED, *TYPES, *UPSAMPLED, *DIRECT, *BEYOND_THE_WINDOW]


def check_forward(device: Device, case: Sample) -> None:
    output, aggregated = case.forward(device)
    expected, offset = case.expected_forward()
    assert_close(output.numpy(), expected, case.dtype, "output")
    if aggregated is not None:
        assert offset is not None
        assert_close(aggregated.numpy(), offset, compute_type(case.dtype), "aggregated")


def check_backward(device: Device, case: Sample) -> None:
    grad_input, grad_offset = case.backward(device)
    expected_input, expected_offset = case.expected_backward()
    assert grad_input is not None
    assert grad_offset is not None
    assert_close(grad_input.numpy(), expected_input, case.dtype, "grad_input")
    assert_close(grad_offset.numpy(), expected_offset, case.offset_dtype, "grad_offset")


@pytest.mark.parametrize("case", CASES, ids=name)
def test_forward(device: Device, case: Sample) -> None:
    check_forward(device, case)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_backward(device: Device, case: Sample) -> None:
    check_backward(device, case.but(mask="", skip=False))


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("field", ["zero", "smooth", "collapsed", "corner", "far"])
def test_fields(device: Device, field: str, last: bool) -> None:
    case = Sample(field=field, channels_last=last, channels=19, in_size=(10, 40), out_size=(17, 70))
    check_forward(device, case)
    check_backward(device, case)


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_points(device: Device, dtype: str, upsample: bool, last: bool) -> None:
    case = Sample(
        dtype=dtype,
        offset_dtype=dtype,
        field="special",
        upsample=upsample,
        channels_last=last,
        in_size=(6, 8),
        out_size=(12, 16) if upsample else (6, 8),
    )
    check_forward(device, case)
    check_backward(device, case)


@pytest.mark.parametrize("placement", ["start", "end"])
@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_guard_pages(device: Device, dtype: str, last: bool, placement: str) -> None:
    device.placement = placement
    case = FULL.but(dtype=dtype, channels_last=last, offset_dtype=dtype, mask_dtype=dtype)
    for channels, field in ((3, "random"), (20, "far"), (33, "corner")):
        check_forward(device, case.but(channels=channels, field=field, mask=""))
        check_backward(device, case.but(channels=channels, field=field, mask="", skip=False))
    check_forward(device, case)
    check_forward(device, case.but(dtype=dtype, in_size=(2, 17), out_size=(3, 65)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_pixels_do_not_read_beyond_the_map(device: Device, dtype: str) -> None:
    """The taps without weight of a point at the border lie behind the last element."""
    case = Sample(
        dtype=dtype,
        batch=1,
        channels=1,
        in_size=(40, 60),
        out_size=(80, 120),
        field="far",
    )
    values = case.inputs()
    y, x = np.mgrid[0:80, 0:120]
    # Every other pixel samples the lower right corner, the rest keeps the window elsewhere.
    chosen = (x + y) % 7 == 0
    values["offset"][0, 0][chosen] = (119.5 - x)[chosen]
    values["offset"][0, 1][chosen] = (79.5 - y)[chosen]
    output, _ = case.forward(device, values)
    expected = case.sampler(values["offset"]).forward(values["input"])
    assert_close(output.numpy(), expected, dtype)


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_not_finite_values_stay_where_they_are(device: Device, dtype: str, last: bool) -> None:
    """A tap without weight must not spread the NaN or the infinity that it would read."""
    case = Sample(dtype=dtype, channels_last=last, channels=9, field="smooth")
    values = case.inputs()
    values["input"][:, 2, 1, 3] = np.nan
    values["input"][:, 5, 0, 0] = np.inf
    output, _ = case.forward(device, values)
    clean = {**values, "input": np.nan_to_num(values["input"], posinf=0.0)}
    touched = {**values, "input": (~np.isfinite(values["input"])).astype(float)}
    sampler = case.sampler(values["offset"])
    reached = sampler.forward(touched["input"]) > 0
    assert (np.isfinite(output.numpy()) == ~reached).all()
    expected = np.where(reached, 0.0, sampler.forward(clean["input"]))
    assert_close(np.where(reached, 0.0, output.numpy()), expected, dtype)


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_unwanted_gradients(device: Device, dtype: str, last: bool) -> None:
    case = Sample(dtype=dtype, channels_last=last, channels=35)
    both = case.backward(device)
    alone = case.backward(device, want_offset=False)[0], case.backward(device, want_input=False)[1]
    for one, other in zip(both, alone, strict=True):
        assert one is not None
        assert other is not None
        assert (one.raw() == other.raw()).all()


@pytest.mark.parametrize("order", ["reverse", "random"])
@pytest.mark.parametrize("last", LAYOUTS)
def test_tasks_in_any_order(device: Device, last: bool, order: str) -> None:
    case = FULL.but(channels_last=last, channels=70, out_size=(19, 33), in_size=(10, 12))

    def results() -> list[np.ndarray]:
        tensors = (*case.forward(device), *case.backward(device))
        return [tensor.raw() for tensor in tensors if tensor is not None]

    expected = results()
    device.set_order(blocks=order, seed=5)
    for one, other in zip(expected, results(), strict=True):
        assert (one == other).all()


# Of 8 MiB and more: written past the caches, but for rows that end within a cache line.
STREAMED = [
    Sample(dtype, last, batch=1, channels=channels, in_size=(64, 64), out_size=size)
    for dtype, channels, size in (
        ("float32", 32, (256, 256)),
        ("float16", 32, (512, 256)),
        ("float32", 33, (256, 255)),
    )
    for last in LAYOUTS
]


@pytest.mark.parametrize("case", STREAMED, ids=name)
def test_what_is_written_past_the_caches(device: Device, case: Sample) -> None:
    """The same bits as of one image's half of the channels, which is smaller and is not."""
    values = case.inputs()
    output, _ = case.forward(device, values)
    half = case.but(channels=16)
    part, _ = half.forward(device, {**values, "input": values["input"][:, :16]})
    assert (output.raw()[:, :16] == part.raw()).all()


@pytest.mark.parametrize("last", LAYOUTS)
def test_empty(device: Device, last: bool) -> None:
    for changes in ({"batch": 0}, {"channels": 0}):
        case = Sample(channels_last=last, **changes)
        output, _ = case.forward(device)
        grad_input, grad_offset = case.backward(device)
        assert output.numpy().size == 0
        assert grad_input is not None
        assert grad_input.numpy().size == 0
        assert grad_offset is not None
        assert (grad_offset.numpy() == 0).all()
