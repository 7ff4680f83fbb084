"""The NumPy backend: the functions of `fastsoftmax.kernels.contract`, each by a pass of this wing.

It is there to check the other backends, and to run where none of them loads. Threads are those of NumPy's BLAS, so
``n_threads`` has no effect. Start reading at `passes/dense.py`.
"""

from __future__ import annotations

import numpy as np

from ..contract import Parameters, PassPlan, RowOutputs, Rows, Sums
from .passes import dense, hessian, models, sparse

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


def dense_products(
    shape: tuple[int, int], strides: tuple[int, ...], dtype: np.dtype, plan: PassPlan, outputs: int
) -> str:
    """BLAS, whatever the rows."""
    return "both products by NumPy's BLAS"


def dense_value_and_grad(
    rows: Rows, params: Parameters, plan: PassPlan, sums: Sums, n_threads: int, outputs: RowOutputs | None = None
) -> None:
    """Loss and gradient."""
    if params.models > 1 or params.left_out is not None:
        models.value_and_grad(rows, params, plan, sums)
    else:
        dense.value_and_grad(rows, params, plan, sums, outputs)


def dense_hess_prod(
    rows: Rows, params: Parameters, direction: Parameters, plan: PassPlan, sums: Sums, n_threads: int
) -> None:
    """Hessian product."""
    dense.hess_prod(rows, params, direction, plan, sums)


def dense_gram(rows: Rows, plan: PassPlan, sums: Sums, n_threads: int) -> None:
    """Gram matrix."""
    dense.gram(rows, plan, sums)


def dense_hessian(rows: Rows, params: Parameters, plan: PassPlan, sums: Sums, n_threads: int) -> None:
    """Gram matrices of the pairs of classes."""
    hessian.pair_grams(rows, params, plan, sums)


def dense_gradient(sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray) -> bool:
    """Gradient from the sums of all slabs."""
    return dense.reduce_gradient(sums, theta, l2, out)


# Sparse rows take the same steps.
sparse_value_and_grad, sparse_hess_prod = dense_value_and_grad, dense_hess_prod


def sparse_gram_diagonal(rows: Rows, plan: PassPlan, sums: Sums, n_threads: int) -> None:
    """Sums of the columns of X and of their squares."""
    sparse.gram_diagonal(rows, plan, sums)


def sparse_gradient(
    sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray, n_threads: int
) -> tuple[bool, bool]:
    """Gradient from the sums of all slabs, of sparse X."""
    return sparse.reduce_gradient(sums, theta, l2, out)


def predict(
    rows: Rows, params: Parameters, plan: PassPlan, kind: str, out: np.ndarray, sums: Sums, n_threads: int
) -> None:
    """Predictions."""
    dense.predict(rows, params, plan, kind, out, sums)
