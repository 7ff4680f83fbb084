"""Others that minimize the same objective. Each returns theta (n + 1, k), or None where it does not serve."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import scipy.optimize

from fastsoftmax import reference

from .problems import Case

Peer = Callable[[Case], np.ndarray | None]


def options_of(case: Case) -> dict[str, object]:
    return {"fit_intercept": True, "sample_weight": case.w, "l2": case.l2}


def value_of(case: Case, theta: np.ndarray) -> float:
    """The objective in longdouble."""
    w = None if case.w is None else case.w.astype(np.longdouble)
    X, wide = case.X.astype(np.longdouble), theta.astype(np.longdouble)
    value = reference.value_and_grad(X, case.y, wide, fit_intercept=True, sample_weight=w, l2=case.l2)[0]
    return float(value + case.l1 * np.sum(np.abs(wide[:-1])))


def scipy_trust_exact(case: Case) -> np.ndarray | None:
    """Exact Newton steps in float64 from the reference's products."""
    if case.l1 or not case.exists:
        return None
    shape = case.X.shape[1] + 1, case.k

    def fun(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad = reference.value_and_grad(case.X, case.y, flat.reshape(shape), **options_of(case))
        return value, grad.ravel()

    def hess(flat: np.ndarray) -> np.ndarray:
        unit, theta = np.eye(flat.size), flat.reshape(shape)
        product = [reference.hess_prod(case.X, theta, v.reshape(shape), **options_of(case)).ravel() for v in unit]
        return np.array(product) + 1e-14 * unit  # a shift of all classes alike has no curvature

    start = np.zeros(shape).ravel()
    found = scipy.optimize.minimize(fun, start, jac=True, hess=hess, method="trust-exact", options={"gtol": 1e-9})
    return found.x.reshape(shape)


def scikit_learn(case: Case) -> np.ndarray | None:
    """LogisticRegression: lbfgs, or saga where there is l1. Two classes have one row there, so C is twice as much."""
    from sklearn.linear_model import LogisticRegression

    if (case.l2 == 0 and case.l1 == 0) or (case.l1 and case.k == 2):
        return None
    strength = case.l2 + case.l1
    total = len(case.X) if case.w is None else case.w.sum()
    C = (2 if case.k == 2 else 1) / (strength * total)
    how = {"solver": "saga", "l1_ratio": case.l1 / strength} if case.l1 else {"solver": "lbfgs"}
    fitted = LogisticRegression(C=C, tol=1e-10, max_iter=20_000, **how)
    fitted.fit(case.X, case.y, case.w)
    theta = np.vstack([fitted.coef_.T, fitted.intercept_])
    return np.hstack([-theta / 2, theta / 2]) if case.k == 2 else theta


def statsmodels_mnlogit(case: Case) -> np.ndarray | None:
    """MNLogit by Newton's method: neither penalty nor weights, and columns that do not repeat each other."""
    if case.l1 or case.l2 or case.w is not None or not case.exists or case.kind in ("duplicated", "constant", "scales"):
        return None
    import statsmodels.api

    design = np.hstack([case.X, np.ones((len(case.X), 1))])
    found = statsmodels.api.MNLogit(case.y, design).fit(method="newton", maxiter=200, tol=1e-12, disp=0)
    return np.hstack([np.zeros((design.shape[1], 1)), np.asarray(found.params)])


PEERS: dict[str, Peer] = {"scipy": scipy_trust_exact, "scikit-learn": scikit_learn, "statsmodels": statsmodels_mnlogit}


def solved(name: str, case: Case) -> np.ndarray | None:
    """theta of a peer, finite; None where it does not serve, or could not do it."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            theta = PEERS[name](case)
        except (
            ImportError,
            np.linalg.LinAlgError,
            ValueError,
            OverflowError,
        ):  # of a singular matrix: no answer to compare
            return None
    return None if theta is None or not np.isfinite(theta).all() else theta
