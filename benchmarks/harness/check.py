r"""Is the answer right? Whatever is timed is first checked against loss and gradient in float64.

The tolerance is derived, not chosen. With random rounding errors a sum of m terms is off by about eps sqrt(m) times the
root mean square of its partial sums, in whatever order they are added; a logit is off by eps sqrt(n) |x| |theta|, and
the softmax passes that on. With a factor of 4 for the tail of the distribution (Higham and Mary, A new approach to
probabilistic rounding error analysis, SIAM J. Sci. Comput. 41, 2019) an element of the gradient may be off by

.. math:: 4 \, \epsilon \, (\sqrt m + \sqrt n (1 + |H|_{rms}) + 8) \; |x_{\cdot j}|_{rms} \, |d_{\cdot c}|_{rms}

In float64 this finds one row in millions that is lost or counted twice; in float32 one in some thousands, still far
less than a wrong formula or a wrong remainder of a loop does. Where X is sparse, a logit has as many terms as its row
has entries, and the sum of column j has m_j terms, its entries, with |d| <= 1: of the bounds by m and by m_j the
smaller holds. The error itself is saved and reported beside the times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cases import Problem, SparseCase

_BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class Truth:
    """The right answer, and what tolerances are made from.

    Attributes
    ----------
    value : float
    grad : ndarray (n, k)
    dx : ndarray (m, n) or None
    x_rms, d_rms : ndarray (n,) and (k,)
        Root mean square of the columns of X, and of the residual D = Z - Y.
    h_rms : float
        Root mean square of all logits.
    theta_norms : ndarray (n,)
        Norms of theta's rows.
    eps : float
        Machine epsilon of the dtype that is checked.
    m : int
    width : float
        Terms of a logit.
    terms : ndarray (n,) or None
        Entries of each column of X, where it is sparse.
    """

    value: float
    grad: np.ndarray
    dx: np.ndarray | None
    x_rms: np.ndarray
    d_rms: np.ndarray
    h_rms: float
    theta_norms: np.ndarray
    eps: float
    m: int
    width: float
    terms: np.ndarray | None = None

    @property
    def factor(self) -> float:
        """Relative tolerance of a sum over rows."""
        return self._factor(self.m)

    def _factor(self, terms: int) -> float:
        return float(4 * self.eps * (np.sqrt(terms) + np.sqrt(self.width) * (1 + self.h_rms) + 8))

    def error(self, value: float, grad: np.ndarray, dx: np.ndarray | None = None) -> float:
        """Largest error of value, gradient and dX in units of the tolerance; right is <= 1."""
        off = [abs(float(value) - self.value) / (self.factor * max(abs(self.value), self.h_rms))]
        allowed = self.factor * np.outer(self.x_rms, self.d_rms)
        if self.terms is not None:
            own = self.factor + 4 * self.eps * (np.sqrt(self.terms) - np.sqrt(self.m))
            np.minimum(allowed, (own * np.sqrt(self.terms / self.m) * self.x_rms)[:, None], out=allowed)
        off.append(_largest(grad, self.grad, allowed))
        if self.dx is not None:
            # dX_i = theta d_i / m is a sum over classes, and |d_i| <= sqrt(2).
            allowed = self._factor(len(self.d_rms)) * np.sqrt(2) * self.theta_norms / self.m
            off.append(_largest(dx, self.dx, allowed))
        return max(off) if np.isfinite(off).all() else float("inf")

    def relative(self, grad: np.ndarray) -> float:
        """Norm of the gradient's error over the gradient's norm."""
        off = np.asarray(grad, np.float64) - self.grad
        return float(np.linalg.norm(off) / np.linalg.norm(self.grad))


def _largest(given: np.ndarray | None, wanted: np.ndarray, allowed: np.ndarray) -> float:
    """Largest error over what is allowed; infinite for another shape."""
    if given is None or np.shape(given) != wanted.shape:
        return float("inf")
    off = np.abs(np.asarray(given, np.float64) - wanted)
    # The gradient of a column without entries must be exactly 0.
    return float(np.max(np.divide(off, allowed, out=np.where(off > 0, np.inf, 0.0), where=allowed > 0)))


def truth(problem: Problem) -> Truth:
    """Value and gradient in float64, by blocks of rows so that no m x k array is needed."""
    case, X, y = problem.case, problem.X, problem.y
    theta = problem.theta.astype(np.float64)
    sparse = isinstance(case, SparseCase)
    step = max(1, _BLOCK_BYTES // (8 * (case.k if sparse else max(case.n, case.k))))
    value, grad = 0.0, np.zeros((case.n, case.k))
    dx = np.empty((case.m, case.n)) if case.dx else None
    x_squares, d_squares, h_squares = np.zeros(case.n), np.zeros(case.k), 0.0
    for start in range(0, case.m, step):
        rows = slice(start, min(start + step, case.m))
        block = X[rows].astype(np.float64)
        H = block @ theta
        h_squares += np.sum(H * H)
        each = np.arange(len(H))
        own = H[each, y[rows]]
        top = H.max(axis=1)
        H -= top[:, None]
        np.exp(H, out=H)
        total = H.sum(axis=1)
        value += np.sum(top - own + np.log(total))
        H /= total[:, None]
        H[each, y[rows]] -= 1.0
        grad += block.T @ H
        x_squares += block.power(2).sum(axis=0) if sparse else np.einsum("ij,ij->j", block, block)
        d_squares += np.einsum("ij,ij->j", H, H)
        if dx is not None:
            dx[rows] = H @ theta.T / case.m
    m = case.m
    eps = float(np.finfo(case.compute_dtype).eps)
    h_rms = float(np.sqrt(h_squares / (m * case.k)))
    norms = np.linalg.norm(theta, axis=1)
    width = X.nnz / m if sparse else case.n
    terms = np.bincount(X.indices, minlength=case.n) if sparse else None
    rms = np.sqrt(x_squares / m), np.sqrt(d_squares / m)
    return Truth(value / m, grad / m, dx, *rms, h_rms, norms, eps, m, width, terms)
