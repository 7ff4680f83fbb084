r"""The exact Hessian at one point: a metric in which Newton's step is minus the gradient, and a bound on the gap.

Let theta = S phi with S from `metric`, and H the Hessian with respect to phi. With phi = L^-T psi, L L^T = H, the
curvature is 1 in every direction of psi, so that minus the gradient is Newton's step.

*The bound.* Along a step v the logits of row i move by x_i^T v, and the third derivative of logsumexp is at most the
range of these moves, largest minus smallest, times the second: the loss is generalized self-concordant (Bach, 2010,
"Self-concordant analysis for logistic regression", arXiv:0910.4627; Sun and Tran-Dinh, 2019, "Generalized
self-concordant functions", arXiv:1703.04599). With R a bound on the ranges, curvature changes by a factor e^R at most,

.. math:: f(\theta + v) \ge f(\theta) + \nabla^T v + \frac{e^{-R} + R - 1}{R^2} \|v\|_H^2,
          \qquad R \le \kappa \|v\|_H

and the minimum of the right side over v is a lower bound on min f, if the Newton decrement lambda =
\|\nabla\|_{H^{-1}} is below 1 / kappa:

.. math:: f(\theta) - \min f \le \frac{(1 - u) \log(1 - u) + u}{u^2} \lambda^2, \qquad u = \kappa \lambda

which is close to Newton's lambda^2 / 2 where u is small. It needs no penalty: with l2 = 0 it proves that there is a
minimum. kappa takes no walk over the rows: |x_i^T v_c - x_i^T v_d|^2 is at most \|v\|_H^2 times
(e_cd (x) x_i)^T H^-1 (e_cd (x) x_i), and that is at most the largest \|x_i\|^2 in the coordinates of phi times the norm
of the part of H^-1 for the pair (c, d).

H may also be that of some of the rows: the others only add curvature. If the weights of these rows are larger than
among all rows, by at most 1 / s, the Hessian is at least s H, and only the ranges of these rows count.

At a point some steps further the same H serves: with R the range along these steps, lambda and kappa are larger by
e^(R/2) at most. That R takes a walk over the rows, since kappa's bound on it is some ten times too large.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from ...objective.problem import ProblemWithRows
from .hessian import Design, hessian

# Added to the diagonal, one after the other, until Cholesky succeeds: rounding may leave an eigenvalue below zero.
RIDGES = (0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4)
# Roundings, in eps, of an element of H, which is at most 1, and of a term of the gradient.
ROUNDING, ROUNDING_GRADIENT = 64.0, 4.0
# Beyond this range R there is no bound; e^(R/2) is still finite here.
RANGE_MAX = 1000.0
# Below this range R the bound by kappa is good enough: it makes the gap at most e^RANGE_SMALL times as large.
RANGE_SMALL = 0.5


class HessianMetric:
    """The change of variable theta = S L^-T psi of this file's head, from the Hessian at ``theta``. Takes a pass.

    Parameters
    ----------
    obj : Objective
        Of all rows, or of a subsample with an attribute ``share``, s of this file's head.
    theta : ndarray
    design : Design
        The rows in the coordinates of S.

    Attributes
    ----------
    factor : ndarray
        L, lower triangular.
    ridge : float
        What was added to the diagonal of H; infinite where Cholesky failed all the same, and then L is the identity.
    """

    def __init__(self, obj: ProblemWithRows, theta: np.ndarray, design: Design) -> None:
        from scipy.linalg.lapack import dpotrf, dtrtrs

        self._solve = dtrtrs
        self.obj, self.theta, self.design, self.base = obj, theta, design, design.metric
        H = hessian(theta, design)
        diagonal = np.einsum("ii->i", H)
        self.ridge = 0.0
        # A projection: it takes the mean over the classes out of a row of a theta or gradient.
        self._remove_class_mean = np.eye(theta.shape[1]) - 1.0 / theta.shape[1]
        for ridge in RIDGES:
            diagonal += ridge
            self.ridge += ridge
            # H is symmetric, and its transpose is in Fortran order, which LAPACK takes without a copy.
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
        """The gradient with respect to psi, without its part along shifts of all classes alike."""
        inner = self._remove_class_mean @ self.base.to_phi_gradient(grad).T
        out: np.ndarray = self._solve(self.factor, inner.ravel(), lower=1, overwrite_b=1)[0]
        return out.reshape(grad.shape)

    @cached_property
    def _inverse(self) -> tuple[float, float]:
        """The largest norm of the part of H^-1 for a pair of classes, and the norm of H^-1. Both are Frobenius norms,
        which are above the spectral ones."""
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
        """An upper bound on value - minimum at theta; infinity where there is none.

        Also infinity where it is sure to exceed ``goal``, to spare the walk over the rows.
        """
        largest, norm = self._inverse
        # The true Hessian is at least `share` times the matrix that was factored, with its rounding and its ridge.
        share = 1.0 - norm * (self.ridge + ROUNDING * len(self.factor) * np.finfo(np.float64).eps)
        if not share > 0.5:
            return np.inf
        share *= getattr(self.obj, "share", 1.0)
        # A row's residual has a norm of at most sqrt(2 loss), and in phi the mean of a row's squared norm is 2 for each
        # feature.
        rounding = ROUNDING_GRADIENT * self.base.moments.eps * math.sqrt(4.0 * value * len(theta) * norm)
        decrement = (float(np.linalg.norm(self.to_phi_gradient(grad))) + rounding) / math.sqrt(share)
        kappa = math.sqrt(largest / share) * self.design.rows.longest
        gap = 0.0
        if self.obj.l2 > 0:  # what the penalty can gain along a shift of all classes alike
            mean = theta[: len(self.base.scale)].mean(axis=1)
            gap += 0.5 * self.obj.l2 * theta.shape[1] * float(mean @ mean)
        if gap + largest_gain(decrement, kappa) > goal:
            return np.inf
        moved = 0.0 if theta is self.theta else self._range(theta - self.theta, kappa)
        if moved > RANGE_MAX:
            return np.inf
        grown = math.exp(0.5 * moved)
        return float(gap + largest_gain(grown * decrement, grown * kappa))

    def _range(self, step: np.ndarray, kappa: float) -> float:
        """R of this file's head for a step: the bound by kappa where that is small, else by a walk over the rows."""
        phi = self.base.coordinates(step)
        phi[self.design.left_out] = 0.0
        phi -= np.add.reduce(phi, axis=1, keepdims=True) / phi.shape[1]
        bound = kappa * float(np.linalg.norm(self.factor.T @ phi.T.ravel()))
        return bound if bound < RANGE_SMALL else self.design.rows.range(phi)


def largest_gain(decrement: float, kappa: float) -> float:
    """The bound of this file's head on f - min f; infinity where the decrement is not below 1 / kappa."""
    u = decrement * kappa
    if not u < 1.0:
        return np.inf
    if u < 1e-3:  # where the closed form cancels, a bound on its series 1/2 + u/6 + u^2/12 + ...
        return decrement**2 * (0.5 + u / 6.0 + u * u / 6.0)
    return float(decrement**2 * ((1.0 - u) * np.log1p(-u) + u) / u**2)
