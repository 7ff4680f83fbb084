r"""The metric all solvers share: Böhning's bound on the Hessian, as a change of variable and as a measure.

Whatever theta is, the Hessian is at most (Böhning, 1992, "Multinomial logistic regression algorithm")

.. math:: M = \tfrac12 \frac{X^T W X}{\sum_i w_i} + l_2 \quad\text{for each class,}

so that one pass over X, for its Gram matrix, tells the scale and the correlation of its columns once
and for all. With S such that :math:`S^T M S = 1`, the problem in phi, theta = S phi, has curvature at
most 1 in every direction and does not care in which units the columns came.

S is found in three steps, each of which takes a difficulty away:

1. *Centre.* The bias absorbs any shift of a column: with columns centred, the bias row of M is apart from
   the others. A constant column is what is then zero, and takes no part unless the penalty moves it.
2. *Scale* each centred column to a diagonal of 1: scales from 1e-30 to 1e30 are now the same.
3. *Factor* what is left, a correlation matrix, by Cholesky, with a ridge of the size of its rounding errors, so
   that columns that nearly depend on each other do no harm. Without a penalty, those that wholly do are
   found by pivoting and left out. Beyond `CHOLESKY_MAX` features, and of sparse X, whose Gram matrix is
   dense, step 3 is omitted. Centring is then a product with the vector of means: no X is touched.

The inverse of the factor is kept beside it: S and its transpose are then plain products. Solving with the factor
instead took 0.25 ms for each of four small systems a step, a third of the time of a run on 50,000 x 10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...objective.reduce import blocks

# Cholesky and inverse, and two products a step: 2 n^3 / 3 and 4 n^2 k operations, two seconds and 30 ms at n = 4000.
CHOLESKY_MAX = 4000
# What rounding leaves of a variance that is zero, and of an eigenvalue of a correlation matrix, in units of
# eps times the second moment.
NOISE = 16.0
# Factors of the ridge until Cholesky succeeds.
RIDGES = tuple(10.0**power for power in range(0, 17, 2))
# Bytes of rows that are centred at a time, for a copy of them all takes new pages of memory: 5,000 x 10 take 87 us, and
# 430 at once.
DESIGN_BLOCK = 120 << 10
# ... and rows at least, since each piece is multiplied by a whole matrix: 5,000 x 2,000 take 2.6 s in pieces of 7.
DESIGN_ROWS = 256


@dataclass(frozen=True)
class Moments:
    """What one pass tells of X: the only things that the metric, the step 1/L and the gap bound need.

    Attributes
    ----------
    second : ndarray (n, n) or (n,)
        X^T W X / sum(w), or its diagonal.
    mean : ndarray (n,) or None
        Weighted means of the columns; None without an intercept.
    eps : float
        Rounding of one number of X.
    summed : float or None
        Rounding of the moments themselves, where it is not that.
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
        """What rounding may have made of a variance that is zero."""
        return NOISE * (self.eps if self.summed is None else self.summed) * self.diagonal

    @property
    def variance(self) -> np.ndarray:
        """Of each column, or its second moment without an intercept."""
        return self.diagonal if self.mean is None else np.maximum(self.diagonal - self.mean**2, 0.0)


def moments(obj: Any) -> Moments:
    """The moments of an objective's X, by one pass; the diagonal alone where X is sparse or wide."""
    source = getattr(obj, "source", None)
    bias = bool(getattr(obj, "fit_intercept", False))
    eps = float(np.finfo(np.float64 if source is None else source.dtype).eps)
    if is_sparse(obj) or (hasattr(obj, "gram_diagonal") and obj.shape[0] - bias > CHOLESKY_MAX):
        try:
            second, mean = obj.gram_diagonal()
        except FloatingPointError as error:
            raise FloatingPointError("the second moments of X overflow: X is too large to be scaled by them") from error
        summed = None if source is None else summed_in_float64(eps, source.shape[0])
        return Moments(second, mean if bias else None, eps, summed)
    gram = obj.gram()
    return Moments(gram[:-1, :-1], gram[-1, :-1], eps) if bias else Moments(gram, None, eps)


def summed_in_float64(eps: float, rows: int) -> float:
    """Rounding of moments whose squares, exact for float32, and sums are float64, one row after the other: the same
    number again and again is rounded the same way."""
    return min(eps, float(np.finfo(np.float64).eps) * (1.0 + rows))


def is_sparse(obj: Any) -> bool:
    """Whether an objective's X is sparse."""
    return bool(getattr(obj, "sparse", False))


