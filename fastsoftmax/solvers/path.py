"""Regularisation paths: the same data, many strengths of the penalty.

The largest l2 comes first: its optimum is near zero and cheap, and each optimum is a start for the next, weaker
penalty. What does not depend on l2, the moments of X and the gradient at zero, is found once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import validation
from .result import Callback, Result, Run


def regularization_path(
    obj: Any,
    l2s: Iterable[float],
    *,
    solver: str = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    callback: Callback | None = None,
) -> list[Result]:
    """Minimise an objective for each of several l2, each from the optimum of the next larger one.

    Parameters
    ----------
    obj : Objective
        Its own ``l2`` is put back at the end.
    l2s : iterable of float
        Strengths of the penalty, in any order.
    solver, tol, max_iter, callback
        As in `minimize`, for each of them.

    Returns
    -------
    list of Result
        In the order of ``l2s``. ``n_passes`` are those of each run; the first (of the largest l2) has the pass for the
        Gram matrix too.

    Raises
    ------
    TypeError, ValueError
        As `minimize`, and for an l2 that is negative or not a number.

    Examples
    --------
    >>> import fastsoftmax
    >>> obj = fastsoftmax.Objective([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], fit_intercept=True)
    >>> [round(res.value, 3) for res in fastsoftmax.regularization_path(obj, [0.01, 1.0])]
    [0.589, 0.655]
    """
    from . import run_solver

    strengths = [validation.check_real(l2, "l2s") for l2 in l2s]
    results: dict[int, Result] = {}
    before, theta, own = None, np.zeros(obj.shape), obj.l2
    try:
        for i in sorted(range(len(strengths)), key=lambda i: -strengths[i]):
            obj.l2 = strengths[i]
            run = Run(obj, tol=tol, max_iter=max_iter, callback=callback, before=before)
            results[i] = run_solver(run, theta, solver)
            before, theta = run, results[i].theta
    finally:
        obj.l2 = own
    return [results[i] for i in range(len(strengths))]
