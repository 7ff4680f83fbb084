"""The Numba wing: kernels compiled for the host when they are first called."""
