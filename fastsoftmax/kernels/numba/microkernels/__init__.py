"""The innermost loops, and vectors as Numba values."""
