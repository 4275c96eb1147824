"""Numerical kernels: NumPy in, NumPy out. They never see a Tensor."""
