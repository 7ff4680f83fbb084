"""The Numba backend: kernels that are compiled for the host at their first call, then cached on disk.

Here are the functions of the contract. `launch_dense.py` and `launch_sparse.py` turn a chunk of rows into the record
that compiled code is called with. Start reading at `passes/dense.py`: one worker's share of a pass, from the top down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..contract import Csr, Parameters, RowOutputs, Rows, Sums
from ..plan import Plan
from .block import job as jobs
from .block.convert import SOURCE_TYPES
from .block.reduce import gradient
from .launch_dense import products, run_dense
from .launch_sparse import run_sparse
from .microkernels.simd import host_features, vector_bytes

READS = "".join(SOURCE_TYPES)
STRATEGIES = ("row-parallel", "class-parallel", "feature-parallel")
WING = "numba"
FLOAT32_SUMS = True

__all__ = [
    "FLOAT32_SUMS",
    "READS",
    "STRATEGIES",
    "WING",
    "gradient",
    "gram",
    "hess_prod",
    "hessian",
    "isa",
    "predict",
    "products",
    "threading",
    "value_and_grad",
]


def isa() -> str:
    """Instruction set in use."""
    names = {64: "AVX-512", 32: "AVX2", 16: "SSE2"}
    return names[vector_bytes()] if "x86_64" in host_features() else f"{8 * vector_bytes()}-bit vectors"


def threading() -> str:
    """What the threads are."""
    return "Python threads"


def value_and_grad(
    rows: Rows, params: Parameters, plan: Plan, sums: Sums, n_threads: int, outputs: RowOutputs | None = None
) -> None:
    """Loss and gradient; see `fastsoftmax.kernels.contract`. Of theta in F order it makes a copy."""
    if not params.theta.flags.c_contiguous:
        params = replace(params, theta=np.ascontiguousarray(params.theta))
    task = jobs.VALUE if sums.grad is None else jobs.GRADIENT
    _pass_over(rows)(task, rows, plan, sums, n_threads, params, outputs=outputs)


def hess_prod(rows: Rows, params: Parameters, direction: Parameters, plan: Plan, sums: Sums, n_threads: int) -> None:
    """Hessian product; see `fastsoftmax.kernels.contract`."""
    _pass_over(rows)(jobs.HESSIAN, rows, plan, sums, n_threads, params, direction)


def gram(rows: Rows, plan: Plan, sums: Sums, n_threads: int) -> None:
    """Gram matrix, of sparse X its diagonal; see `fastsoftmax.kernels.contract`."""
    _pass_over(rows)(jobs.GRAM, rows, plan, sums, n_threads)


def hessian(rows: Rows, params: Parameters, plan: Plan, sums: Sums, n_threads: int) -> None:
    """Gram matrices of the pairs of classes; see `fastsoftmax.kernels.contract`."""
    run_dense(jobs.PAIRS, rows, plan, sums, n_threads, params)


def predict(rows: Rows, params: Parameters, plan: Plan, kind: str, out: np.ndarray, sums: Sums, n_threads: int) -> None:
    """Predictions; see `fastsoftmax.kernels.contract`."""
    _pass_over(rows)(jobs.PREDICTION_TASKS[kind], rows, plan, sums, n_threads, params, out=out)


def _pass_over(rows: Rows) -> Callable[..., None]:
    return run_sparse if isinstance(rows.X, Csr) else run_dense
