"""exp and log of the kernels in ulp: in float32 of every number of their domain, in float64 of many.

exp takes x <= 0, a logit less the largest one; log takes x >= 1, a sum of exponentials one of which is exp(0). The
truth is that of float64 for float32, and longdouble's for float64; the worst error in float64 is worked out again by
mpmath. An ulp is the distance of two numbers of the dtype in the binade of the truth. Where the truth is below the
smallest normal number, exp is to be 0 or that number.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mpmath
import numpy as np

from fastsoftmax.kernels import backends

from ...harness.records import Json, Say

Function = Callable[[np.ndarray], np.ndarray]

# Numbers at a time, and about so many random ones of each kind in float64.
CHUNK = 1 << 22
RANDOM = 1 << 22
# A quick run takes one of so many.
STRIDE = 4099
NAMES = ("exp", "log")
LEVELS = ("v4", "v3", "v2", "generic")


# ------------------------------------------------------------------------------------------------- implementations


def implementations() -> dict[str, Callable[[str, np.ndarray], np.ndarray]]:
    """By label: a function of a name and an array. Every build of the Cython kernels that runs here, Numba, NumPy."""
    found: dict[str, Callable[[str, np.ndarray], np.ndarray]] = {}
    wing = backends.select("cython")[1]
    for level in LEVELS[LEVELS.index(wing.ISA) :]:
        try:
            build = importlib.import_module(f"fastsoftmax.kernels.cython.kernels_{level}")
        except ImportError:
            continue
        found[f"Cython, {level}"] = build.apply
    try:
        found["Numba"] = _numba()
    except ImportError:
        pass
    return found | {"NumPy": lambda name, x: getattr(np, name)(x)}


def _numba() -> Callable[[str, np.ndarray], np.ndarray]:
    """The intrinsics of Numba's wing in a loop over whole vectors."""
    from numba import njit

    from fastsoftmax.kernels.numba.microkernels import math
    from fastsoftmax.kernels.numba.microkernels.memory import pointer
    from fastsoftmax.kernels.numba.microkernels.simd import load, store, vector_bytes

    def loop(function: Callable) -> Callable:
        @njit
        def run(x, out, count, step, like):
            for i in range(0, count, step):
                store(pointer(out, like), i, function(load(pointer(x, like), i)))

        return run

    loops = {name: loop(getattr(math, name)) for name in NAMES}

    def apply(name: str, x: np.ndarray) -> np.ndarray:
        lanes = vector_bytes() // x.itemsize
        padded = np.concatenate([x, np.ones(-len(x) % lanes, x.dtype)])
        out = np.empty_like(padded)
        loops[name](padded.ctypes.data, out.ctypes.data, len(padded), lanes, x.dtype.type(0))
        return out[: len(x)]

    return apply


# ------------------------------------------------------------------------------------------------------- arguments


def all_singles(name: str, stride: int = 1) -> Iterator[np.ndarray]:
    """Every float32 of the domain (or one of so many), in chunks: exp takes -0 to -inf, log 1 to the largest."""
    begin, end = (1 << 31, 0xFF800000 + 1) if name == "exp" else (0x3F800000, 0x7F800000)
    for first in range(begin, end, CHUNK * stride):
        yield np.arange(first, min(first + CHUNK * stride, end), stride, dtype=np.uint64).astype("u4").view("f4")


