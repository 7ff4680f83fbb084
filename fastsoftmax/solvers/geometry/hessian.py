r"""The Hessian at one theta: exact (`hessian`), or in the form of a metric with curvature weights (`metric_at`).

*Exact.* Per row the Hessian is (diag(z) - z z^T) (x) x x^T. Over all rows it consists of k (k - 1) / 2 weighted Gram
matrices, one for each pair of classes c and d, with the weights w z_c z_d: block (c, d) is minus that matrix, and block
(c, c) the sum of the matrices of all pairs with c. The kernels compute them in one fused sweep (200k x 54, k = 7: 0.32
s, NumPy 3.0 s) over rows in the coordinates of a metric, since badly scaled or correlated columns of X itself would
cost half of the digits. That is (n + 1)(k - 1) / 8 times the arithmetic of a loss and gradient: cheap where n k is at
most a few thousand.

*As a metric.* Where the exact Hessian is too costly, one Gram matrix stands for all classes. Each row weighs by its
mean curvature over k - 1 directions, sum_c z_c (1 - z_c) / (k - 1); the direction that moves all classes alike has
none. Böhning's bound takes 1/2 for every row, whereas rows that are classified without doubt have nearly no curvature.

Either reads X once and counts as one pass. For sparse X there is only the second, as a diagonal.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...objective.objective import Objective
from ...objective.problem import DesignMatrix, Problem, ProblemWithRows
from ..checkpoint.journal import Ask, directly
from .metric import CHOLESKY_MAX, Metric, Moments


def has_own_passes(obj: Problem) -> bool:
    """Whether the value that is minimized is the one whose Hessians sweeps compute. A subclass of `Objective`, or one
    whose passes are wrapped, may compute something that has another Hessian."""
    own = not isinstance(obj, Objective) or type(obj).value_and_grad is Objective.value_and_grad
    return own and "value_and_grad" not in vars(obj)


def metric_at(obj: ProblemWithRows, theta: np.ndarray, ask: Ask = directly) -> Metric:
    """The curvature metric: each row weighs by its mean curvature at theta."""
    diagonal = obj.sparse or obj.n_features > CHOLESKY_MAX
    second, first, total = ask("curvature", theta, lambda: obj.curvature_gram(theta, diagonal=diagonal))
    total = max(total, np.finfo(np.float64).tiny)
    # Diagonals are summed in float64 whatever X is.
    eps = float(np.finfo(np.float64 if diagonal else obj.dtype).eps)
    moments = Moments(second / total, first / total if obj.fit_intercept else None, eps)
    return Metric(moments, obj.l2, curvature=total)


@lru_cache(4)
def _pairs(k: int) -> tuple[np.ndarray, np.ndarray]:
    """The lower and the higher class of each pair, in the kernels' order."""
    low, high = np.triu_indices(k, 1)
    return low, high


class Design:
    """A metric with the rows of X in its coordinates, for all Hessians of a run.

    Attributes
    ----------
    rows : problem.DesignMatrix
        The design matrix.
    left_out : int ndarray
        Columns that S leaves out.
    """

    def __init__(self, obj: ProblemWithRows, metric: Metric) -> None:
        size, k = obj.shape
        self.metric, self.penalty, self.pairs = metric, metric.penalty(), _pairs(k)
        # Masks of a matrix: the upper triangle with the diagonal, which is what the kernels compute, and the rest.
        self.above = np.tri(size).T
        self.below = 1.0 - self.above
        self.left_out = np.flatnonzero(metric.scale == 0)
        self.rows: DesignMatrix = obj.design_matrix(metric.design, self.left_out)


def hessian(theta: np.ndarray, design: Design) -> np.ndarray:
    """The Hessian with respect to phi, theta = S phi, class by class: (k rows, k rows).

    The loss has no curvature along a shift of all classes alike. A curvature of 1 stands there instead, in place of
    the penalty's too, so that the matrix can be factored.
    """
    rows, k = theta.shape
    grams = design.rows.pair_grams(design.metric.coordinates(theta))
    grams *= design.above
    grams += grams.transpose(0, 2, 1) * design.below
    np.negative(grams, out=grams)
    H = np.zeros((k, rows, k, rows))
    blocks, (c, d) = H.transpose(0, 2, 1, 3), design.pairs
    blocks[c, d] = blocks[d, c] = grams
    np.subtract(design.penalty, np.add.reduce(blocks, axis=1), out=np.einsum("ccij->cij", blocks))
    diagonal = np.einsum("cjdj->jcd", H)
    diagonal += 1.0 / k
    return H.reshape(k * rows, k * rows)
