"""The end of a segmentation model: upsampled cross-entropy and upsampled argmax.

``docs/classify.md`` has the formulas, the choice of the kernels and the figures.
"""
