"""Tensors: the fractal and its engine."""
