"""The definition in numpy: interpolation as a product of two matrices. In float64 it is what the
kernels are judged by; in float32 it has the errors of the chain that users write."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def matrix(in_size: int, out_size: int, align_corners: bool) -> Array:
    """[out_size, in_size]: the weights of the inputs in every output."""
    result = np.zeros((out_size, in_size))
    for i in range(out_size):
        if align_corners:
            position = i * (in_size - 1) / max(out_size - 1, 1)
        else:
            position = max((i + 0.5) * in_size / out_size - 0.5, 0)
        cell = min(int(position + 1e-12), in_size - 1)
        share = position - cell
        result[i, cell] += 1 - share
        result[i, min(cell + 1, in_size - 1)] += share
    return result


def upsampled(logits: Array, size: tuple[int, int], align_corners: bool) -> Array:
    y = matrix(logits.shape[2], size[0], align_corners)
    x = matrix(logits.shape[3], size[1], align_corners)
    y, x = y.astype(logits.dtype), x.astype(logits.dtype)
    return np.einsum("yi,bkix->bkyx", y, np.einsum("bkij,xj->bkix", logits, x))


def losses(
    z: Array, target: Array, weight: Array, ignore_index: int, smoothing: float
) -> tuple[Array, Array, Array]:
    """Every pixel's loss, the slope of it by the upsampled logits, and its weight."""
    classes = z.shape[1]
    top = z.max(1, keepdims=True)
    exponentials = np.exp(z - top)
    total = exponentials.sum(1, keepdims=True)
    log_softmax = z - top - np.log(total)
    valid = target != ignore_index
    labels = np.where(valid, target, 0)
    one_hot = (np.arange(classes)[:, None, None] == labels[:, None]) * weight[labels][:, None]
    wanted = (1 - smoothing) * one_hot + smoothing / classes * weight[None, :, None, None]
    wanted = np.where(valid[:, None], wanted, 0)
    loss = -(wanted * log_softmax).sum(1)
    slope = exponentials / total * wanted.sum(1, keepdims=True) - wanted
    return loss, slope, np.where(valid, weight[labels], 0)


def gradient(slope: Array, in_size: tuple[int, int], align_corners: bool) -> Array:
    """Of the logits, from the slope by the upsampled ones."""
    y = matrix(in_size[0], slope.shape[2], align_corners)
    x = matrix(in_size[1], slope.shape[3], align_corners)
    y, x = y.astype(slope.dtype), x.astype(slope.dtype)
    return np.einsum("yi,bkyj->bkij", y, np.einsum("bkyx,xj->bkyj", slope, x))
