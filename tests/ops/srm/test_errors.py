"""Bad input gets the documented error, naming the argument, what was expected and what came."""

from __future__ import annotations

import pytest
import torch

import scrn_ops
from scrn_ops import eager, reference

ops = torch.ops.scrn_ops


def maps(**changes):
    """Arguments that work, with some replaced."""
    arguments = {
        "low": torch.randn(2, 4, 3, 5),
        "input": torch.randn(2, 4, 3, 5),
        "offset": torch.randn(2, 2, 6, 10),
        "mask": torch.randn(2, 9, 6, 10),
        "skip": torch.randn(2, 4, 6, 10),
    }
    return {**arguments, **changes}


ZEROS = torch.zeros
REFINE, SAMPLE, AGGREGATE = "semantic_refine", "offset_sample", "aggregate_offsets"
PARAMETERS = {
    REFINE: ("low", "offset", "mask", "skip"),
    SAMPLE: ("input", "offset"),
    AGGREGATE: ("offset", "mask"),
}
OPTIONS = ("mask_is_logits", "align_corners", "backend")

# op, the arguments replaced, the error, and what its message says.
CASES = [
    # rank
    (REFINE, {"low": ZEROS(4, 3, 5)}, ValueError, r"low: .* 4 dim.*got 3: \[4, 3, 5\]"),
    (REFINE, {"low": ZEROS(1, 2, 4, 3, 5)}, ValueError, "low: expected 4 dimensions"),
    (REFINE, {"offset": ZEROS(2, 6, 10)}, ValueError, "offset: expected 4 dimensions"),
    (REFINE, {"mask": ZEROS(9, 6, 10)}, ValueError, "mask: expected 4 dimensions"),
    (REFINE, {"skip": ZEROS(4)}, ValueError, "skip: expected 4 dimensions"),
    (REFINE, {"low": ZEROS(())}, ValueError, "low: expected 4 dimensions.* got 0"),
    (SAMPLE, {"input": ZEROS(4, 3, 5)}, ValueError, "input: expected 4 dimensions"),
    (SAMPLE, {"offset": ZEROS(6, 10)}, ValueError, "offset: expected 4 dimensions"),
    (AGGREGATE, {"offset": ZEROS(2, 6, 10)}, ValueError, "offset: expected 4 dimensions"),
    (AGGREGATE, {"mask": ZEROS(2, 9, 60)}, ValueError, "mask: expected 4 dimensions"),
    # channels
    (REFINE, {"offset": ZEROS(2, 3, 6, 10)}, ValueError, r"offset: .* 2 channels, got \[2, 3"),
    (REFINE, {"offset": ZEROS(2, 18, 6, 10)}, ValueError, "offset: expected 2 channels"),
    (REFINE, {"offset": ZEROS(2, 6, 10, 2)}, ValueError, "offset: expected 2 channels"),
    (REFINE, {"mask": ZEROS(2, 8, 6, 10)}, ValueError, "mask: expected 9 channels, got"),
    (REFINE, {"mask": ZEROS(2, 1, 6, 10)}, ValueError, "mask: expected 9 channels"),
    (REFINE, {"skip": ZEROS(2, 5, 6, 10)}, ValueError, "skip: expected low's 4 channels, got 5"),
    (SAMPLE, {"offset": ZEROS(2, 1, 6, 10)}, ValueError, "offset: expected 2 channels"),
    (AGGREGATE, {"offset": ZEROS(2, 4, 6, 10)}, ValueError, "offset: expected 2 channels"),
    (AGGREGATE, {"mask": ZEROS(2, 25, 6, 10)}, ValueError, "mask: expected 9 channels"),
    # sizes
    (REFINE, {"low": ZEROS(2, 4, 7, 5)}, ValueError, "low: expected .*no larger .*6x10, got 7x5"),
    (REFINE, {"low": ZEROS(2, 4, 3, 11)}, ValueError, "low: expected .*no larger.*got 3x11"),
    (REFINE, {"mask": ZEROS(2, 9, 6, 9)}, ValueError, "mask: expected offset's size 6x10, got 6x9"),
    (REFINE, {"mask": ZEROS(2, 9, 5, 10)}, ValueError, "mask: expected offset's size"),
    (REFINE, {"skip": ZEROS(2, 4, 3, 5)}, ValueError, "skip: expected offset's size 6x10, got 3x5"),
    (REFINE, {"low": ZEROS(3, 4, 3, 5)}, ValueError, r"offset: expected low's batch of 3, got \[2"),
    (REFINE, {"mask": ZEROS(1, 9, 6, 10)}, ValueError, "mask: expected offset's batch of 2"),
    (REFINE, {"skip": ZEROS(1, 4, 6, 10)}, ValueError, "skip: expected low's batch of 2"),
    (REFINE, {"low": ZEROS(2, 4, 0, 5)}, ValueError, "low: expected a height .* at least 1"),
    (SAMPLE, {"offset": ZEROS(2, 2, 0, 10)}, ValueError, "offset: expected a height"),
    (SAMPLE, {"input": ZEROS(2, 4, 3, 0)}, ValueError, "input: expected a height and a width"),
    (SAMPLE, {"offset": ZEROS(1, 2, 6, 10)}, ValueError, "offset: expected input's batch of 2"),
    (AGGREGATE, {"mask": ZEROS(2, 9, 10, 6)}, ValueError, "mask: expected offset's size"),
    (AGGREGATE, {"mask": ZEROS(3, 9, 6, 10)}, ValueError, "mask: expected offset's batch"),
    # dtypes
    (REFINE, {"low": ZEROS(2, 4, 3, 5).int()}, TypeError, "low: expected dtype .*got torch.int32"),
    (REFINE, {"low": ZEROS(2, 4, 3, 5).bool()}, TypeError, "low: expected dtype float32"),
    (REFINE, {"low": ZEROS(2, 4, 3, 5).cfloat()}, TypeError, "low: expected .*complex64"),
    (REFINE, {"offset": ZEROS(2, 2, 6, 10).long()}, TypeError, "offset: expected .*torch.int64"),
    (REFINE, {"mask": ZEROS(2, 9, 6, 10).byte()}, TypeError, "mask: expected .*torch.uint8"),
    (REFINE, {"skip": ZEROS(2, 4, 6, 10).int()}, TypeError, "skip: expected dtype float32"),
    (REFINE, {"skip": ZEROS(2, 4, 6, 10).half()}, TypeError, "skip: .* low's dtype .*float32"),
    (REFINE, {"offset": ZEROS(2, 2, 6, 10).half()}, TypeError, "offset: .* or low's torch.float32"),
    (REFINE, {"offset": ZEROS(2, 2, 6, 10).double()}, TypeError, "offset: expected dtype float32"),
    (REFINE, {"mask": ZEROS(2, 9, 6, 10).bfloat16()}, TypeError, "mask: expected dtype float32"),
    (REFINE, {"low": ZEROS(2, 4, 3, 5).to(torch.float8_e5m2)}, TypeError, "low: .*float8_e5m2"),
    (SAMPLE, {"input": ZEROS(2, 4, 3, 5).char()}, TypeError, "input: expected dtype"),
    (SAMPLE, {"offset": ZEROS(2, 2, 6, 10).double()}, TypeError, "offset: .* or input's"),
    (SAMPLE, {"offset": ZEROS(2, 2, 6, 10).int()}, TypeError, "offset: expected dtype"),
    (AGGREGATE, {"offset": ZEROS(2, 2, 6, 10).short()}, TypeError, "offset: expected dtype"),
    (AGGREGATE, {"mask": ZEROS(2, 9, 6, 10).bool()}, TypeError, "mask: expected dtype"),
    # devices and layouts
    (REFINE, {"offset": ZEROS(2, 2, 6, 10, device="meta")}, ValueError, "expected .*device"),
    (REFINE, {"mask": ZEROS(2, 9, 6, 10, device="meta")}, ValueError, "mask: .* cpu, got meta"),
    (REFINE, {"skip": ZEROS(2, 4, 6, 10, device="meta")}, ValueError, "skip: .* low's device"),
    (SAMPLE, {"input": ZEROS(2, 4, 3, 5, device="meta")}, ValueError, "offset: .* meta, got cpu"),
    (AGGREGATE, {"mask": ZEROS(2, 9, 6, 10, device="meta")}, ValueError, "mask: expected .*device"),
    (REFINE, {"low": ZEROS(2, 4, 3, 5).to_sparse()}, NotImplementedError, "low: expected a dense"),
    (SAMPLE, {"offset": ZEROS(2, 2, 6, 10).to_sparse()}, NotImplementedError, "offset: .* dense"),
    # not tensors
    (REFINE, {"low": None}, TypeError, "low: expected a Tensor, got NoneType"),
    (REFINE, {"offset": 3.0}, TypeError, "offset: expected a Tensor, got float"),
    (REFINE, {"mask": [[1.0]]}, TypeError, "mask: expected a Tensor, got list"),
    (REFINE, {"skip": "skip"}, TypeError, "skip: expected a Tensor, got str"),
    (SAMPLE, {"input": None}, TypeError, "input: expected a Tensor"),
    (AGGREGATE, {"mask": None}, TypeError, "mask: expected a Tensor"),
    # the backend
    (REFINE, {"backend": "cuda"}, ValueError, r"backend: expected None, 'fused', .*got 'cuda'"),
    (SAMPLE, {"backend": 1}, ValueError, "backend: expected None"),
    (AGGREGATE, {"backend": ""}, ValueError, "backend: expected None"),
    # flags
    (REFINE, {"mask_is_logits": "no"}, TypeError, "mask_is_logits: expected True or .*got 'no'"),
    (REFINE, {"align_corners": None}, TypeError, "align_corners: .* True or False, got None"),
    (SAMPLE, {"align_corners": 0.0}, TypeError, "align_corners: expected True .*got 0.0"),
    (AGGREGATE, {"mask_is_logits": 1}, TypeError, "mask_is_logits: expected True or False, got 1"),
]  # fmt: skip


