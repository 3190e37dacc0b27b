"""What the CUDA kernels are asked for in large logits and odd weights, of the CPU kernels."""

from __future__ import annotations

from tests.cuda_on_cpu.classify.test_kernels import test_nothing_valid
from tests.cuda_on_cpu.classify.test_numerics import (
    test_float16_keeps_its_digits_whatever_the_size_of_the_weights,
    test_float64_has_its_own_infinity,
    test_negative_weights,
    test_no_digits_are_lost_in_large_logits,
    test_the_mean_of_weights_of_zero_is_nan,
)

__all__ = [
    "test_float16_keeps_its_digits_whatever_the_size_of_the_weights",
    "test_float64_has_its_own_infinity",
    "test_negative_weights",
    "test_no_digits_are_lost_in_large_logits",
    "test_nothing_valid",
    "test_the_mean_of_weights_of_zero_is_nan",
]
