"""The 3x3 convolution of inference on a CPU, by Winograd's algorithm."""
