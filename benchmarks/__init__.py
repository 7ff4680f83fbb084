"""Benchmarks: fastsoftmax against its peers and against the machine, in one interleaved run.

``python -m benchmarks`` runs everything and writes ``benchmarks/README.md``;
``python -m benchmarks.compare --help`` is the small tool to tune kernels with.

The wheel carries this directory as ``fastsoftmax.benchmarks`` (one copy, a ``package_dir`` entry
in setup.py), so `fastsoftmax bench` runs the same code on a user's machine. Hence all imports
in here are relative, and nothing is read from the checkout.
"""
