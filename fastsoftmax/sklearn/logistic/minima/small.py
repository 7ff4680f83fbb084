r"""Small problems: Newton's method on all parameters at once, in a few NumPy calls a step.

A fit of 1,000 x 20 takes scikit-learn 2.0 ms, half of it in checks that stay. What `solvers` does for each step costs
more than the arithmetic there: 0.1 ms of Python beside 0.01 ms of kernel. With few parameters the exact Hessian costs
next to nothing, Newton's method needs some six steps, and each is half a dozen calls here. Two classes have one row of
coefficients, as scikit-learn has them, and more have the full symmetric softmax.

Where a Hessian costs more than the rest of a step, one that brought the decrement down by `FALL` serves for the next
step too, corrected by what the gradients tell (BFGS): 4,000 x 60, k = 2, so takes one Hessian and 6 values instead of
4 and 5.

Columns are centered where there is an intercept. Where there are fewer rows than columns, the solution is X^T a: with
X X^T = L L^T, Cholesky, and w = X^T L^-T z, logits are L z and \|w\| = \|z\|, so that L stands for X.

A fit is over where no entry of scikit-learn's gradient is above tol and Newton's decrement says that the objective is
within `GAP` of its minimum. Whatever does not go smoothly (no convergence within `STEPS`, no descent, a Hessian that
has lost its digits) is left to `path`, which proves what it finds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dtrtrs

# Most operations of a Hessian, rows x parameters^2 and a third of parameters^3, of two classes and of more; and most
# numbers of X. Of 1,000 x 200, k = 2, a fit so takes 6.5 ms, and 15 by `path`; of 3,000 x 30, k = 3, 7.1 and 3.5 ms.
WORK_TWO, WORK, ENTRIES = 5e7, 6e6, 1 << 18
# Most steps, and most halvings of one.
STEPS, HALVINGS = 30, 8
# What Newton's decrement may predict before the last step, relative to the value, and what it may after it.
NEAR, GAP = 1e-6, 1e-9
# The Hessian is made anew where a step leaves more than this share of Newton's decrement, and always where it takes
# fewer operations than this, so that the smallest problems end at their last digits.
FALL, CHEAP = 0.5, 1e6
# Rounding of a value, relative, and the gain that a step must bring, as a share of what its slope promises.
ROUNDING, GAIN = 1e-14, 1e-4
# A pivot of Cholesky below this share of its diagonal has too few digits left.
PIVOT = 1e-9
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
    A : ndarray (m, r [+ 1])
        What logits are made of: X centered or L of this file's head, with a last column of ones for the intercept.
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
        c = np.zeros((self.targets.shape[1], self.A.shape[1])) if start is None else start
        value, G, P = self._at(c, l2)
        inverse: np.ndarray | None = None
        step, near, cheap = 0, False, len(self.A) * c.size**2 < CHEAP
        while not self._tell(told, step, value, c) and step < max_iter:
            if near and (found := self._minimum(c, G, value, l2, step)) and found.slope <= tol:
                return found
            if step == STEPS or (inverse is None and (inverse := _inverse(self._hessian(P, l2))) is None):
                return None
            g = G.ravel()
            along = -(inverse @ g)
            slope, length, before = float(along @ g), 1.0, value
            for _ in range(HALVINGS):
                there = c + length * along.reshape(c.shape)
                value, G, P = self._at(there, l2)
                if value <= before + GAIN * length * slope + ROUNDING * before:
                    break
                length *= 0.5
            else:
                return None
            if not value > LEAST:
                return None
            c, step = there, step + 1
            inverse = _corrected(inverse, length * along, G.ravel() - g)
            left = float(G.ravel() @ inverse @ G.ravel())
            near = -slope <= 2.0 * NEAR * value and left <= 2.0 * GAP * value
            if cheap or not left <= FALL * -slope:
                inverse = None
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
        n = c.shape[1] - self.bias
        value, D, P = self._loss(self.A @ c.T)
        G = D.T @ self.A
        penalized = c[:, :n]
        G[:, :n] += l2 * penalized
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

    def _hessian(self, P: np.ndarray, l2: float) -> np.ndarray:
        """The Hessian, class by class. A shift of all intercepts alike, along which it is 0, has a curvature there."""
        A, (m, r), k = self.A, self.A.shape, P.shape[1]
        n = r - self.bias
        if k == 1:
            B = A * np.sqrt(self.w * P * (1.0 - P))
            H: np.ndarray = B.T @ B
            np.einsum("ii->i", H)[:n] += l2
            return H
        A = A * np.sqrt(self.w)
        B = (P[:, :, None] * A[:, None, :]).reshape(m, k * r)
        H = B.T @ B
        np.negative(H, out=H)
        blocks = H.reshape(k, r, k, r)
        np.einsum("cicj->cij", blocks)[:] += (A.T @ B).reshape(r, k, r).transpose(1, 0, 2)
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


def _inverse(H: np.ndarray) -> np.ndarray | None:
    """The inverse of a Hessian; None where it has lost its digits."""
    factor, failed = dpotrf(H, lower=1, clean=0)
    if failed or not (factor.diagonal() ** 2 > PIVOT * H.diagonal()).all():
        return None
    lower = np.tril(dpotri(factor, lower=1, overwrite_c=1)[0])
    inverse: np.ndarray = lower + np.tril(lower, -1).T
    return inverse


def _corrected(inverse: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The inverse of a Hessian after a step and the change of the gradient along it, by the formula of BFGS."""
    curvature = float(step @ change)
    if not curvature > 0.0:
        return inverse
    there = inverse @ change
    half = (0.5 * (1.0 + float(change @ there) / curvature) * step - there) / curvature
    outer: np.ndarray = np.multiply.outer(step, half)
    corrected: np.ndarray = inverse + outer + outer.T
    return corrected


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
    shares = np.full((m, 1), 1.0 / m) if w is None else (w / counts.sum()).astype(np.float64)[:, None]
    if fit_intercept:
        inner = A
        A = np.empty((m, inner.shape[1] + 1))
        A[:, -1] = 1.0
        if m >= n:
            mean = shares[:, 0] @ X
        np.subtract(inner, 0.0 if mean is None else mean, out=A[:, :-1])
    targets = codes[:, None] == (np.ones(1) if k == 2 else np.arange(k))
    return Small(X, A, targets.astype(np.float64), shares, mean, factor, fit_intercept)
