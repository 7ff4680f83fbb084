"""The Cython backend: the functions of `fastsoftmax.kernels.contract`, built for the best instruction set of this CPU.

Each build is an extension module of its own, made from the same source (``setup.py``) and picked at import. The build
v4 uses the matrix units of the processor as well, where it has any and the system permits it (`kernels.units`). The
environment variable ``FASTSOFTMAX_ISA`` asks for one by name: v2, v3, v4 or generic without matrix units, amx or
avx512_bf16 with these, or such a build with the twin of AMX, which is for tests, as in v3-twin.
"""

from __future__ import annotations

import importlib
import importlib.util
import os

cpu = importlib.import_module(".cpu", __package__)

_LEVELS = ("v4", "v3", "v2", "generic")
_UNITS = ("amx", "avx512_bf16")


def _pick() -> tuple[str, str]:
    """The names of the build and of its matrix units: those asked for, or the best there are."""
    best, units = cpu.level(), cpu.matrix_units()
    runs = [isa for isa in _LEVELS if isa == "generic" or int(isa[1]) <= best]
    wanted = os.environ.get("FASTSOFTMAX_ISA", "")
    if not wanted:
        for isa in runs:
            if importlib.util.find_spec(f"{__package__}.kernels_{isa}"):
                return isa, units if isa == "v4" else ""
        raise ImportError("no build of the Cython kernels runs on this processor")
    level, _, twin = wanted.partition("-")
    if wanted not in _UNITS and (level not in _LEVELS or twin not in ("", "twin")):
        raise ImportError(f"FASTSOFTMAX_ISA must be one of {', '.join((*_LEVELS, *_UNITS))}; got {wanted!r}")
    if wanted in _UNITS and wanted != units:
        raise ImportError(f"FASTSOFTMAX_ISA={wanted}: this processor offers {units or 'no matrix units'}")
    if wanted in _UNITS:
        return "v4", wanted
    if level not in runs:
        raise ImportError(f"FASTSOFTMAX_ISA={wanted}: this processor offers x86-64-v{best} at most")
    return level, twin


ISA, UNITS = _pick()
_build = importlib.import_module(f".kernels_{ISA}", __package__)
_build.use_units(UNITS)

READS = "".join(_build.SOURCE_TYPES)
use_units = _build.use_units  # others than `UNITS`, for benchmarks
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
    units = f", {UNITS}" if UNITS else ""
    return f"{name}, {8 * _build.vector_bytes()}-bit vectors{units}"


def threading() -> str:
    """ "OpenMP", or "none" in a build without it."""
    return "OpenMP" if _build.max_threads() else "none (built without OpenMP)"
