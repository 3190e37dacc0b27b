"""Depthwise units of large kernels: MSCA of SegNeXt, LKA of VAN, a convolution with its GELU."""
