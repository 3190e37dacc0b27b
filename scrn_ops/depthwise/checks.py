"""Argument checks shared by every backend: cheap, and traceable by torch.compile."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .._core import checks

STRIPS = 3
LOCAL = 5
DILATED = 7
MAX_STRIP = 31
MAX_DILATION = 8
SQUARES = (3, 5, 7)


def check_multi_scale(
    input: Tensor,
    local: Tensor,
    local_bias: Tensor | None,
    rows: Sequence[Tensor],
    row_biases: Sequence[Tensor | None],
    columns: Sequence[Tensor],
    column_biases: Sequence[Tensor | None],
) -> None:
    checks.check_map("input", input)
    _check_weight("local", local, input, (LOCAL, LOCAL))
    _check_bias("local_bias", local_bias, input)
    groups = {
        "rows": rows,
        "row_biases": row_biases,
        "columns": columns,
        "column_biases": column_biases,
    }
    for name, group in groups.items():
        # A tensor with three slices in its first dimension has a length, too.
        if not isinstance(group, Sequence | nn.ParameterList):
            raise TypeError(
                f"{name}: expected a sequence of {STRIPS} tensors, got {type(group).__name__}"
            )
        if len(group) != STRIPS:
            raise ValueError(f"{name}: expected {STRIPS} tensors, got {len(group)}")
    for i in range(STRIPS):
        n = _strip_length(f"rows[{i}]", rows[i])
        _check_weight(f"rows[{i}]", rows[i], input, (1, n))
        _check_bias(f"row_biases[{i}]", row_biases[i], input)
        _check_weight(f"columns[{i}]", columns[i], input, (n, 1))
        _check_bias(f"column_biases[{i}]", column_biases[i], input)


def check_large_kernel(
    input: Tensor,
    local: Tensor,
    local_bias: Tensor | None,
    dilated: Tensor,
    dilated_bias: Tensor | None,
    dilation: int,
) -> None:
    checks.check_map("input", input)
    _check_weight("local", local, input, (LOCAL, LOCAL))
    _check_bias("local_bias", local_bias, input)
    _check_weight("dilated", dilated, input, (DILATED, DILATED))
    _check_bias("dilated_bias", dilated_bias, input)
    check_dilation(dilation)


def check_depthwise_gelu(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    checks.check_map("input", input)
    checks.check_dense("weight", weight)
    if weight.dim() != 4 or weight.shape[-1] not in SQUARES:
        raise ValueError(
            f"weight: expected [{input.shape[1]}, 1, k, k] with k of 3, 5 or 7, got "
            f"{list(weight.shape)}"
        )
    size = weight.shape[-1]
    _check_weight("weight", weight, input, (size, size))
    _check_bias("bias", bias, input)


def check_out(out: Tensor, input: Tensor) -> None:
    """Of :func:`scrn_ops.depthwise_gelu`: what it overwrites, which may be its input."""
    checks.check_gradient("out", out, tuple(input.shape), input.dtype, input.device)


def check_packed(input: Tensor, weights: Tensor, taps: int) -> None:
    """Of an operator: ``weights`` [C, taps] holds every weight and bias of a channel."""
    checks.check_map("input", input)
    checks.check_dense("weights", weights)
    if tuple(weights.shape) != (input.shape[1], taps):
        raise ValueError(f"weights: expected [{input.shape[1]}, {taps}], got {list(weights.shape)}")
    _check_companion("weights", weights, input)


def check_strip(name: str, n: int) -> None:
    if n % 2 == 0 or not 3 <= n <= MAX_STRIP:
        raise ValueError(f"{name}: expected an odd length from 3 to {MAX_STRIP}, got {n}")


def check_dilation(dilation: int) -> None:
    if isinstance(dilation, bool) or not isinstance(dilation, int):
        raise TypeError(f"dilation: expected an int, got {type(dilation).__name__}")
    if not 1 <= dilation <= MAX_DILATION:
        raise ValueError(f"dilation: expected 1 to {MAX_DILATION}, got {dilation}")


def check_square(name: str, size: int) -> None:
    if size not in SQUARES:
        raise ValueError(f"{name}: expected 3, 5 or 7, got {size}")


def _strip_length(name: str, row: Tensor) -> int:
    checks.check_dense(name, row)
    if row.dim() != 4:
        raise ValueError(f"{name}: expected [C, 1, 1, n], got {list(row.shape)}")
    n = row.shape[3]
    check_strip(name, n)
    return n


def _check_weight(name: str, weight: Tensor, input: Tensor, size: tuple[int, int]) -> None:
    checks.check_dense(name, weight)
    expected = (input.shape[1], 1, *size)
    if tuple(weight.shape) != expected:
        raise ValueError(f"{name}: expected {list(expected)}, got {list(weight.shape)}")
    _check_companion(name, weight, input)


def _check_bias(name: str, bias: Tensor | None, input: Tensor) -> None:
    if bias is None:
        return
    checks.check_dense(name, bias)
    if tuple(bias.shape) != (input.shape[1],):
        raise ValueError(f"{name}: expected [{input.shape[1]}], got {list(bias.shape)}")
    _check_companion(name, bias, input)


def _check_companion(name: str, tensor: Tensor, input: Tensor) -> None:
    checks.check_same_device(name, tensor, "input", input)
    checks.check_coordinate_dtype(name, tensor, "input", input)