def call(op, changes, module=scrn_ops):
    arguments = maps(**changes)
    options = {name: changes[name] for name in OPTIONS if name in changes}
    return getattr(module, op)(*(arguments[name] for name in PARAMETERS[op]), **options)


def ids(case):
    op, changes, _, _ = case
    return f"{op}-{next(iter(changes))}"


@pytest.mark.parametrize(("op", "changes", "error", "message"), CASES, ids=map(ids, CASES))
def test_bad_input(op, changes, error, message):
    assert isinstance(call(op, {}), torch.Tensor)
    with pytest.raises(error, match=message):
        call(op, changes)
    if not changes.keys() & set(OPTIONS):
        for module in (reference, eager):
            with pytest.raises(error, match=message):
                call(op, changes, module)
    if "backend" not in changes:
        for backend in ("reference", "eager"):
            with pytest.raises(error, match=message):
                call(op, changes | {"backend": backend})


@pytest.mark.parametrize(
    ("op", "changes"),
    [c[:2] for c in CASES if all(isinstance(v, torch.Tensor) for v in c[1].values())],
    ids=[ids(c) for c in CASES if all(isinstance(v, torch.Tensor) for v in c[1].values())],
)
def test_operators_refuse_the_same(op, changes):
    """They are reachable without the checks in Python, and must not crash."""
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        call(op, changes, ops)


