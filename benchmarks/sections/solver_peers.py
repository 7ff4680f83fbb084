"""scikit-learn's solvers, watched: what the value of the objective was, and when.

The ``tol`` of a solver of scikit-learn decides where it ends, not how it gets there. So a single fit with a tiny tol
shows what fits with ever smaller ones would: the moment its value first is within a gap is when a fit with the best tol
for that gap would have ended. lbfgs, newton-cg and newton-cholesky see X only through ``LinearModelLoss``. During a
fit its methods are wrapped: they note time and value, count passes over X, and end the fit at a limit. saga does not
use that class; it is fitted again and again with a growing ``max_iter``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SOLVERS = ("lbfgs", "newton-cg", "newton-cholesky")
# Methods of LinearModelLoss that count as one pass over X (the Hessian matrix does, although it reads X more often).
_PASSES = ("loss", "loss_gradient", "gradient", "gradient_hessian", "gradient_hessian_product")


def available() -> tuple[str, ...]:
    """The solvers that can be watched: none where scikit-learn is missing or does not have that object."""
    try:
        from sklearn.linear_model._linear_loss import LinearModelLoss
    except ImportError:
        return ()
    return SOLVERS if all(hasattr(LinearModelLoss, name) for name in _PASSES) else ()


class LimitError(Exception):
    """Raised in a fit to end it."""


@dataclass
class Course:
    """What was seen of a fit.

    Attributes
    ----------
    limit, goal : float
        Seconds, and the value, at which the fit is ended.
    began : float
        Clock when it began.
    passes : int
        Passes over X so far.
    points : list of (seconds, passes, value)
        Each new lowest value.
    result : Result or None
        Of a fit of ours.
    """

    limit: float = float("inf")
    goal: float = -float("inf")
    began: float = field(default_factory=time.perf_counter)
    passes: int = 0
    points: list[tuple[float, int, float]] = field(default_factory=list)
    result: Any = None

    def count(self) -> None:
        self.passes += 1
        if time.perf_counter() - self.began > self.limit:
            raise LimitError

    def note(self, value: float) -> None:
        """Keep a new lowest value; end the fit at the goal."""
        if not self.points or value < self.points[-1][2]:
            self.points.append((time.perf_counter() - self.began, self.passes, value))
        if value <= self.goal:
            raise LimitError


@contextmanager
def watched(course: Course) -> Iterator[None]:
    """While this lasts, ``course`` sees what LinearModelLoss is asked and what it answers."""
    from sklearn.linear_model._linear_loss import LinearModelLoss

    kept = {name: getattr(LinearModelLoss, name) for name in _PASSES}

    def wrapped(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **options: Any) -> Any:
            course.count()
            out = own(self, *args, **options)
            if name == "loss":
                course.note(float(out))
            elif name == "loss_gradient":
                course.note(float(out[0]))
            elif name == "gradient_hessian_product":
                grad, product = out

                def counted(s: np.ndarray) -> Any:
                    course.count()
                    return product(s)

                return grad, counted
            return out

        return method

    try:
        for name, own in kept.items():
            setattr(LinearModelLoss, name, wrapped(name, own))
        yield
    finally:
        for name, own in kept.items():
            setattr(LinearModelLoss, name, own)


def fit(X: np.ndarray, y: np.ndarray, l2: float, solver: str, *, limit: float, goal: float) -> Course:
    """The course of a fit to ``goal``, or to the end, or to ``limit`` seconds."""
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression(C=C(X, y, l2), solver=solver, tol=1e-14, max_iter=10**6)
    course = Course(limit, goal)
    with watched(course), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            course.began = time.perf_counter()
            estimator.fit(X, y)
        except LimitError:
            pass
    return course


def C(X: np.ndarray, y: np.ndarray, l2: float) -> float:
    """The C with which scikit-learn's optimum is ours. With two classes it has one column of coefficients, we two."""
    return (2.0 if y.max() == 1 else 1.0) / (len(X) * l2)


def saga(
    X: np.ndarray, y: np.ndarray, l1: float, value: Callable[[np.ndarray], float], *, limit: float, goal: float
) -> list[dict[str, float]]:
    """Fits of saga with 1, 2, 4, ... passes until the goal or the limit; then some between the last two.

    ``value`` gets theta (n + 1, k). scikit-learn adds the absolute values of all coefficients over C: ours is
    l1 = 1 / (C m).
    """
    from sklearn.linear_model import LogisticRegression

    def one(count: int) -> dict[str, float]:
        options: dict[str, Any] = {"solver": "saga", "l1_ratio": 1.0, "tol": 1e-14, "max_iter": count}
        estimator = LogisticRegression(C=1.0 / (len(X) * l1), random_state=0, **options)
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, y)
        seconds = time.perf_counter() - began
        return {
            "passes": count,
            "seconds": seconds,
            "value": value(np.vstack([estimator.coef_.T, estimator.intercept_])),
        }

    out = [one(1)]
    while out[-1]["value"] > goal and 2.2 * out[-1]["seconds"] < limit:
        out.append(one(2 * int(out[-1]["passes"])))
    high = int(out[-1]["passes"])
    if out[-1]["value"] <= goal:
        low = high // 2
        for _ in range(3):
            middle = (low + high) // 2
            if middle in (low, high):
                break
            out.append(one(middle))
            low, high = (low, middle) if out[-1]["value"] <= goal else (middle, high)
    return sorted(out, key=lambda fit: fit["passes"])
