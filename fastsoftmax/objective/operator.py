"""The Hessian of an objective as SciPy's LinearOperator, for its iterative solvers of equations and eigenvalues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


def hess_operator(obj: Any, theta: np.ndarray) -> LinearOperator:
    """The Hessian of an `Objective` at a checked theta, which is copied: a solver may go on to change its own."""
    from scipy.sparse.linalg import LinearOperator  # 0.08 s, which only this needs

    at = theta.copy()

    def product(v: np.ndarray) -> np.ndarray:
        out: np.ndarray = obj.hess_prod(at, v.ravel())
        return out

    return LinearOperator((theta.size, theta.size), matvec=product, rmatvec=product, dtype=theta.dtype)
