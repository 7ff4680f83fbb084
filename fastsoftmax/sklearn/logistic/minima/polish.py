"""The last digits of a fit with l1, where L-BFGS-B cannot tell values apart any more: Newton's method on the
coefficients that are not 0 and keep their signs, where the objective is smooth."""

from __future__ import annotations

import numpy as np

from ..objective import Logistic

# Most coefficients; each takes a pass. And most steps.
MOST, STEPS = 200, 4


def polished(model: Logistic, theta: np.ndarray, l1: float, tol: float) -> tuple[np.ndarray, float]:
    """Theta whose slope is at most ``tol``, or as near to it as rounding allows, and that slope."""

    def gradient(theta: np.ndarray) -> np.ndarray:
        return model.obj.value_and_grad(theta)[1]

    slope = model.slope(theta, gradient(theta), l1)
    for _ in range(STEPS):
        coef = np.atleast_2d(model.to_coef(theta))
        free = coef != 0
        free[:, model.obj.n_features :] = True
        if slope <= tol or free.sum() > MOST:
            break
        units = np.zeros((int(free.sum()), *coef.shape))
        units[:, free] = np.eye(len(units))
        H = [model.to_gradient(model.obj.hess_prod(theta, model.to_theta(unit)))[free] for unit in units]
        signs = np.sign(coef)
        signs[:, model.obj.n_features :] = 0.0
        downhill = -(model.to_gradient(gradient(theta)) + l1 * signs)[free]
        moved = coef.copy()
        moved[free] += np.linalg.lstsq(np.array(H), downhill, rcond=None)[0]
        there = model.to_theta(moved)
        found = model.slope(there, gradient(there), l1)
        if not found < slope or (np.sign(moved) != np.sign(coef))[:, : model.obj.n_features].any():
            break
        theta, slope = there, found
    return theta, slope