def spoiled(gradient):
    """A gradient that fits, made not to."""
    return {
        "rank": gradient[0],
        "size": gradient[..., 1:],
        "channels": gradient[:, 1:],
        "batch": gradient[1:],
        "dtype": gradient.double(),
        "integers": gradient.int(),
        "device": gradient.to("meta"),
        "sparse": gradient.to_sparse(),
    }


def backward_cases():
    low, offset, mask, grad = (maps()[n] for n in ("low", "offset", "mask", "skip"))
    aggregated = offset.clone()
    flags = (False, True, True)
    options = (False, False, True, True, True, False)
    for name, bad in spoiled(grad).items():
        yield f"sample-{name}", ops.offset_sample_backward, (bad, low, offset, *flags, False)
        arguments = (bad, low, offset, mask, aggregated, *options)
        yield f"refine-{name}", ops.semantic_refine_backward, arguments
    for name, bad in spoiled(aggregated).items():
        yield f"aggregate-{name}", ops.aggregate_offsets_backward, (bad, offset, mask, *flags)
        arguments = (grad, low, offset, mask, bad, *options)
        yield f"aggregated-{name}", ops.semantic_refine_backward, arguments


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [case[1:] for case in backward_cases()],
    ids=[case[0] for case in backward_cases()],
)
def test_backward_operators_refuse_bad_gradients(operator, arguments):
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        operator(*arguments)


def test_integers_cannot_require_gradients():
    """torch says so itself; as inputs they are a TypeError."""
    with pytest.raises(RuntimeError, match="floating"):
        ZEROS(2, 2, 6, 10, dtype=torch.int32).requires_grad_()


def test_a_device_without_kernels_is_named():
    """No fallback: the eager chain is there for who asks for it."""

    class Elsewhere(torch.Tensor):
        device = torch.device("xpu")

    tensors = [t.as_subclass(Elsewhere) for t in (maps()["low"], maps()["offset"])]
    with pytest.raises(NotImplementedError, match=r"backend: no .* for device 'xpu'.*eager"):
        scrn_ops.offset_sample(*tensors)


def test_cuda_without_its_library_is_named(monkeypatch):
    class Elsewhere(torch.Tensor):
        device = torch.device("cuda")

    monkeypatch.setattr(scrn_ops._core.load, "cuda_absence", lambda: "it was built without")
    tensors = [t.as_subclass(Elsewhere) for t in (maps()["low"], maps()["offset"])]
    with pytest.raises(NotImplementedError, match=r"'cuda' \(it was built without\).*eager"):
        scrn_ops.offset_sample(*tensors)
    # The attention's kernels are not in it.
    scrn_ops._core.load.check_device(tensors[0], compiled=False)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_devices_must_agree():
    low, offset, mask, skip = (maps()[n].cuda() for n in ("low", "offset", "mask", "skip"))
    for bad in ((low.cpu(), offset, mask, skip), (low, offset.cpu(), mask, skip),
                (low, offset, mask.cpu(), skip), (low, offset, mask, skip.cpu())):  # fmt: skip
        with pytest.raises(ValueError, match=r"expected .* device"):
            scrn_ops.semantic_refine(*bad)
        with pytest.raises(RuntimeError):
            ops.semantic_refine(*bad)
