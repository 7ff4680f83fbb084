"""The innermost loops, SIMD vectors as Numba values, and access to memory."""
