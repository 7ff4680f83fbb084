r"""The exact Hessian at one point: a metric in which steps have length 1, and a proof of how far the minimum is.

With theta = S phi the coordinates of the bound's metric (see `metric`) and H the Hessian there, phi = L^-T psi with
L L^T = H gives a curvature of 1 in every direction of psi: minus the gradient is Newton's step.

The proof. Along a step v the logits of row i move by x_i^T v, and the third derivative of logsumexp is at most the
range of that, largest minus least, times the second: the loss is generalised self-concordant (Bach, 2010,
"Self-concordant analysis for logistic regression", arXiv:0910.4627; Sun and Tran-Dinh, 2019, "Generalized
self-concordant functions", arXiv:1703.04599). With R a bound on the ranges, curvature changes by a factor e^R at most,

.. math:: f(\theta + v) \ge f(\theta) + \nabla^T v + \frac{e^{-R} + R - 1}{R^2} \|v\|_H^2,
          \qquad R \le \kappa \|v\|_H

and the least that the right side can be, over all lengths of v, is a bound on the minimum, if lambda =
\|\nabla\|_{H^{-1}} is below 1 / kappa:

.. math:: f(\theta) - \min f \le \frac{(1 - u) \log(1 - u) + u}{u^2} \lambda^2, \qquad u = \kappa \lambda

which is Newton's lambda^2 / 2 where u is small. It needs no penalty: with l2 = 0 it proves that there is a minimum.
No row is looked at for kappa: |x_i^T v_c - x_i^T v_d|^2 is at most (e_cd (x) x_i)^T H^-1 (e_cd (x) x_i) times
\|v\|_H^2, and that at most the largest \|x_i\|^2 in the coordinates of phi times the norm of H^-1's part for the pair.

At a point some steps on, the same H serves: the steps have their own R, and lambda and kappa grow by e^(R/2) at most.
That R is found by a walk over the rows, for the bound by kappa is some ten times too large.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from .hessian import Design, hessian

# Added to the diagonal where rounding leaves an eigenvalue below zero; the first that lets Cholesky pass.
RIDGES = (0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4)
# Rounding of an element of H, which is at most 1, in eps; and of a term of the gradient.
ROUNDING, ROUNDING_GRADIENT = 64.0, 4.0
# Logits moved further apart than this prove nothing, and exp of half of it is still finite.
MOST_APART = 1000.0
# A range of logits that hardly matters, so that the bound on it will do: proofs are e^NEAR times as large for it.
NEAR = 0.5


class HessianMetric:
    """S L^-T of this file's head, for the point ``theta``.

    Parameters
    ----------
    obj : Objective
    theta : ndarray
    design : Design
    """

    def __init__(self, obj: Any, theta: np.ndarray, design: Design) -> None:
        from scipy.linalg.lapack import dpotrf, dtrtrs

        self._solve = dtrtrs
        self.obj, self.theta, self.design, self.base = obj, theta, design, design.metric
        H = hessian(obj, theta, design)
        diagonal = np.einsum("ii->i", H)
        self.ridge = 0.0
        # Takes the mean over the classes out of each row.
        self._apart = np.eye(theta.shape[1]) - 1.0 / theta.shape[1]
        for ridge in RIDGES:
            diagonal += ridge
            self.ridge += ridge
            # H is symmetric: its transpose is in the order that LAPACK works in.
            self.factor, failed = dpotrf(H.T, lower=1)
            if not failed:
                break
        else:
            self.factor, self.ridge = np.eye(len(H)), np.inf

    def to_theta(self, psi: np.ndarray) -> np.ndarray:
        """S L^-T psi."""
        rows, k = self.theta.shape
        phi = self._solve(self.factor, psi.ravel(), lower=1, trans=1)[0]
        return self.base.to_theta(phi.reshape(k, rows).T)

    def to_phi_gradient(self, grad: np.ndarray) -> np.ndarray:
        """The gradient with respect to psi; of a shift of all classes alike, which the loss does not feel, 0."""
        inner = self._apart @ self.base.to_phi_gradient(grad).T
        out: np.ndarray = self._solve(self.factor, inner.ravel(), lower=1, overwrite_b=1)[0]
        return out.reshape(grad.shape)

    @cached_property
    def _inverse(self) -> tuple[float, float]:
        """The largest norm of a pair's part of H^-1, and the norm of H^-1: Frobenius, which is above the spectral."""
        from scipy.linalg.lapack import dpotri

        rows, k = self.theta.shape
        inverse = dpotri(self.factor, lower=1)[0]
        np.einsum("ii->i", inverse)[:] *= 0.5
        inverse += inverse.T.copy()
        C = inverse.reshape(k, rows, k, rows).transpose(0, 2, 1, 3)
        own, largest = np.einsum("ccij->cij", C), 0.0
        for c in range(1, k):
            pairs = own[c] + own[:c] - C[c, :c] - C[:c, c]
            largest = max(largest, float(np.einsum("dij,dij->d", pairs, pairs).max()))
        return math.sqrt(largest), float(np.linalg.norm(inverse))

    def gap(self, theta: np.ndarray, value: float, grad: np.ndarray, goal: float) -> float:
        """The value at theta is above the minimum by this at most.

        Infinity where that is not known, or where it is above ``goal`` for certain: then no row is looked at.
        """
        largest, norm = self._inverse
        # What is lost to rounding and to the ridge: H is above `share` of the matrix that was factored.
        share = 1.0 - norm * (self.ridge + ROUNDING * len(self.factor) * np.finfo(np.float64).eps)
        if not share > 0.5:
            return np.inf
        # A row's residual is at most sqrt(2 loss) long, and the mean of its squared length in phi 2 a feature.
        rounding = ROUNDING_GRADIENT * self.base.moments.eps * math.sqrt(4.0 * value * len(theta) * norm)
        decrement = (float(np.linalg.norm(self.to_phi_gradient(grad))) + rounding) / math.sqrt(share)
        kappa = math.sqrt(largest / share) * self.design.longest
        gap = 0.0
        if self.obj.l2 > 0:  # what the penalty has to say on a shift of all classes alike
            mean = theta[: len(self.base.scale)].mean(axis=1)
            gap += 0.5 * self.obj.l2 * theta.shape[1] * float(mean @ mean)
        if gap + largest_gain(decrement, kappa) > goal:
            return np.inf
        apart = 0.0 if theta is self.theta else self._range(theta - self.theta, kappa)
        if apart > MOST_APART:
            return np.inf
        grown = math.exp(0.5 * apart)
        return float(gap + largest_gain(grown * decrement, grown * kappa))

    def _range(self, step: np.ndarray, kappa: float) -> float:
        """A bound on the range of a row's logits along a step, found by a walk over the rows where it matters."""
        phi = self.base.coordinates(step)
        phi[self.design.left_out] = 0.0
        phi -= np.add.reduce(phi, axis=1, keepdims=True) / phi.shape[1]
        bound = kappa * float(np.linalg.norm(self.factor.T @ phi.T.ravel()))
        return bound if bound < NEAR else self.design.range(phi)


def largest_gain(decrement: float, kappa: float) -> float:
    """The bound of this file's head on what is left to gain; infinity where it needs a smaller decrement."""
    u = decrement * kappa
    if not u < 1.0:
        return np.inf
    if u < 1e-3:  # by its series, of which the next term is u^2 / 12
        return decrement**2 * (0.5 + u / 6.0 + u * u / 6.0)
    return float(decrement**2 * ((1.0 - u) * np.log1p(-u) + u) / u**2)
