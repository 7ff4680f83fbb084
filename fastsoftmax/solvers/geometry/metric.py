r"""The metric that all solvers share: Böhning's bound on the Hessian, as a change of variable and as a norm.

At every theta the Hessian is at most (Böhning, 1992, "Multinomial logistic regression algorithm")

.. math:: M = \tfrac12 \frac{X^T W X}{\sum_i w_i} + l_2 \quad\text{for each class,}

so that one pass over X, for its Gram matrix, tells the scale and the correlation of its columns once
and for all. With S such that :math:`S^T M S = 1`, the problem in phi, theta = S phi, has curvature at
most 1 in every direction and does not depend on the units of the columns.

S is computed in three steps, each of which removes a difficulty:

1. *Center.* The bias absorbs any shift of a column. With centered columns the bias's row of M is separate from the
   others. A constant column becomes zero, and takes no part unless the penalty moves its parameters.
2. *Scale* each centered column to a diagonal of 1: scales from 1e-30 to 1e30 become the same.
3. *Factor* the remaining correlation matrix by Cholesky, with a ridge of the size of its rounding errors against nearly
   dependent columns. Without a penalty, dependent columns are found by pivoting and left out. Beyond `CHOLESKY_MAX`
   features, and for sparse X, whose Gram matrix is dense, step 3 is omitted. Centering is then a product with the
   vector of means, and X itself is not changed.

The inverse of the factor is kept beside it, so that S and its transpose are plain products. Solving with the factor
instead took 0.25 ms for each of four small systems a step, a third of the time of a run on 50,000 x 10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ...objective.problem import Problem, has_rows
from ...objective.reduce import blocks
from ..checkpoint.journal import Ask, directly

# Most features with a full S. At n = 4000 Cholesky and inverse (2 n^3 / 3 operations) take two seconds, and the two
# products of a step (4 n^2 k operations) 30 ms.
CHOLESKY_MAX = 4000
# What rounding may make of a variance, or an eigenvalue of a correlation matrix, that is zero: in units of eps times
# the second moment.
NOISE = 16.0
# Factors on the ridge, tried one after the other until Cholesky succeeds.
RIDGES = tuple(10.0**power for power in range(0, 17, 2))
# Bytes of rows that `Metric.design` centers at a time: 5,000 x 10 take 87 us in such pieces, and 430 us in one, which
# needs new pages of memory.
DESIGN_BLOCK = 120 << 10
# ... but at least so many rows, since each piece is multiplied by a whole matrix: 5,000 x 2,000 take 2.6 s in pieces of
# 7 rows.
DESIGN_ROWS = 256


@dataclass(frozen=True)
class Moments:
    """First and second moments of X, from one pass: all that the metric, the step 1/L and the gap bound need of X.

    Attributes
    ----------
    second : ndarray (n, n) or (n,)
        X^T W X / sum(w), or its diagonal.
    mean : ndarray (n,) or None
        Weighted means of the columns; None without an intercept.
    eps : float
        Rounding of one number of X.
    summed : float or None
        Rounding of the moments, if it differs from ``eps``.
    """

    second: np.ndarray = field(repr=False)
    mean: np.ndarray | None = field(repr=False)
    eps: float
    summed: float | None = None

    @property
    def diagonal(self) -> np.ndarray:
        return self.second if self.second.ndim == 1 else np.diagonal(self.second)

    @property
    def noise(self) -> np.ndarray:
        """For each column, what rounding may have made of a variance that is zero."""
        return NOISE * (self.eps if self.summed is None else self.summed) * self.diagonal

    @property
    def variance(self) -> np.ndarray:
        """Variance of each column; its second moment where there is no intercept."""
        return self.diagonal if self.mean is None else np.maximum(self.diagonal - self.mean**2, 0.0)


def moments(obj: Problem, ask: Ask = directly) -> Moments:
    """The moments of an objective's X, by one pass; only the diagonal of ``second`` where X is sparse or wide."""
    bias = bool(obj.fit_intercept)
    eps = float(np.finfo(obj.dtype if has_rows(obj) else np.float64).eps)
    if has_rows(obj) and (obj.sparse or obj.n_features > CHOLESKY_MAX):
        try:
            second, mean = ask("gram", np.zeros(0), obj.gram_diagonal)
        except FloatingPointError as error:
            raise FloatingPointError("the second moments of X overflow: X is too large to be scaled by them") from error
        return Moments(second, mean if bias else None, eps, summed_in_float64(eps, obj.n_rows))
    (gram,) = ask("gram", np.zeros(0), lambda: (obj.gram(),))
    return Moments(gram[:-1, :-1], gram[-1, :-1], eps) if bias else Moments(gram, None, eps)


