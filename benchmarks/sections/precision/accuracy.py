"""Errors of value and gradient by precision, against float64: on AMX where there is any, else on its twin in C++.

The twin rounds as AMX does, so that the figures are those of any processor that has it. It is slow, and is what
``FASTSOFTMAX_ISA=v4-twin`` asks for when the kernels are imported: in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np

from fastsoftmax import Objective
from fastsoftmax.kernels import backends, units

from ...harness.apart import own_modules
from ...harness.records import Json, Say

# Rows, features and classes: the second shows what many rows do, at a size that the twin can do.
SIZES = ((8_000, 128, 64), (400_000, 20, 8))
QUICK = ((600, 40, 16),)
KINDS = ("centred", "mean 5", "integers")


def make(kind: str, m: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X in float32, labels drawn from a model, and a theta near that model."""
    rng = np.random.default_rng(0)
    X, theta = rng.standard_normal((m, n)), rng.standard_normal((n, k)) / np.sqrt(n)
    if kind == "mean 5":
        X += 5
    if kind == "integers":
        X, theta = np.clip(np.round(50 * X + 128), 0, 255), theta / 50
    y = np.argmax(X @ theta + rng.gumbel(size=(m, k)), axis=1)
    return X.astype("f4"), y, (0.9 * theta + 0.1 * theta.std() * rng.standard_normal((n, k))).astype("f4")


def errors(kind: str, size: tuple[int, int, int]) -> Json:
    """Relative errors by precision; "float32" is the kernels without matrix units."""
    X, y, theta = make(kind, *size)
    kernels = backends.select("cython")[1]
    value, grad = Objective(X.astype("f8"), y, size[2], backend="cython").value_and_grad(theta.astype("f8"))
    found: Json = {}
    for name in ("float32", *units.PARTS):
        kernels.use_units("" if name == "float32" else kernels.UNITS)
        obj = Objective(X, y, size[2], backend="cython")
        obj.plan = replace(obj.plan, precision="exact" if name == "float32" else name)
        ours, gradient = obj.value_and_grad(theta.astype("f8"))
        off = np.linalg.norm(gradient - grad) / np.linalg.norm(grad)
        found[name] = {"value": abs(ours / value - 1), "grad": float(off)}
    kernels.use_units(kernels.UNITS)
    return {"kind": kind, "shape": "{:,} × {}, {}".format(*size), "errors": found}


def run(quick: bool, say: Say) -> list[Json]:
    """The records of all kinds and sizes."""
    kernels = backends.select("cython")[1]
    isa = "amx" if kernels.UNITS == "amx" else f"{kernels.ISA}-twin"
    environment = own_modules() | {"FASTSOFTMAX_ISA": isa}
    command = [sys.executable, "-m", __spec__.name, "quick" if quick else "full"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"accuracy: {done.stderr.strip()[-500:]}")
    records: list[Json] = json.loads(done.stdout)
    for r in records:
        say(f"{r['kind']}, {r['shape']}: " + ", ".join(f"{n} {e['grad']:.1e}" for n, e in r["errors"].items()))
    return records


if __name__ == "__main__":
    print(json.dumps([errors(k, size) for size in (QUICK if sys.argv[1] == "quick" else SIZES) for k in KINDS]))
