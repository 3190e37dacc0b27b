"""The CPU kernels by themselves, without torch: every buffer lies against a guard page, tasks run
in several orders, and the same tests run under AddressSanitizer and UndefinedBehaviorSanitizer.

Cases and float64 reference are those of `tests/cuda_on_cpu`.
"""