class Metric:
    """S of this file's head, for one l2.

    Parameters
    ----------
    moments : Moments
    l2 : float
    curvature : float
        Factor of the Gram matrix: 1/2 for the bound, or the mean curvature of rows that weigh by theirs.
    diagonal : bool
        Leave step 3 out: S is then diagonal, but for the bias row.
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
        """Set S, the bias included, as the matrix ``whole``, and ``root``, the part of it that is the features'.

        With the centring in the matrix a gradient takes one product: of 33 parameters 1 us, with steps of its own 7.
        """
        n = len(root)
        if self.mean is None:
            self.whole = self.root = root
            return
        self.whole = np.zeros((n + 1, n + 1))
        self.whole[:n, :n], self.root = root, self.whole[:n, :n]
        self.whole[n, :n], self.whole[n, n] = -(self.mean @ root), 1.0 / math.sqrt(self.curvature)

    def hold(self, still: np.ndarray) -> None:
        """Leave these columns, a mask, out: their parameters stay as they are."""
        self.scale[still] = 0.0
        if self.factor is not None:
            self.root[still] = 0.0
            self._join(self.root.copy())

    def _cholesky(self, second: np.ndarray, moving: np.ndarray, ridge: np.ndarray) -> np.ndarray:
        """Upper R with R^T R = the scaled bound; the ridge is raised until the factorisation succeeds."""
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
        """Take columns that others add up to out of the problem; their parameters stay as they are."""
        from scipy.linalg.lapack import dpstrf

        _, pivots, rank, _ = dpstrf(C, tol=len(C) * NOISE * np.finfo(np.float64).eps)
        self.scale[pivots[rank:] - 1] = 0.0

    def with_l2(self, l2: float) -> Metric:
        """The same curvature beside another penalty, which takes no pass over X."""
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
        self._features(self.centred(grad, out=out[:-1]), out=out[:-1])
        out[-1] = grad[-1] / math.sqrt(self.curvature)
        return out

    def size(self, grad: np.ndarray) -> float:
        """The norm of S^T grad."""
        if self.factor is not None:
            phi = self.to_phi_gradient(grad)
            return math.sqrt(np.vdot(phi, phi))
        total = 0.0 if self.mean is None else float(grad[-1] @ grad[-1]) / self.curvature
        for a, b in blocks(grad[: len(self.scale)]):
            piece = self._centred_rows(grad, a, b) * self.scale[a:b, None]
            total += float(np.einsum("jc,jc->", piece, piece))
        return math.sqrt(total)

    def precondition(self, grad: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """S S^T grad; in ``out`` if that is given and S is diagonal."""
        if self.factor is not None:
            return self.to_theta(self.to_phi_gradient(grad))
        out = np.empty(grad.shape) if out is None else out
        for a, b in blocks(out[: len(self.scale)]):
            np.multiply(self._centred_rows(grad, a, b), self.scale[a:b, None] ** 2, out=out[a:b])
        if self.mean is not None:
            out[-1] = grad[-1] / self.curvature - self.mean @ out[:-1]
        return out

    def _centred_rows(self, grad: np.ndarray, a: int, b: int) -> np.ndarray:
        """Rows a..b-1 of `centred`."""
        rows: np.ndarray = grad[a:b] if self.mean is None else grad[a:b] - self.mean[a:b, None] * grad[-1]
        return rows

    def centred(self, grad: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The feature rows of a gradient, as if the columns of X were centred."""
        if self.mean is None:
            return grad
        centred: np.ndarray = np.multiply(self.mean[:, None], grad[-1], out=out)
        np.subtract(grad[:-1], centred, out=centred)
        return centred

    def design(self, X: np.ndarray) -> np.ndarray:
        """X in the coordinates of phi, X_phi phi = X theta + bias: float64, the bias column last.

        Columns that S leaves out are there, centred and in their own units: logits need them, see `coordinates`.
        """
        n = len(self.scale)
        scale = np.where(self.scale > 0, self.scale, 1.0)
        root = None if self.factor is None else scale[:, None] * self.inverse
        out = np.empty((len(X), n if self.mean is None else n + 1))
        step = max(DESIGN_ROWS, DESIGN_BLOCK // (8 * n))
        centred = np.empty((min(step, len(X)), n))
        for a in range(0, len(X), step):
            piece, target = X[a : a + step], out[a : a + step, :n]
            rows = np.subtract(piece, 0.0 if self.mean is None else self.mean, out=centred[: len(piece)])
            if root is None:
                np.multiply(rows, scale, out=target)
            else:
                np.matmul(rows, root, out=target)
        if self.mean is not None:
            out[:, n] = 1.0 / math.sqrt(self.curvature)
        return out

    def coordinates(self, theta: np.ndarray) -> np.ndarray:
        """phi of theta, the inverse of `to_theta`; parameters of the columns that S leaves out stay as they are."""
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
        """l2 in the coordinates of phi: S^T l2 S, with zeros for the bias."""
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
