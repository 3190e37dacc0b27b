"""How close a kernel's result must be to the float64 reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .device import EPSILON, rounded

Array = NDArray[Any]

# (relative L2, elementwise as a share of the largest value)
TOLERANCE = {"float64": (1e-12, 1e-12), "float32": (1e-6, 2e-5)}


def assert_close(got: Array, expected: Array, dtype: str, what: str = "result") -> None:
    """Fails unless `got`, held as `dtype`, is as near to `expected` as the project promises.

    Half types may be 1.5 times as far as the rounded reference, with float32's tolerance on top.
    NaN and infinity must be where the reference has them.
    """
    assert got.shape == expected.shape, f"{what}: {got.shape} is not {expected.shape}"
    finite = np.isfinite(expected)
    same = np.where(
        finite, np.isfinite(got), (got == expected) | (np.isnan(got) & np.isnan(expected))
    )
    assert same.all(), f"{what}: {(~same).sum()} not finite alike, first {first(~same)}"
    if not finite.any():
        return
    got, reference = got[finite], expected[finite]
    error = np.abs(got - reference)
    relative, share = TOLERANCE["float64" if dtype == "float64" else "float32"]
    norm, largest = np.linalg.norm(reference), np.abs(reference).max()
    bound, elementwise = relative * norm, share * largest
    if dtype in ("float16", "bfloat16"):
        bound += 1.5 * np.linalg.norm(rounded(reference, dtype) - reference)
        smallest = 2.0**-25 if dtype == "float16" else 0.0
        elementwise = elementwise + 0.75 * EPSILON[dtype] * np.abs(reference) + smallest
    worst = int(np.argmax(error - elementwise))
    message = (
        f"{what} ({dtype}): error {np.linalg.norm(error):.3e} (L2), allowed {bound:.3e}; "
        f"worst {got[worst]:.9g} for {reference[worst]:.9g} at {first(finite, worst)}, "
        f"largest value {largest:.3g}"
    )
    assert np.linalg.norm(error) <= bound + 1e-300, message
    assert (error <= elementwise + 1e-300).all(), message


def first(where: NDArray[np.bool_], nth: int = 0) -> tuple[int, ...]:
    return tuple(int(axis[nth]) for axis in np.nonzero(where))
