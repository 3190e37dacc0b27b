"""Eq. 4, with Eq. 3 and the skip, on the executed kernels, against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from .cases import Sample, compute_type
from .compare import assert_close
from .device import DTYPES, Device

LAYOUTS = [False, True]
FULL = Sample(mask="logits", skip=True)

# Every instantiation; the sizes leave tails in both tile directions and in the channels.
GENERAL = [
    FULL.but(dtype=dtype, channels_last=last, index64=index64, channels=13)
    for dtype in DTYPES
    for last in LAYOUTS
    for index64 in (False, True)
]
# (channels, out_h, out_w): one and several slabs, 16-byte accesses or not, all tile shapes.
SHAPES = [
    (1, 1, 1),
    (1, 6, 5),
    (8, 17, 13),
    (16, 5, 33),
    (37, 18, 7),
    (64, 7, 37),
    (76, 3, 9),
    (152, 4, 8),
    (7, 4, 16),
]
SHAPED = [
    Sample(
        dtype=dtype,
        channels_last=last,
        channels=channels,
        in_size=((h + 1) // 2, (w + 2) // 3),
        out_size=(h, w),
        skip=True,
    )
    for dtype in ("float32", "float16")
    for last in LAYOUTS
    for channels, h, w in SHAPES
]
RATIOS = [
    ((4, 4), (8, 8)),
    ((23, 5), (45, 9)),
    ((3, 3), (5, 5)),
    ((6, 7), (6, 7)),
    ((1, 1), (4, 6)),
    ((2, 9), (2, 17)),
    ((8, 3), (15, 9)),
]
UPSAMPLED = [
    Sample(channels_last=last, in_size=i, out_size=o, align_corners=align, channels=4)
    for last in LAYOUTS
    for align in (False, True)
    for i, o in RATIOS
]
# Wide: the fraction of index + offset would have lost a digit or two.
WIDE = [
    Sample(channels_last=last, batch=1, channels=2, in_size=(1, 500), out_size=(2, 1001))
    for last in LAYOUTS
]
DIRECT_SIZES = [
    ((6, 7), (6, 7)),
    ((5, 9), (8, 4)),
    ((9, 4), (3, 11)),
    ((1, 1), (3, 5)),
    ((4, 6), (1, 1)),
]
DIRECT = [
    Sample(channels_last=last, in_size=i, out_size=o, align_corners=align, upsample=False)
    for last in LAYOUTS
    for align in (False, True)
    for i, o in DIRECT_SIZES
]
FIELDS = [
    Sample(channels_last=last, upsample=upsample, field=field, out_size=(9, 11), dtype=dtype)
    for last in LAYOUTS
    for upsample in (False, True)
    for field in ("zero", "smooth", "collapsed", "far")
    for dtype in ("float32", "float64")
]
OPTIONS = [
    Sample(channels_last=last, mask=mask, skip=skip, max_blocks=blocks, batch=3)
    for last in LAYOUTS
    for mask in ("", "weights", "logits")
    for skip in (False, True)
    for blocks in (0, 2)
]
LARGE_LOGITS = [FULL.but(channels_last=last, mask_scale=100.0) for last in LAYOUTS]
TYPES = [
    FULL.but(dtype=dtype, channels_last=last, offset_dtype=offset, mask_dtype=mask)
    for dtype in ("float64", "float16", "bfloat16")
    for last in LAYOUTS
    for offset, mask in ((dtype, "float32"), ("float32", dtype), (dtype, dtype))
]


def name(case: Sample) -> str:
    parts = [case.dtype, "last" if case.channels_last else "nchw", case.field]
    parts.append(f"{case.batch}x{case.channels}x{case.in_size}to{case.out_size}".replace(" ", ""))
    parts += ["upsample"] * case.upsample + ["align"] * case.align_corners
    parts += [case.mask] * bool(case.mask) + ["skip"] * case.skip + ["int64"] * case.index64
    parts += [f"blocks{case.max_blocks}"] * bool(case.max_blocks)
    parts += ["large"] * (case.mask_scale > 10)
    if case.dtype != "float32":
        parts.append(f"{case.offset_dtype}+{case.mask_dtype}")
    return "-".join(parts)


def check(device: Device, case: Sample) -> None:
    output, aggregated = case.forward(device)
    expected, expected_aggregated = case.expected_forward()
    assert_close(output.numpy(), expected, case.dtype, "output")
    if aggregated is not None and expected_aggregated is not None:
        kind = compute_type(case.dtype)
        assert_close(aggregated.numpy(), expected_aggregated, kind, "aggregated")


@pytest.mark.parametrize("case", [*GENERAL, *TYPES], ids=name)
def test_types(device: Device, case: Sample) -> None:
    check(device, case)


@pytest.mark.parametrize("case", [*SHAPED, *UPSAMPLED, *WIDE, *DIRECT], ids=name)
def test_sizes(device: Device, case: Sample) -> None:
    check(device, case)


@pytest.mark.parametrize("case", [*FIELDS, *OPTIONS, *LARGE_LOGITS], ids=name)
def test_fields_and_options(device: Device, case: Sample) -> None:
    check(device, case)


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("upsample", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 8])
def test_special_points(device: Device, last: bool, upsample: bool, channels: int) -> None:
    check(
        device,
        Sample(
            channels_last=last,
            upsample=upsample,
            field="special",
            channels=channels,
            in_size=(6, 9),
            out_size=(11, 13) if upsample else (6, 9),
        ),
    )


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("misalignment", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_misaligned_tensors(device: Device, last: bool, misalignment: int, dtype: str) -> None:
    device.misalignment = misalignment
    check(device, FULL.but(dtype=dtype, channels_last=last, channels=16))


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 8])
def test_buffers_that_start_at_a_guard_page(device: Device, last: bool, channels: int) -> None:
    device.placement = "start"
    check(device, FULL.but(channels_last=last, channels=channels))
    check(device, Sample(channels_last=last, channels=channels, field="far"))


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 8])
def test_taps_of_no_weight_read_nothing_foreign(device: Device, last: bool, channels: int) -> None:
    """At offset zero an output pixel is its input pixel, whatever the neighbours hold."""
    case = Sample(
        channels_last=last,
        channels=channels,
        upsample=False,
        field="zero",
        in_size=(7, 10),
        out_size=(7, 10),
    )
    rng = np.random.default_rng(0)
    values = case.inputs()["input"]
    values[rng.random(values.shape) < 0.3] = np.nan
    output, _ = case.forward(device, {**case.inputs(), "input": values})
    assert np.array_equal(output.numpy(), values, equal_nan=True)


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("field", ["random", "far"])
def test_what_has_no_weight_spreads_no_nan(
    device: Device, last: bool, channels: int, field: str
) -> None:
    """An output may be NaN only where the definition reads one."""
    case = Sample(channels_last=last, channels=channels, field=field)
    values = case.inputs()
    marked = np.random.default_rng(0).random((case.batch, 1, *case.in_size)) < 0.15
    reached = case.sampler(values["offset"]).forward(np.where(marked, 1.0, 0.0))
    values["input"] = np.where(marked, np.nan, values["input"])
    output = case.forward(device, values)[0].numpy()
    assert np.isfinite(output)[np.broadcast_to(reached == 0, output.shape)].all()
    assert np.isnan(output)[np.broadcast_to(reached > 1e-6, output.shape)].all()


@pytest.mark.parametrize("case", [Sample(batch=0), Sample(channels=0)], ids=["batch", "channels"])
def test_empty_launches_nothing(device: Device, case: Sample) -> None:
    device.module.take_records()
    case.forward(device)
    assert device.module.take_records() == []


@pytest.mark.parametrize("last", LAYOUTS)
def test_order_does_not_matter(device: Device, last: bool) -> None:
    case = FULL.but(channels_last=last, channels=12)
    results = []
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        device.set_order(order, order, seed)
        results.append(case.forward(device)[0].raw().tobytes())
    assert len(set(results)) == 1
