"""Bad input is refused in words, by every backend."""

from __future__ import annotations

import pytest
import torch

import scrn_ops

LOGITS, TARGET = torch.zeros(2, 4, 3, 3), torch.zeros(2, 6, 6, dtype=torch.int64)


@pytest.mark.parametrize("backend", [None, "eager", "reference"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": None}, TypeError, "logits: expected a Tensor"),
        ({"logits": LOGITS.long()}, TypeError, "logits: expected dtype float32"),
        ({"logits": LOGITS[0]}, ValueError, "logits: expected 4 dimensions"),
        ({"logits": LOGITS[:, :0]}, ValueError, "logits: expected at least one class"),
        ({"target": TARGET.float()}, TypeError, "target: expected dtype uint8, int32 or int64"),
        ({"target": TARGET[0]}, ValueError, "target: expected 3 dimensions"),
        ({"target": TARGET.to_sparse()}, NotImplementedError, "target: expected a dense tensor"),
        ({"target": TARGET[:1]}, ValueError, "target: expected logits's batch of 2"),
        ({"target": TARGET[:, :0]}, ValueError, "target: expected at least one row"),
        ({"target": TARGET.to("meta")}, ValueError, "target: expected logits's device"),
        ({"weight": torch.ones(3)}, ValueError, r"weight: expected \[4\]"),
        ({"weight": torch.ones(4).requires_grad_()}, ValueError, "requires no gradient"),
        ({"reduction": "batchmean"}, ValueError, "reduction: expected 'none', 'mean' or 'sum'"),
        ({"ignore_index": 1.5}, TypeError, "ignore_index: expected an int"),
        ({"ignore_index": 2**70}, ValueError, "ignore_index: expected a number that int64 has"),
        ({"ignore_index": -(2**63) - 1}, ValueError, "ignore_index: expected a number that int64"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing: expected a number from 0 to 1"),
        ({"label_smoothing": "0"}, TypeError, "label_smoothing: expected a number"),
        ({"align_corners": 1}, TypeError, "align_corners: expected True or False"),
    ],
)
def test_cross_entropy(backend, change, error, message):
    arguments = {"logits": LOGITS, "target": TARGET, **change}
    with pytest.raises(error, match=message):
        scrn_ops.upsampled_cross_entropy(
            arguments.pop("logits"), arguments.pop("target"), backend=backend, **arguments
        )


@pytest.mark.parametrize("backend", [None, "eager", "reference"])
@pytest.mark.parametrize(
    ("logits", "size", "options", "error", "message"),
    [
        (LOGITS[0], (6, 6), {}, ValueError, "logits: expected 4 dimensions"),
        (LOGITS, 6, {}, ValueError, "size: expected"),
        (LOGITS, (6, 0), {}, ValueError, "size: expected numbers of at least 1"),
        (LOGITS, (6, 6.0), {}, TypeError, "size: expected two ints"),
        (LOGITS, (6, 6), {"dtype": torch.int32}, ValueError, "dtype: expected torch.uint8"),
        (LOGITS, (6, 6), {"align_corners": 0}, TypeError, "align_corners: expected"),
        (LOGITS, (6, 6), {"with_confidence": 0}, TypeError, "with_confidence: expected"),
        (
            torch.zeros(1, 300, 2, 2),
            (4, 4),
            {"dtype": torch.uint8},
            ValueError,
            "dtype: expected torch.int64 for 300 classes",
        ),
    ],
)
def test_argmax(backend, logits, size, options, error, message):
    with pytest.raises(error, match=message):
        scrn_ops.upsampled_argmax(logits, size, backend=backend, **options)


@pytest.mark.parametrize("backend", [None, "eager", "reference"])
@pytest.mark.parametrize(
    ("logits", "size", "align_corners", "error", "message"),
    [
        (None, (6, 6), False, TypeError, "logits: expected a Tensor"),
        (LOGITS[0], (6, 6), False, ValueError, "logits: expected 4 dimensions"),
        (LOGITS, 6, False, ValueError, "size: expected"),
        (LOGITS, (6, 0), False, ValueError, "size: expected numbers of at least 1"),
        (LOGITS, (6, 6.0), False, TypeError, "size: expected two ints"),
        (LOGITS, (6, True), False, TypeError, "size: expected two ints"),
        (LOGITS, (6, torch.tensor(True)), False, TypeError, "size: expected two ints"),
        (LOGITS, (torch.tensor(6.0), 6), False, TypeError, "size: expected two ints"),
        (LOGITS, (2**31, 6), False, ValueError, "size: expected numbers of at most 2147483647"),
        (LOGITS, (6, 6), 0, TypeError, "align_corners: expected"),
    ],
)
def test_logits(backend, logits, size, align_corners, error, message):
    with pytest.raises(error, match=message):
        scrn_ops.upsampled_logits(logits, size, align_corners=align_corners, backend=backend)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_logits_on_a_gpu():
    with pytest.raises(NotImplementedError, match=r"no fused kernels for device 'cuda'.*eager"):
        scrn_ops.upsampled_logits(LOGITS.cuda(), (6, 6))


def test_unknown_backends():
    with pytest.raises(ValueError, match="backend: expected None"):
        scrn_ops.upsampled_cross_entropy(LOGITS, TARGET, backend="cuda")
    with pytest.raises(ValueError, match="backend: expected None"):
        scrn_ops.upsampled_argmax(LOGITS, (6, 6), backend="cuda")
    with pytest.raises(ValueError, match="reduction"):
        scrn_ops.UpsampledCrossEntropy(reduction="all")


def test_the_raw_operators_refuse_it_too():
    ops = torch.ops.scrn_ops
    for args, message in (
        ((LOGITS[0], TARGET), "logits: expected 4 dimensions"),
        ((LOGITS, TARGET[0]), "target: expected a dense"),
        ((LOGITS, TARGET[:1]), "target: expected the batch"),
        ((LOGITS, TARGET.float()), "target: expected dtype"),
        ((LOGITS, TARGET, torch.ones(3)), "weight: expected a number for every class"),
        ((LOGITS, TARGET, torch.ones(4).double()), "weight: expected float64 for float64"),
        ((LOGITS, TARGET, None, 3), "reduction: expected 0, 1 or 2"),
        ((LOGITS, TARGET, None, 1, -100, 2.0), "label_smoothing: expected"),
    ):
        with pytest.raises(RuntimeError, match=message):
            ops.upsampled_cross_entropy(*args)
    with pytest.raises(RuntimeError, match="expected a tensor for this reduction"):
        ops.upsampled_cross_entropy_backward(
            torch.ones(()), None, None, None, None, None, 1, -100, 0.0, False
        )
    with pytest.raises(RuntimeError, match="size: expected a height"):
        ops.upsampled_argmax(LOGITS, 0, 4)
    with pytest.raises(RuntimeError, match="size: expected a height"):
        ops.upsampled_logits(LOGITS, 4, 0)
    logits = LOGITS.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="need_gradient=True"):
        ops.upsampled_cross_entropy(logits, TARGET)[0].backward()
