"""Whether our answer and those of peers can both be right.

Nobody's value may be below ours by more than our tolerance. Parameters are compared where there is an l2 penalty: the
objective then grows by at least l2/2 |theta - minimum|^2 (bias aside), so that two points with gaps g and h are no
further apart than sqrt(2 g / l2) + sqrt(2 h / l2).
"""

from __future__ import annotations

import numpy as np

from fastsoftmax import Objective, minimize

from . import peers
from .problems import Case

TOL = 1e-8
# Of values in longdouble at parameters in float64: the sums of a few hundred terms.
ROUNDING = 1e-13


def check(case: Case, names: tuple[str, ...] = tuple(peers.PEERS)) -> tuple[str, ...]:
    """The peers that were compared; AssertionError where an answer of ours cannot be right."""
    obj = Objective(case.X, case.y, case.k, fit_intercept=True, sample_weight=case.w, l2=case.l2, n_threads=1)
    ours = minimize(obj, l1=case.l1, tol=TOL, max_iter=5000)
    value = peers.value_of(case, ours.theta)
    assert abs(value - ours.value) <= 1e-10 * max(value, 1.0), f"the value {value!r} is said to be {ours.value!r}"
    assert ours.converged == case.exists, f"exists: {case.exists}, converged: {ours.converged}, {ours.message}"
    answers = {name: theta for name in names if (theta := peers.solved(name, case)) is not None}
    values = {name: peers.value_of(case, theta) for name, theta in answers.items()}
    if not case.exists:
        return tuple(answers)
    least = min([value, *values.values()])
    slack = ROUNDING * max(1.0, value)
    assert value - least <= TOL * value + slack, f"ours {value!r}, and another has found {values}"
    if case.l2 > 0:
        _check_parameters(case, ours.theta, answers, {"ours": value, **values}, least - TOL * value - slack)
    return tuple(answers)


def _check_parameters(case: Case, ours: np.ndarray, answers: dict, values: dict, below: float) -> None:
    """``below`` is at most the minimum: every gap is at most the value less that."""
    for name, theta in answers.items():
        radius = sum(np.sqrt(2 * (values[of] - below) / case.l2) for of in ("ours", name))
        apart = np.linalg.norm(_centred(ours) - _centred(theta))
        assert apart <= radius, f"parameters of {name} are {apart:.3g} apart, at most {radius:.3g} is possible"


def _centred(theta: np.ndarray) -> np.ndarray:
    """Without the bias, and without the shift of all classes alike that the penalty makes zero."""
    return theta[:-1] - theta[:-1].mean(axis=1, keepdims=True)
