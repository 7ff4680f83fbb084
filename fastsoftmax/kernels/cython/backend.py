"""The Cython backend: the functions of `fastsoftmax.kernels.contract`, built for the best instruction set of this CPU.

Each build is an extension module of its own, made from the same source (``setup.py``) and picked at import. The
environment variable ``FASTSOFTMAX_ISA`` (v2, v3, v4 or generic) asks for one by name.
"""

from __future__ import annotations

import importlib
import importlib.util
import os

cpu = importlib.import_module(".cpu", __package__)

_LEVELS = ("v4", "v3", "v2", "generic")


def _pick() -> str:
    """The name of the build: the one asked for, or the best one there is."""
    best = cpu.level()
    runs = [isa for isa in _LEVELS if isa == "generic" or int(isa[1]) <= best]
    wanted = os.environ.get("FASTSOFTMAX_ISA", "")
    if not wanted:
        for isa in runs:
            if importlib.util.find_spec(f"{__package__}.kernels_{isa}"):
                return isa
        raise ImportError("no build of the Cython kernels runs on this processor")
    if wanted not in _LEVELS:
        raise ImportError(f"FASTSOFTMAX_ISA must be one of {', '.join(_LEVELS)}; got {wanted!r}")
    if wanted not in runs:
        raise ImportError(f"FASTSOFTMAX_ISA={wanted}: this processor offers x86-64-v{best} at most")
    return wanted


ISA = _pick()
_build = importlib.import_module(f".kernels_{ISA}", __package__)

READS = "".join(_build.SOURCE_TYPES)
STRATEGIES = ("row-parallel", "class-parallel", "feature-parallel")
WING = "cython"
FLOAT32_SUMS = True
products = _build.products
value_and_grad = _build.value_and_grad
hess_prod = _build.hess_prod
gram = _build.gram
hessian = _build.hessian
gradient = _build.gradient
predict = _build.predict


def isa() -> str:
    """The instruction set in use, as "x86-64-v4, 512-bit vectors"."""
    name = f"x86-64-{ISA}" if ISA.startswith("v") else ISA
    return f"{name}, {8 * _build.vector_bytes()}-bit vectors"


def threading() -> str:
    """ "OpenMP", or "none" in a build without it."""
    return "OpenMP" if _build.max_threads() else "none (built without OpenMP)"