def summed_in_float64(eps: float, rows: int) -> float:
    """Rounding of moments that are summed in float64, one row after the other.

    Squares of float32 numbers are exact. The sum may be off by an eps for each row, as where a constant column adds the
    same number, which is rounded the same way every time.
    """
    return min(eps, float(np.finfo(np.float64).eps) * (1.0 + rows))


class Metric:
    """S of this file's head, for one l2.

    Parameters
    ----------
    moments : Moments
    l2 : float
    curvature : float
        Factor on the Gram matrix: 1/2 for Böhning's bound; for rows that weigh by their curvature, its weighted mean.
    diagonal : bool
        Omit step 3: S is then diagonal, except for the row of the bias.

    Attributes
    ----------
    scale : ndarray (n,)
        The diagonal scaling of step 2; 0 for columns that S leaves out.
    factor, inverse : ndarray (n, n), or None for the factor
        Upper Cholesky factor of step 3, and its inverse.
    """

    def __init__(self, moments: Moments, l2: float, *, curvature: float = 0.5, diagonal: bool = False) -> None:
        self.moments, self.mean, self.l2, self.curvature = moments, moments.mean, l2, curvature
        noise, variance = moments.noise, moments.variance
        moving = variance > noise
        bound = curvature * np.where(moving, variance, 0.0) + l2
        self.scale = np.divide(1.0, np.sqrt(bound), out=np.zeros_like(bound), where=bound > 0)
        self.factor: np.ndarray | None = None
        if moments.second.ndim == 2 and not diagonal:
            from scipy.linalg.lapack import dtrtri

            ridge = np.where(moving, noise, 0.0) * curvature * self.scale**2 + NOISE * moments.eps
            self.factor = self._cholesky(moments.second, moving, ridge)
            self.inverse = dtrtri(self.factor)[0]
            self._join(self.scale[:, None] * self.inverse)

    def _join(self, root: np.ndarray) -> None:
        """Set ``whole``, the matrix S with the bias, from ``root``, its part for the features.

        A gradient then takes one product, the centering included: 1 us for 33 parameters, and 7 us in separate steps.
        """
        n = len(root)
        if self.mean is None:
            self.whole = self.root = root
            return
        self.whole = np.zeros((n + 1, n + 1))
        self.whole[:n, :n], self.root = root, self.whole[:n, :n]
        self.whole[n, :n], self.whole[n, n] = -(self.mean @ root), 1.0 / math.sqrt(self.curvature)

    def hold(self, still: np.ndarray) -> None:
        """Leave out the columns of a mask: their parameters stay as they are."""
        self.scale[still] = 0.0
        if self.factor is not None:
            self.root[still] = 0.0
            self._join(self.root.copy())

    def _cholesky(self, second: np.ndarray, moving: np.ndarray, ridge: np.ndarray) -> np.ndarray:
        """Upper R with R^T R = the scaled bound; the ridge is raised until the factorization succeeds."""
        from scipy.linalg.lapack import dpotrf

        C = second if self.mean is None else second - np.multiply.outer(self.mean, self.mean)
        C = np.where(moving[:, None] & moving, self.curvature * C, 0.0) * self.scale[:, None] * self.scale
        if self.l2 == 0.0:
            self._drop_dependent(C)
            kept = self.scale > 0
            C = np.where(kept[:, None] & kept, C, 0.0)
        on = np.einsum("jj->j", C)
        diagonal = np.where(moving, on, 0.0) + self.l2 * self.scale**2 + (self.scale == 0)
        for more in RIDGES:
            on[:] = diagonal + np.minimum(more * ridge, 1.0)
            factor, failed = dpotrf(C)
            if not failed:
                return np.asarray(factor)
        return np.eye(len(C))

    def _drop_dependent(self, C: np.ndarray) -> None:
        """Leave out columns that are linear combinations of others; their parameters stay as they are."""
        from scipy.linalg.lapack import dpstrf

        _, pivots, rank, _ = dpstrf(C, tol=len(C) * NOISE * np.finfo(np.float64).eps)
        self.scale[pivots[rank:] - 1] = 0.0

    def with_l2(self, l2: float) -> Metric:
        """The metric of the same curvature with another l2. Takes no pass over X."""
        return Metric(self.moments, l2, curvature=self.curvature)

    def to_theta(self, phi: np.ndarray) -> np.ndarray:
        """S phi."""
        if self.mean is None:
            return self._features(phi)
        out = np.empty(phi.shape)
        top = self._features(phi[:-1], out=out[:-1])
        out[-1] = phi[-1] / math.sqrt(self.curvature) - self.mean @ top
        return out

    def to_phi_gradient(self, grad: np.ndarray) -> np.ndarray:
        """S^T grad: the gradient with respect to phi."""
        if self.factor is not None:
            phi: np.ndarray = np.dot(self.whole.T, grad)
            return phi
        if self.mean is None:
            return self._features(grad)
        out = np.empty(grad.shape)
        self._features(self.centered(grad, out=out[:-1]), out=out[:-1])
        out[-1] = grad[-1] / math.sqrt(self.curvature)
        return out

    def size(self, grad: np.ndarray) -> float:
        """The norm of S^T grad."""
        if self.factor is not None:
            phi = self.to_phi_gradient(grad)
            return math.sqrt(np.vdot(phi, phi))
        total = 0.0 if self.mean is None else float(grad[-1] @ grad[-1]) / self.curvature
        for a, b in blocks(grad[: len(self.scale)]):
            piece = self._centered_rows(grad, a, b) * self.scale[a:b, None]
            total += float(np.einsum("jc,jc->", piece, piece))
        return math.sqrt(total)

    def precondition(self, grad: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """S S^T grad; written to ``out`` if that is given and S is diagonal."""
        if self.factor is not None:
            return self.to_theta(self.to_phi_gradient(grad))
        out = np.empty(grad.shape) if out is None else out
        for a, b in blocks(out[: len(self.scale)]):
            np.multiply(self._centered_rows(grad, a, b), self.scale[a:b, None] ** 2, out=out[a:b])
        if self.mean is not None:
            out[-1] = grad[-1] / self.curvature - self.mean @ out[:-1]
        return out

    def _centered_rows(self, grad: np.ndarray, a: int, b: int) -> np.ndarray:
        """Rows a..b-1 of `centered`."""
        rows: np.ndarray = grad[a:b] if self.mean is None else grad[a:b] - self.mean[a:b, None] * grad[-1]
        return rows

    def centered(self, grad: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The feature rows of a gradient, as if the columns of X were centered."""
        if self.mean is None:
            return grad
        centered: np.ndarray = np.multiply(self.mean[:, None], grad[-1], out=out)
        np.subtract(grad[:-1], centered, out=centered)
        return centered

    def design(self, X: np.ndarray) -> np.ndarray:
        """X in the coordinates of phi, X_phi phi = X theta + bias: float64, the bias's column last.

        It includes the columns that S leaves out, centered and in their own units, since they contribute to logits.
        """
        n = len(self.scale)
        scale = np.where(self.scale > 0, self.scale, 1.0)
        root = None if self.factor is None else scale[:, None] * self.inverse
        out = np.empty((len(X), n if self.mean is None else n + 1))
        step = max(DESIGN_ROWS, DESIGN_BLOCK // (8 * n))
        centered = np.empty((min(step, len(X)), n))
        for a in range(0, len(X), step):
            piece, target = X[a : a + step], out[a : a + step, :n]
            rows = np.subtract(piece, 0.0 if self.mean is None else self.mean, out=centered[: len(piece)])
            if root is None:
                np.multiply(rows, scale, out=target)
            else:
                np.matmul(rows, root, out=target)
        if self.mean is not None:
            out[:, n] = 1.0 / math.sqrt(self.curvature)
        return out

    def coordinates(self, theta: np.ndarray) -> np.ndarray:
        """phi of theta, the inverse of `to_theta`. Parameters of columns that S leaves out are in their own units."""
        n = len(self.scale)
        phi = theta[:n] / np.where(self.scale > 0, self.scale, 1.0)[:, None]
        if self.factor is not None:
            phi = self.factor @ phi
        if self.mean is None:
            return phi
        out = np.empty(theta.shape)
        out[:n], out[n] = phi, (theta[n] + self.mean @ theta[:n]) * math.sqrt(self.curvature)
        return out

    def penalty(self) -> np.ndarray:
        """The penalty's matrix in the coordinates of phi: S^T l2 S, with zeros for the bias."""
        root = math.sqrt(self.l2) * (np.diag(self.scale) if self.factor is None else self.root)
        n = len(root)
        out = np.zeros((n, n) if self.mean is None else (n + 1, n + 1))
        out[:n, :n] = root.T @ root
        return out

    def _features(self, rows: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
        if self.factor is None:
            scaled: np.ndarray = np.multiply(self.scale[:, None], rows, out=out)
            return scaled
        out = np.matmul(self.root, rows, out=out)
        return out
