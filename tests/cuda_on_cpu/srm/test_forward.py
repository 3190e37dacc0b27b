"""Eq. 4, with Eq. 3 and the skip, on the executed kernels, against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from ..harness.compare import assert_close
from ..harness.device import DTYPES, Device
from .cases import Sample, compute_type

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
# NCHW: rows too short for three elements, of whole words of a half type or not, and numbers of
# planes that are no multiple of what is read at a time.
ROWS = [
    Sample(
        dtype=dtype,
        index64=index64,
        channels=channels,
        in_size=(3, width),
        out_size=(5, 2 * width + 1),
        field=field,
        skip=True,
    )
    for dtype in ("float32", "float16")
    for width in (1, 2, 3, 4, 5, 6, 8)
    for channels, index64, field in ((6, False, "random"), (5, True, "far"))
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


@pytest.mark.parametrize("case", [*SHAPED, *ROWS, *UPSAMPLED, *WIDE, *DIRECT], ids=name)
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
    check(device, FULL.but(dtype=dtype, channels_last=last, channels=16, in_size=(5, 12)))


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_buffers_that_start_at_a_guard_page(
    device: Device, last: bool, channels: int, dtype: str
) -> None:
    device.placement = "start"
    check(device, FULL.but(dtype=dtype, channels_last=last, channels=channels))
    check(device, Sample(dtype, last, channels=channels, field="far"))
    check(device, Sample(dtype, last, channels=channels, in_size=(3, 2), out_size=(5, 5)))


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("foreign", [np.nan, np.inf])
def test_taps_of_no_weight_read_nothing_foreign(
    device: Device, last: bool, channels: int, dtype: str, foreign: float
) -> None:
    """At offset zero an output pixel is its input pixel, whatever the neighbours hold."""
    case = Sample(
        dtype=dtype,
        channels_last=last,
        channels=channels,
        upsample=False,
        field="zero",
        in_size=(7, 10),
        out_size=(7, 10),
    )
    rng = np.random.default_rng(0)
    values = case.inputs()["input"]
    values[rng.random(values.shape) < 0.3] = foreign
    output, _ = case.forward(device, {**case.inputs(), "input": values})
    assert np.array_equal(output.numpy(), values, equal_nan=True)


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("field", ["random", "far"])
@pytest.mark.parametrize(
    ("dtype", "width"), [("float32", 11), ("float32", 2), ("float16", 11), ("float16", 12)]
)
def test_what_has_no_weight_spreads_no_nan(
    device: Device, last: bool, channels: int, field: str, dtype: str, width: int
) -> None:
    """An output may be NaN only where the definition reads one."""
    case = Sample(dtype, last, channels=channels, field=field, in_size=(5, width))
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


# Maps of the sizes that count, and how full their last round of blocks has to be at least.
KEY_SHAPES = [
    Sample(batch=batch, channels=128, in_size=size, out_size=(2 * size[0], 2 * size[1]))
    for batch, size in ((1, (128, 256)), (1, (64, 128)), (1, (32, 64)), (8, (128, 128)))
]
FILLED = {"float32": (0.88, 0.72, 0.8, 0.93), "bfloat16": (0.88, 0.55, 0.55, 0.93)}
FILLED_PLANES = (0.95, 0.95, 0.85, 0.93)


def plan(device: Device, entry: str, case: Sample) -> int:
    pointers = dict.fromkeys(("input", "offset", "mask", "skip", "output", "aggregated"))
    return device.call(
        f"{entry}_{case.dtype}", **case.arguments(), **pointers, mask_dtype="float32", logits=0
    )


@pytest.mark.parametrize("last", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", range(len(KEY_SHAPES)))
def test_few_blocks_run_in_a_round_of_their_own(
    device: Device, last: bool, dtype: str, shape: int
) -> None:
    """On 132 multiprocessors. That so many fit by their registers is a budget of compiled code."""
    case = KEY_SHAPES[shape].but(dtype=dtype, channels_last=last)
    at_a_time = 132 * plan(device, "forward_blocks_at_a_time", case)
    rounds = plan(device, "forward_blocks", case) / at_a_time
    filled = rounds / np.ceil(rounds)
    assert filled >= (FILLED[dtype] if last else FILLED_PLANES)[shape]


@pytest.mark.parametrize(
    ("channels", "height", "fits"),
    [(128, 4096, True), (128, 4097, False), (2**28, 1, True), (2**29, 1, False)],
)
def test_what_needs_indices_of_64_bits(
    device: Device, channels: int, height: int, fits: bool
) -> None:
    """Beyond 2^31 elements in an image, or 2^31 bytes in a pixel of it."""
    width = 4095 if channels == 128 else 1
    case = Sample(channels=channels, in_size=(1, 1), out_size=(height, width))
    assert bool(plan(device, "forward_fits_index32", case)) == fits
