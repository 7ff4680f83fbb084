"""The Cython wing: C++ kernels, built once for each instruction set."""