def some_doubles(name: str, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Random float64, evenly and by binade, and those about which the reduction of the argument changes its mind."""
    near = np.arange(-50, 51)
    if name == "exp":
        yield -708.5 * rng.random(count)
        yield -rng.random(count)
        yield -np.exp2(rng.uniform(-60, 9.5, count))
        # x is e ln2 + r with |r| <= ln2 / 2: between these it has another e, and about whole e the smallest r.
        yield _around(-np.arange(1, 2045) * (np.log(2) / 2), near)
        yield _around(np.array([-708.3964185322641]), np.arange(-5000, 5001))
        yield np.array([-0.0, -709.0, -745.2, -1e4, -1e308, -np.inf])
    else:
        yield 1 + rng.random(count)
        yield np.exp2(rng.uniform(0, 1023.99, count))
        yield 1 + np.exp2(rng.uniform(-52, 0, count))
        yield np.arange(1.0, min(count, 10**6) + 1)
        yield np.maximum(_around(np.sqrt(2.0) * np.exp2(np.arange(-1, 1023)), near), 1.0)
        yield np.maximum(_around(np.exp2(np.arange(0, 1024)), near), 1.0)


def _around(points: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """All that lie so many floating-point numbers from the points."""
    return (points.view("i8")[:, None] + steps).ravel().view("f8")


# ---------------------------------------------------------------------------------------------------------- errors


@dataclass
class Errors:
    """What has been found of one implementation: the worst error, where, and how many results are not the nearest."""

    ulp: float = 0.0
    at: float = 0.0
    count: int = 0
    not_nearest: int = 0

    def add(self, x: np.ndarray, got: np.ndarray, truth: np.ndarray) -> None:
        """Compare results with the truth in a wider type."""
        tiny = np.finfo(got.dtype).tiny
        error = np.abs(got - truth) / ulps(truth, got.dtype)
        small = truth < tiny
        if small.any():
            error[small & ((got == 0) | (got == tiny))] = 0.0
        error[np.isnan(error)] = np.inf
        worst = int(error.argmax())
        if error[worst] > self.ulp:
            self.ulp, self.at = float(error[worst]), float(x[worst])
        self.count += len(x)
        self.not_nearest += int(np.count_nonzero(error > 0.5))


def ulps(truth: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An ulp of the dtype at each number of the wider type: that of the smallest normal one for less, and for 0."""
    info = np.finfo(dtype)
    # frexp's fraction is in [1/2, 1). log(1) = 0 is exact, and wants any unit.
    exponent = np.frexp(np.maximum(truth, truth.dtype.type(info.tiny)))[1]
    return np.ldexp(truth.dtype.type(1), exponent - 1 - info.nmant)


def exact_ulp(name: str, x: float, got: float) -> float:
    """The error of a float64 in ulp by mpmath."""
    with mpmath.workdps(60):
        truth = getattr(mpmath, name)(mpmath.mpf(x))
        if truth < np.finfo("f8").tiny:
            return 0.0 if got in (0.0, np.finfo("f8").tiny) else float("inf")
        unit = mpmath.ldexp(1, int(mpmath.floor(mpmath.log(truth, 2))) - 52)
        return float(abs(mpmath.mpf(got) - truth) / unit)


def measure(name: str, dtype: str, quick: bool) -> Json:
    """The errors of all implementations of one function in one dtype."""
    functions = implementations()
    found = {label: Errors() for label in functions}
    if dtype == "float32":
        arguments = all_singles(name, STRIDE if quick else 1)
    else:
        arguments = some_doubles(name, RANDOM // STRIDE if quick else RANDOM, np.random.default_rng(0))
    wide = np.dtype(np.float64 if dtype == "float32" else np.longdouble)
    with np.errstate(under="ignore", invalid="ignore"):
        for x in arguments:
            truth = getattr(np, name)(x.astype(wide))
            for label, function in functions.items():
                found[label].add(x, function(name, x), truth)
        if dtype == "float64":
            for label, function in functions.items():
                e = found[label]
                e.ulp = exact_ulp(name, e.at, float(function(name, np.array([e.at]))[0])) if e.ulp else 0.0
    errors = {
        label: {"ulp": e.ulp, "at": e.at, "not_nearest": e.not_nearest / max(e.count, 1)} for label, e in found.items()
    }
    return {"function": name, "dtype": dtype, "count": max(e.count for e in found.values()), "errors": errors}


def run(quick: bool, say: Say) -> list[Json]:
    """The records of both functions in both dtypes."""
    records = [measure(name, dtype, quick) for name in NAMES for dtype in ("float32", "float64")]
    for r in records:
        ulp = ", ".join(f"{label} {e['ulp']:.3f}" for label, e in r["errors"].items())
        say(f"{r['function']} of {r['count']:,} {r['dtype']}, worst error in ulp: {ulp}")
    return records
