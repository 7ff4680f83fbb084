"""The exact Hessian of dense X, as one Gram matrix for each pair of classes."""

from __future__ import annotations

import numpy as np

from .... import reference
from ...contract import Parameters, PassPlan, Rows, Sums
from .dense import quiet, slabs_of


@quiet
def pair_grams(rows: Rows, params: Parameters, plan: PassPlan, sums: Sums) -> None:
    """X^T diag(w z_c z_d) X for each pair of classes c < d."""
    assert sums.grad is not None
    n, k = params.theta.shape
    for p, a, b, X in slabs_of(rows, plan, k):
        Z = reference.softmax(reference.logits(X, params.theta, params.bias))
        weighted = Z if rows.w is None else Z * rows.w[a:b, None]
        pairs = sums.grad[p].reshape(-1, n, n)
        for q, (c, d) in enumerate(zip(*np.triu_indices(k, 1), strict=True)):
            pairs[q] += (X * (weighted[:, c] * Z[:, d])[:, None]).T @ X
