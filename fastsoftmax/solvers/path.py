"""Regularization paths: the same data with several strengths of the penalty.

The largest l2 comes first. Its optimum is near zero and cheap to find, and the weaker penalties profit from what it
found: where to start, and the curvature (see `warm_start`). What does not depend on l2, the moments of X and the
gradient at zero, is computed once. 60k x 784, k = 10, ten l2 from 1e-1 to 1e-6: 58 passes, in twice the time of the
smallest l2 alone. Other orders took more passes: 72 from the smallest up, 67 from both ends inwards. With all ten
models in one stacked pass (see `objective.stacked`) each would start from zero, and a pass would cost 7.2 to 7.9 passes
of one.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..data import validation
from ..objective.problem import Problem
from .minimize import blas_for, check_options, run_solver
from .result import Callback, Result
from .run import Run
from .warm_start import WarmStart


def regularization_path(
    obj: Problem,
    l2s: float | Iterable[float],
    *,
    l1: float | Iterable[float] = 0.0,
    solver: str = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    callback: Callback | None = None,
) -> list[Result]:
    """Minimize an objective for each of several penalties, each from a start that the optima of stronger ones give.

    Parameters
    ----------
    obj : Objective
        Its own ``l2`` is put back at the end.
    l2s : float or iterable of float
        Strengths of the penalty, in any order.
    l1 : float or iterable of float
        Strength of a penalty l1 sum |theta_jc| beside each l2: one for all, or one for each. Either of ``l2s`` and
        ``l1`` may be a number if the other is not. The elastic nets of glmnet, with its alpha and lambdas, are
        ``l2s=(1 - alpha) * lambdas, l1=alpha * lambdas``.
    solver, tol, max_iter, callback
        As in `minimize`, for each of them.

    Returns
    -------
    list of Result
        In the order of ``l2s`` or ``l1``. ``n_passes`` counts the passes of each run; that of the strongest penalty,
        which runs first, includes the pass for the Gram matrix.

    Raises
    ------
    TypeError, ValueError
        As `minimize`; for a strength that is negative or not a number, and where ``l1`` and ``l2s`` differ in number.

    Examples
    --------
    >>> import fastsoftmax
    >>> obj = fastsoftmax.Objective([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], fit_intercept=True)
    >>> [round(res.value, 3) for res in fastsoftmax.regularization_path(obj, [0.01, 1.0])]
    [0.589, 0.655]
    >>> [int((res.theta[:-1] == 0).sum()) for res in fastsoftmax.regularization_path(obj, 0.0, l1=[0.3, 0.1])]
    [2, 0]
    """
    penalties = _penalties(l2s, l1)
    for _, weight in penalties:
        check_options(solver, weight, tol, max_iter, callback)
    results: dict[int, Result] = {}
    warm_start, own = WarmStart(), obj.l2
    try:
        with blas_for(obj):
            for i in sorted(range(len(penalties)), key=lambda i: -sum(penalties[i])):
                obj.l2, weight = penalties[i]
                run = Run(obj, tol=tol, max_iter=max_iter, callback=callback, l1=weight, warm_start=warm_start)
                results[i] = run_solver(run, warm_start.start(run), solver)
                warm_start.keep(run)
    finally:
        obj.l2 = own
    return [results[i] for i in range(len(penalties))]


def _penalties(l2s: float | Iterable[float], l1: float | Iterable[float]) -> list[tuple[float, float]]:
    """(l2, l1) of each run, in the caller's order."""
    first, second = _strengths(l2s, "l2s"), _strengths(l1, "l1")
    if len(first) != len(second) and isinstance(l2s, Iterable) and isinstance(l1, Iterable):
        raise ValueError(f"l1 holds {len(second)} strengths and l2s {len(first)}; as many or one for all are wanted")
    count = len(first) if isinstance(l2s, Iterable) else len(second)
    first = first if isinstance(l2s, Iterable) else first * count
    second = second if isinstance(l1, Iterable) else second * count
    return list(zip(first, second, strict=True))


def _strengths(given: float | Iterable[float], name: str) -> list[float]:
    return [validation.check_real(value, name) for value in (given if isinstance(given, Iterable) else [given])]
