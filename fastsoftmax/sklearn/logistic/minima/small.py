r"""Small problems: Newton's method on all parameters at once, in a few NumPy calls a step.

A fit of 1,000 x 20 takes scikit-learn 2.0 ms, half of it in checks that stay. What `solvers` does for each step costs
more than the arithmetic there: 0.1 ms of Python beside 0.01 ms of kernel. With few parameters the exact Hessian costs
next to nothing, Newton's method needs some six steps, and each is half a dozen calls here. Two classes have one row of
coefficients, as scikit-learn has them, and more have the full symmetric softmax.

The first Hessian is the columns' products times a number, because at zero all classes are as likely. Where one costs
more than the rest of a step, it serves for later steps too, corrected by what the gradients tell (BFGS): 4,000 x 60,
k = 2, so takes two Hessians and 8 values in place of 4 and 5.

Columns are centered where there is an intercept and a mean lies far from zero. Where there are fewer rows than columns,
the solution is X^T a: with X X^T = L L^T, Cholesky, and w = X^T L^-T z, logits are L z and \|w\| = \|z\|, so that L
stands for X.

A fit is over where no entry of scikit-learn's gradient is above tol and Newton's decrement says that the objective is
within `GAP` of its minimum. Whatever does not go smoothly (no convergence within `STEPS`, no descent, a Hessian that
has lost its digits) is left to `path`, which proves what it finds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs

# Most operations of a Hessian, rows x parameters^2 and a third of parameters^3, of two classes and of more; and most
# numbers of X. A fit of 500 x 400, k = 2, so takes 12 ms, and 17 by `path`; of 3,000 x 30, k = 3, 7.1 and 3.5 ms.
WORK_TWO, WORK, ENTRIES = 2e8, 6e6, 1 << 18
# Most steps, and most halvings of one.
STEPS, HALVINGS = 30, 8
# What Newton's decrement may predict before the last step, relative to the value, and what it may after it; ten times
# as much where steps are dear.
NEAR, GAP = 1e-6, 1e-9
# The Hessian is made anew where a step leaves more than this share of Newton's decrement, and always where it takes
# fewer operations than this, so that the smallest problems end at their last digits. It serves for some steps a
# parameter, since a new one takes longer than these do: 300 x 800, k = 2, takes 7.1 ms in place of 9.4, 1,000 x 200 3.0
# in place of 3.3.
FALL, CHEAP, SERVES = 0.5, 1e6, 0.02
# Rounding of a value, relative, and the gain that a step must bring, as a share of what its slope promises.
ROUNDING, GAIN = 1e-14, 1e-4
# A pivot of Cholesky below this share of its diagonal has too few digits left, in float64 and in float32.
PIVOT, PIVOT_ROUGH = 1e-9, 1e-4
# Columns are centered where the squares of their means, each divided by the column's variance, have a larger sum: so
# many times smaller is the last pivot of Cholesky, which is that of the intercept.
FAR = 100.0
# Values below this have too few digits to be compared.
LEAST = 1e-8


Told = Callable[[int, float, np.ndarray], None]


@dataclass(frozen=True, eq=False)
class Minimum:
    """What `Small.minimum` returns.

    Attributes
    ----------
    coef : ndarray (1, n [+ 1]) or (k, n [+ 1])
        Coefficients with the intercept last; one row of two classes.
    c : ndarray
        The same in the coordinates of the steps.
    value : float
        Of the objective divided by C times the sum of the weights.
    slope : float
        The largest entry of its gradient: what scikit-learn's tol is compared to.
    n_iter : int
    """

    coef: np.ndarray
    c: np.ndarray
    value: float
    slope: float
    n_iter: int


@dataclass(frozen=True, eq=False)
class Small:
    """A problem in the form that steps work on.

    Attributes
    ----------
    X : ndarray (m, n)
    A : ndarray (m, r)
        What logits are made of: X, X centered, or L of this file's head.
    rough : ndarray (m, r)
        What Hessians are made of: A, or a copy in float32 where that saves time.
    gram : ndarray (r [+ 1], r [+ 1])
        Products of the columns of ``rough``, and of one of ones for the intercept, weighted by ``w``.
    targets : ndarray (m, 1) or (m, k)
        Of two classes whether a row is of the second; else one-hot.
    w : ndarray (m, 1)
        Weights, which sum to 1.
    mean : ndarray (n,) or None
        What was taken off the columns of X.
    factor : ndarray (m, m) or None
        L, where it stands for X.
    bias : bool
        Whether there is an intercept.
    """

    X: np.ndarray
    A: np.ndarray
    rough: np.ndarray
    gram: np.ndarray
    targets: np.ndarray
    w: np.ndarray
    mean: np.ndarray | None
    factor: np.ndarray | None
    bias: bool

    def minimum(
        self, l2: float, start: np.ndarray | None, tol: float, max_iter: int, told: Told | None = None
    ) -> Minimum | None:
        """The minimum, or what ``max_iter`` steps lead to; None where it did not go smoothly.

        ``start`` is the ``c`` of an earlier minimum, zeros for None. ``told`` is called with the number of each step,
        0 for the start, the value and the coefficients; raising StopIteration ends the steps.
        """
        if not l2 > 0.0:
            return None
        c = np.zeros((self.targets.shape[1], len(self.gram))) if start is None else start
        value, G, P = self._at(c, l2)
        metric: _Metric | None = None
        step, near, cheap = 0, False, len(self.A) * c.size**2 < CHEAP
        nearly, gap = (NEAR, GAP) if cheap else (10.0 * NEAR, 10.0 * GAP)
        while not self._tell(told, step, value, c) and step < max_iter:
            if near and (found := self._minimum(c, G, value, l2, step)) and found.slope <= tol:
                return found
            if metric is None:
                metric = self._metric(None if start is None and step == 0 else P, l2)
                if metric is None:
                    return None
                along = -metric.solve(G.ravel())
            g, length, before = G.ravel(), 1.0, value
            slope = float(along @ g)
            for _ in range(HALVINGS):
                there = c + length * along.reshape(c.shape)
                value, G, P = self._at(there, l2)
                if value <= before + GAIN * length * slope + ROUNDING * before:
                    break
                length *= 0.5
            else:
                return None
            if step == STEPS or not value > LEAST:
                return None
            c, step = there, step + 1
            metric.correct(length * along, G.ravel() - g)
            along = -metric.solve(G.ravel())
            left = -float(G.ravel() @ along)
            near = -slope <= 2.0 * nearly * value and left <= 2.0 * gap * value
            if cheap or (not left <= FALL * -slope and len(metric.pairs) >= SERVES * len(self.gram)):
                metric = None
        return self._minimum(c, G, value, l2, step)

    def _tell(self, told: Told | None, step: int, value: float, c: np.ndarray) -> bool:
        """Tell of a step; whether there should be no more."""
        if told is None:
            return False
        try:
            told(step, value, self._coef(c))
        except StopIteration:
            return True
        return False

    def _at(self, c: np.ndarray, l2: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and probabilities."""
        r = c.shape[1] - self.bias
        penalized = c[:, :r]
        value, D, P = self._loss(self.A @ penalized.T + c[:, r:].T if self.bias else self.A @ penalized.T)
        G = np.empty_like(c)
        np.matmul(D.T, self.A, out=G[:, :r])
        G[:, :r] += l2 * penalized
        G[:, r:] = D.sum(axis=0)[:, None]
        return value + 0.5 * l2 * float(np.einsum("ij,ij->", penalized, penalized)), G, P

    def _loss(self, Z: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The loss, its derivative with respect to logits, and probabilities, each (m, 1) or (m, k)."""
        T, w = self.targets, self.w
        if T.shape[1] == 1:
            e = np.exp(-np.abs(Z))
            P = np.where(Z < 0.0, e, 1.0) / (1.0 + e)
            losses = np.log(1.0 + e) + np.maximum(Z, 0.0) - T * Z
            return float(w[:, 0] @ losses[:, 0]), w * (P - T), P
        Z = Z - Z.max(axis=1, keepdims=True)
        P = np.exp(Z)
        total = P.sum(axis=1)
        P /= total[:, None]
        return float(w[:, 0] @ (np.log(total) - np.einsum("ij,ij->i", Z, T))), w * (P - T), P

    def _metric(self, P: np.ndarray | None, l2: float) -> _Metric | None:
        """The metric of a Hessian, at zero for None. It only has to be near, so that float32 will do if it can."""
        if self.rough is not self.A:
            found = _Metric.of(self._hessian(self.rough, P, l2), PIVOT_ROUGH)
            if found is not None:
                return found
        return _Metric.of(self._hessian(self.A, P, l2), PIVOT)

    def _hessian(self, A: np.ndarray, P: np.ndarray | None, l2: float) -> np.ndarray:
        """The Hessian by the columns of A, class by class; at zero, where all classes are as likely, for None.

        A shift of all intercepts alike, along which it is 0, has a curvature there.
        """
        k, r, m = self.targets.shape[1], len(self.gram), len(A)
        n = r - self.bias
        gram = self.gram if A is self.rough else _gram(A, self.w, self.bias)
        if k == 1:
            H: np.ndarray = 0.25 * gram if P is None else _gram(A, self.w * P * (1.0 - P), self.bias)
            np.einsum("ii->i", H)[:n] += l2
            return H
        if P is None:
            H = np.multiply.outer(np.eye(k) / k - 1.0 / k**2, gram).transpose(0, 2, 1, 3).reshape(k * r, k * r)
        else:
            A = _scaled(A, np.sqrt(self.w), self.bias)
            B = (P[:, :, None] * A[:, None, :]).reshape(m, k * r)
            H = B.T @ B
            np.negative(H, out=H)
            np.einsum("cicj->cij", H.reshape(k, r, k, r))[:] += (A.T @ B).reshape(r, k, r).transpose(1, 0, 2)
        blocks = H.reshape(k, r, k, r)
        np.einsum("cici->ci", blocks)[:, :n] += l2
        if self.bias:
            blocks[:, n, :, n] += 1.0 / k
        return H

    def _coef(self, c: np.ndarray) -> np.ndarray:
        """The coefficients with the intercept last, (1, n [+ 1]) or (k, n [+ 1])."""
        n = c.shape[1] - self.bias
        weights, bias = c[:, :n], c[:, n:]
        if self.factor is not None:
            weights = dtrtrs(self.factor, weights.T, lower=1, trans=1)[0].T @ self.X
        if self.mean is not None:
            bias = bias - (weights @ self.mean)[:, None]
        return np.hstack([weights, bias - bias.mean(axis=0) if len(c) > 1 else bias])

    def _minimum(self, c: np.ndarray, G: np.ndarray, value: float, l2: float, step: int) -> Minimum | None:
        """What is found at c, and the gradient with respect to the coefficients; None where rounding has its say."""
        n = c.shape[1] - self.bias
        coef, gradient = self._coef(c), G[:, :n]
        if self.factor is not None:
            weights = coef[:, : self.X.shape[1]]
            D = self._loss(self.X @ weights.T + (coef[:, -1:].T if self.bias else 0.0))[1]
            gradient = D.T @ self.X + l2 * weights
            # L may be so near to singular that this is another gradient than G.
            if float(np.vdot(gradient, gradient)) > float(np.vdot(G, G)) + 2.0 * GAP * l2 * value:
                return None
        if self.mean is not None:
            gradient = gradient + np.multiply.outer(G[:, n], self.mean)
        slope = max(float(np.abs(gradient).max(initial=0.0)), float(np.abs(G[:, n:]).max(initial=0.0)))
        return Minimum(coef, c, value, slope, step)


class _Metric:
    """The inverse of a Hessian: Cholesky's factor of it, and the steps since (L-BFGS's recursion, over all of them)."""

    def __init__(self, factor: np.ndarray) -> None:
        self._factor = factor
        self.pairs: list[tuple[np.ndarray, np.ndarray, float]] = []

    @classmethod
    def of(cls, H: np.ndarray, least: float) -> _Metric | None:
        """None where the Hessian has lost its digits: where a pivot is below that share of its diagonal."""
        factor, failed = dpotrf(H, lower=1, clean=0)
        if failed or not (factor.diagonal() ** 2 > least * H.diagonal()).all():
            return None
        return cls(factor)

    def correct(self, step: np.ndarray, change: np.ndarray) -> None:
        """By the change of the gradient along a step."""
        curvature = float(step @ change)
        if curvature > 0.0:
            self.pairs.append((step, change, curvature))

    def solve(self, gradient: np.ndarray) -> np.ndarray:
        """The inverse times a gradient."""
        left, shares = gradient.copy(), []
        for step, change, curvature in reversed(self.pairs):
            share = float(step @ left) / curvature
            left -= share * change
            shares.append(share)
        solution: np.ndarray = dpotrs(self._factor, left, lower=1, overwrite_b=1)[0]
        for (step, change, curvature), share in zip(self.pairs, reversed(shares), strict=True):
            solution += (share - float(change @ solution) / curvature) * step
        return solution


def _scaled(A: np.ndarray, scale: np.ndarray, bias: bool) -> np.ndarray:
    """The rows of A, and a column of ones for an intercept, each times a number."""
    scaled = np.empty((len(A), A.shape[1] + bias), A.dtype)
    np.multiply(A, scale.astype(A.dtype), out=scaled[:, : A.shape[1]])
    scaled[:, A.shape[1] :] = scale
    return scaled


def _gram(A: np.ndarray, w: np.ndarray | None, bias: bool) -> np.ndarray:
    """Products of the columns of A, and of one of ones for an intercept, weighted by w (m, 1), or by 1 / m for None."""
    if w is not None:
        B = _scaled(A, np.sqrt(w), bias)
        gram: np.ndarray = (B.T @ B).astype(np.float64)
        return gram
    m, r = A.shape
    gram = np.ones((r + bias, r + bias))
    np.divide(A.T @ A, m, out=gram[:r, :r])
    if bias:
        gram[r, :r] = gram[:r, r] = np.full(m, 1.0 / m, A.dtype) @ A
    return gram


def _far(gram: np.ndarray) -> bool:
    """Whether the columns of a gram matrix, all but the last, which is of ones, lie far from zero."""
    squares = gram[:-1, -1] ** 2
    variances = np.maximum(gram.diagonal()[:-1] - squares, squares / (2.0 * FAR))  # rounding leaves any number of 0
    return not float((squares / np.where(variances > 0.0, variances, 1.0)).sum()) <= FAR


def small(X: np.ndarray, codes: np.ndarray, k: int, w: np.ndarray | None, fit_intercept: bool) -> Small | None:
    """The problem in that form; None where it is not small, or has a class without weight, and so no minimum.

    Parameters
    ----------
    X : ndarray (m, n)
    codes : int ndarray (m,)
        Class numbers.
    k : int
        Classes.
    w : ndarray (m,) or None
        Weights of the rows.
    fit_intercept : bool
    """
    m, n = X.shape
    parameters = (min(m, n) + fit_intercept) * (1 if k == 2 else k)
    if m * parameters**2 + parameters**3 / 3 > (WORK_TWO if k == 2 else WORK) or X.size > ENTRIES:
        return None
    counts = np.bincount(codes, w, k)
    if not (counts > 0.0).all():
        return None
    X = np.ascontiguousarray(X, np.float64)
    mean = factor = None
    A = X
    if m < n:
        factor, failed = dpotrf(X @ X.T, lower=1)
        if failed or not (np.diagonal(factor) ** 2 > PIVOT * np.einsum("ij,ij->i", X, X)).all():
            return None
        A = factor
    shares = None if w is None else (w / counts.sum()).astype(np.float64)[:, None]
    costly = k == 2 and m * parameters**2 > CHEAP
    rough = A.astype(np.float32) if costly else A
    gram = _gram(rough, shares, fit_intercept)
    if fit_intercept and m >= n and _far(gram):
        mean = gram[:n, n].copy()
        A = X - mean
        rough = A.astype(np.float32) if costly else A
        gram = _gram(rough, shares, fit_intercept)
    targets = codes[:, None] == (np.ones(1) if k == 2 else np.arange(k))
    shares = np.full((m, 1), 1.0 / m) if shares is None else shares
    return Small(X, A, rough, gram, targets.astype(np.float64), shares, mean, factor, fit_intercept)
