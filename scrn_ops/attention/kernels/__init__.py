"""The attention in Triton. Importing this package imports triton.

``forward`` and ``backward`` are the launchers; the other modules are kernels, which know nothing
of torch.
"""
