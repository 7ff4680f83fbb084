"""Benchmarks: fastsoftmax against its peers and against the machine, in one interleaved run.

    python -m benchmarks                          measure everything, write benchmarks/README.md
    python -m benchmarks.sections.compare --help  our backends side by side, to tune kernels with
    python -m benchmarks.revisions --help         did a change make anything slower?

harness/ holds how to measure, peers/ the other libraries, sections/ what is compared, report/ what is written about it.
races/ times solvers on any data, and benchopt_softmax/ is a benchmark for benchopt.

Wheels carry this folder as ``fastsoftmax.benchmarks`` (``package-dir`` in pyproject.toml), and `fastsoftmax bench` runs
it on a user's machine: all imports in here are relative, and nothing is read from the rest of the checkout.
"""
