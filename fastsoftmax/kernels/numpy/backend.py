"""The NumPy backend: the functions of `fastsoftmax.kernels.contract`, each by a pass of this wing.

It is there to check the other backends, and to run where none of them loads. Threads are those of NumPy's BLAS, so
``n_threads`` has no effect. Start reading at `passes/dense.py`.
"""

from __future__ import annotations

import numpy as np

from ..contract import Csr, Parameters, PassPlan, RowOutputs, Rows, Sums
from .passes import dense, models, sparse
from .passes.hessian import pair_grams

READS = "fd"
STRATEGIES: tuple[str, ...] = ("row-parallel", "feature-parallel")
WING = "numpy"
FLOAT32_SUMS = False


def isa() -> str:
    """What stands for an instruction set: NumPy chooses it."""
    return "NumPy's own"


def threading() -> str:
    """What the threads are."""
    return "BLAS"


def products(shape: tuple[int, int], strides: tuple[int, ...], dtype: np.dtype, plan: PassPlan, outputs: int) -> str:
    """BLAS, whatever the rows."""
    return "both products by NumPy's BLAS"


def value_and_grad(
    rows: Rows, params: Parameters, plan: PassPlan, sums: Sums, n_threads: int, outputs: RowOutputs | None = None
) -> None:
    """Loss and gradient."""
    if params.models > 1 or params.left_out is not None:
        models.value_and_grad(rows, params, plan, sums)
    else:
        dense.value_and_grad(rows, params, plan, sums, outputs)


def hess_prod(
    rows: Rows, params: Parameters, direction: Parameters, plan: PassPlan, sums: Sums, n_threads: int
) -> None:
    """Hessian product."""
    dense.hess_prod(rows, params, direction, plan, sums)


def gram(rows: Rows, plan: PassPlan, sums: Sums, n_threads: int) -> None:
    """Gram matrix, of sparse X its diagonal."""
    if isinstance(rows.X, Csr):
        sparse.gram_diagonal(rows, plan, sums)
    else:
        dense.gram(rows, plan, sums)


def hessian(rows: Rows, params: Parameters, plan: PassPlan, sums: Sums, n_threads: int) -> None:
    """Gram matrices of the pairs of classes."""
    pair_grams(rows, params, plan, sums)


def gradient(sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray, n_threads: int) -> tuple[bool, bool]:
    """Gradient from the sums of all slabs."""
    reduce_gradient = sparse.reduce_gradient if sums.by_feature else dense.reduce_gradient
    return reduce_gradient(sums, theta, l2, out)


def predict(
    rows: Rows, params: Parameters, plan: PassPlan, kind: str, out: np.ndarray, sums: Sums, n_threads: int
) -> None:
    """Predictions."""
    dense.predict(rows, params, plan, kind, out, sums)
