"""The gradients of Eq. 4 on the executed kernels, atomic and deterministic."""

from __future__ import annotations

import numpy as np
import pytest

from ..harness.compare import assert_close
from ..harness.device import DTYPES, Device
from .cases import Sample
from .test_forward import DIRECT_SIZES, RATIOS, WIDE, name

BOTH = [False, True]
MODES = [(last, deterministic) for last in BOTH for deterministic in BOTH]

GENERAL = [
    Sample(dtype=dtype, channels_last=last, index64=index64, deterministic=mode, channels=13)
    for dtype in DTYPES
    for last, mode in MODES
    for index64 in BOTH
]
TYPES = [
    Sample(dtype=dtype, offset_dtype=dtype, channels_last=last, deterministic=mode, channels=6)
    for dtype in ("float64", "float16", "bfloat16")
    for last, mode in MODES
]
# (channels, out_h, out_w): aligned vectors or not, several slabs and groups, all tile shapes.
SHAPES = [
    (1, 1, 1),
    (1, 6, 5),
    (8, 17, 13),
    (16, 5, 33),
    (37, 10, 7),
    (68, 3, 19),
    (136, 2, 9),
    (129, 3, 18),
    (256, 3, 9),
    (530, 3, 5),
    (1022, 2, 3),
]
SHAPED = [
    Sample(
        dtype=dtype,
        channels_last=last,
        deterministic=mode,
        batch=1,
        channels=channels,
        in_size=((h + 1) // 2, (w + 2) // 3),
        out_size=(h, w),
    )
    for dtype in ("float32", "float16")
    for last, mode in MODES
    for channels, h, w in SHAPES
]
UPSAMPLED = [
    Sample(channels_last=last, deterministic=mode, in_size=i, out_size=o, align_corners=align)
    for last, mode in MODES
    for align in BOTH
    for i, o in RATIOS
]
DIRECT = [
    Sample(
        channels_last=last,
        deterministic=mode,
        in_size=i,
        out_size=o,
        align_corners=align,
        upsample=False,
    )
    for last, mode in MODES
    for align in BOTH
    for i, o in DIRECT_SIZES
]
FIELDS = [
    Sample(
        dtype=dtype,
        channels_last=last,
        deterministic=mode,
        upsample=upsample,
        field=field,
        out_size=(11, 19),
        channels=channels,
        batch=1,
    )
    for last, mode in MODES
    for upsample in BOTH
    for field in ("zero", "smooth", "collapsed", "far")
    for dtype, channels in (("float32", 8), ("float64", 5))
]
# 256 cells: the key of the points outside needs a ninth bit.
KEYS = [
    Sample(
        channels_last=last,
        deterministic=True,
        channels=3,
        in_size=(16, 16),
        out_size=(29, 31),
        field="far",
    )
    for last in BOTH
]
# As few blocks as this lead to the long runs and the high tiles of large maps: several rows of a
# tile, several batches of a run, and offsets that take points out of the tile or far away.
LONG = [
    Sample(
        dtype=dtype,
        channels_last=last,
        channels=channels,
        in_size=(out[0] // 2 + 1, out[1] // 2 + 1),
        out_size=out,
        upsample=upsample,
        field=field,
        batch=batch,
        max_blocks=2,
    )
    for last in BOTH
    for dtype, channels, out, batch in (
        ("float32", 40, (19, 37), 1),
        ("float32", 70, (9, 71), 2),
        ("float32", 136, (5, 71), 1),  # slabs of each of several batches
        ("float16", 36, (11, 33), 1),
        ("float64", 3, (17, 18), 1),
    )
    for upsample, field in (
        (True, "smooth"),
        (True, "far"),  # upsampled, since fp32 rounds far coordinates of the input itself
        (True, "random"),
        (False, "smooth"),
        (False, "random"),
    )
]
WIDER = [case.but(deterministic=mode) for case in WIDE for mode in BOTH]
# More than one tile of the lists and several units of 256 pixels of one cell.
LARGE = [
    Sample(
        channels_last=last,
        deterministic=mode,
        channels=3,
        in_size=(20, 17),
        out_size=(37, 65),
        field=field,
        batch=2,
        max_blocks=blocks,
    )
    for last, mode in MODES
    # In few cells by lists only: one after the other, atomics add up more rounding than is allowed.
    for field in ("collapsed", "smooth", *["corner", "neighbours"] * mode)
    for blocks in (0, 3)
]


def check(device: Device, case: Sample) -> None:
    grad_input, grad_offset = case.backward(device)
    expected_input, expected_offset = case.expected_backward()
    assert grad_input is not None
    assert grad_offset is not None
    if case.field == "random" and case.out_size != (1, 1):
        assert (expected_input != 0).any(), "every point lies outside: nothing is tested"
    assert_close(grad_offset.numpy(), expected_offset, case.offset_dtype, "grad_offset")
    assert_close(grad_input.numpy(), expected_input, case.dtype, "grad_input")


def label(case: Sample) -> str:
    return name(case) + ("-deterministic" if case.deterministic else "-atomic")


@pytest.mark.parametrize("case", [*GENERAL, *TYPES], ids=label)
def test_types(device: Device, case: Sample) -> None:
    check(device, case)


@pytest.mark.parametrize("case", [*SHAPED, *UPSAMPLED, *WIDER, *DIRECT], ids=label)
def test_sizes(device: Device, case: Sample) -> None:
    check(device, case)


@pytest.mark.parametrize("case", [*FIELDS, *KEYS, *LARGE, *LONG], ids=label)
def test_fields(device: Device, case: Sample) -> None:
    check(device, case)


@pytest.mark.parametrize(("last", "deterministic"), MODES)
@pytest.mark.parametrize("upsample", BOTH)
@pytest.mark.parametrize("channels", [3, 8])
def test_special_points(
    device: Device, last: bool, deterministic: bool, upsample: bool, channels: int
) -> None:
    check(
        device,
        Sample(
            channels_last=last,
            deterministic=deterministic,
            upsample=upsample,
            field="special",
            channels=channels,
            in_size=(6, 9),
            out_size=(11, 13) if upsample else (6, 9),
        ),
    )


@pytest.mark.parametrize("case", [case for case in SHAPED if case.dtype == "float32"], ids=label)
def test_shared_memory_that_holds_zeros(device: Device, case: Sample) -> None:
    """What is used before it is written is most often NaN in these tests, or index -1."""
    device.module.set_options(shared_zero=True)
    check(device, case)


@pytest.mark.parametrize(("last", "deterministic"), MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_misaligned_tensors(device: Device, last: bool, deterministic: bool, dtype: str) -> None:
    device.misalignment = 1
    case = Sample(dtype=dtype, channels_last=last, deterministic=deterministic, channels=16)
    check(device, case)


@pytest.mark.parametrize(("last", "deterministic"), MODES)
@pytest.mark.parametrize("channels", [3, 8])
def test_buffers_that_start_at_a_guard_page(
    device: Device, last: bool, deterministic: bool, channels: int
) -> None:
    device.placement = "start"
    case = Sample(channels_last=last, deterministic=deterministic, channels=channels)
    check(device, case)
    check(device, case.but(field="far"))


@pytest.mark.parametrize(("last", "deterministic"), MODES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_unwanted_gradients(device: Device, last: bool, deterministic: bool, dtype: str) -> None:
    case = Sample(dtype=dtype, channels_last=last, deterministic=deterministic, channels=8)
    expected_input, expected_offset = case.expected_backward()
    grad_input, nothing = case.backward(device, want_offset=False)
    assert nothing is None
    assert grad_input is not None
    assert_close(grad_input.numpy(), expected_input, dtype, "grad_input")
    before = device.workspace_bytes
    nothing, grad_offset = case.backward(device, want_input=False)
    assert grad_offset is not None
    assert device.workspace_bytes == before  # only the gradient of the input is summed there
    assert_close(grad_offset.numpy(), expected_offset, "float32", "grad_offset")
    device.module.take_records()
    case.backward(device, want_input=False, want_offset=False)
    assert device.module.take_records() == []


@pytest.mark.parametrize(("last", "deterministic"), MODES)
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("field", ["random", "far"])
def test_what_has_no_weight_spreads_no_nan(
    device: Device, last: bool, deterministic: bool, channels: int, field: str
) -> None:
    """A gradient may be NaN only where the definition reads one."""
    case = Sample(channels_last=last, deterministic=deterministic, channels=channels, field=field)
    values = case.inputs()
    sampler = case.sampler(values["offset"])
    rng = np.random.default_rng(0)
    shape = (case.batch, 1, *case.out_size)
    marked = rng.random(shape) < 0.15
    reached, _ = sampler.backward(values["input"][:, :1], np.where(marked, 1.0, 0.0))
    reached = np.broadcast_to(reached != 0, values["input"].shape)
    zeros, ones = np.zeros_like(values["grad"]), np.ones(shape)
    rest, _ = sampler.backward(values["input"], np.where(marked, zeros, values["grad"]))
    for bad in (np.nan, np.inf):
        bad_grad = np.where(marked, bad, values["grad"])
        given = {**values, "grad": bad_grad}
        grad_input, _ = case.backward(device, want_offset=False, values=given)
        assert grad_input is not None
        assert not np.isfinite(grad_input.numpy())[reached].any()
        kept = np.where(reached, rest, grad_input.numpy())
        assert_close(kept, rest, case.dtype, "grad_input")

    marked = rng.random((case.batch, 1, *case.in_size)) < 0.15
    _, touched = sampler.backward(np.where(marked, rng.uniform(1, 2, marked.shape), 0.0), ones)
    nan_input = np.where(marked, np.nan, values["input"])
    _, grad_offset = case.backward(device, want_input=False, values={**values, "input": nan_input})
    assert grad_offset is not None
    assert np.isnan(grad_offset.numpy())[touched != 0].all()
    _, rest = sampler.backward(np.where(marked, 0.0, values["input"]), values["grad"])
    kept = np.where(touched != 0, rest, grad_offset.numpy())
    assert_close(kept, rest, "float32", "grad_offset")


@pytest.mark.parametrize("empty", ["batch", "channels", "out_size"])
@pytest.mark.parametrize(("last", "deterministic"), MODES)
def test_empty(device: Device, last: bool, deterministic: bool, empty: str) -> None:
    """Nothing to sum: what gradients there are, are zero."""
    value = (0, 4) if empty == "out_size" else 0
    case = Sample(channels_last=last, deterministic=deterministic, upsample=False)
    case = case.but(**{empty: value})
    for gradient in case.backward(device):
        assert gradient is not None
        assert (gradient.numpy() == 0).all()


# Of threads, of blocks, and the seed of the random ones.
ORDERS = [
    ("forward", "forward", 0),
    ("reverse", "reverse", 0),
    ("random", "random", 1),
    ("random", "forward", 2),
    ("forward", "random", 3),
]


def gradients(device: Device, case: Sample) -> tuple[bytes, ...]:
    return tuple(each.raw().tobytes() for each in case.backward(device) if each is not None)


@pytest.mark.parametrize("last", BOTH)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("field", ["collapsed", "random"])
def test_deterministic_in_every_order(device: Device, last: bool, dtype: str, field: str) -> None:
    case = Sample(
        dtype=dtype,
        channels_last=last,
        deterministic=True,
        field=field,
        in_size=(9, 8),
        out_size=(18, 31),
        channels=6,
        batch=1,
    )
    results = set()
    for order in ORDERS:
        device.set_order(*order)
        results.add(gradients(device, case))
    # Nor may it matter over how many blocks the work is spread.
    results |= {gradients(device, case.but(max_blocks=blocks)) for blocks in (1, 3)}
    assert len(results) == 1


@pytest.mark.parametrize("last", BOTH)
@pytest.mark.parametrize("dtype", DTYPES)
def test_atomic_within_rounding_in_every_order(device: Device, last: bool, dtype: str) -> None:
    case = Sample(dtype=dtype, channels_last=last, in_size=(7, 8), out_size=(13, 16), channels=6)
    for order in ORDERS:
        device.set_order(*order)
        check(device, case)
