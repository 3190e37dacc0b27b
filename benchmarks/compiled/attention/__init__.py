"""Runs the real launchers of the attention's Triton kernels without a GPU.

A stand-in for Triton's driver (``driver.py``) reports a device of a chosen architecture. The
launchers are called with tensors on the CPU; Triton compiles what they launch, down to the cubin,
and instead of starting it the stand-in records it. So the number of launches, the variants that a
call compiles, what the compiler made of them and the time of the host are known on any machine.

``python -m benchmarks.attention_report`` prints them as tables.
"""
