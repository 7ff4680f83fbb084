"""scikit-learn's callbacks, which it has since 1.9: a fit is a task, and each step of the solver is one within it.

As in scikit-learn's lbfgs, the task of a step begins with the coefficients at its start and ends with those that it
found. The last one that began ends as an empty task.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..solvers.checkpoint import Checkpoint
from ..solvers.geometry.centering import to_original
from ..solvers.minimize import check_options, minimize_from
from ..solvers.result import Callback, Result, Step
from ..solvers.run import Run

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """In the place of scikit-learn's before 1.9: there are no callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """In the place of scikit-learn's before 1.9."""
        return method


__all__ = ["CallbackSupportMixin", "Tasks", "minimize_telling", "with_callbacks"]


class Tasks:
    """The tasks of a fit's steps.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        That of the fit.
    name : str
        Of each task.
    **told
        What the callbacks get each time: estimator, X, y, metadata.
    """

    def __init__(self, context: Any, name: str, **told: Any) -> None:
        self._context, self._name, self._told = context, name, told
        self._task: Any = None
        self._count = 0

    def step(self, attributes: dict[str, Any]) -> bool:
        """End the task of the step that led to a model with these fitted attributes, and begin the next; whether a
        callback wants the fit to end."""
        stop = False
        if self._task is not None:
            stop = bool(self._task.call_on_fit_task_end(**self._told, reconstruction_attributes=attributes))
            self._count += 1
        self._task = self._context.subcontext(task_name=self._name)
        self._task.call_on_fit_task_begin(**self._told, reconstruction_attributes=attributes)
        return stop

    def close(self, attributes: dict[str, Any]) -> None:
        """End the task of the step that never ran. As there, one task at least ran before it."""
        if self._count == 0:
            self.step(attributes)
        self._task.call_on_fit_task_end(estimator=self._told["estimator"])


def minimize_telling(
    obj: Any,
    tell: Callable[[np.ndarray], bool],
    *,
    solver: str,
    l1: float,
    theta0: np.ndarray | None,
    tol: float,
    max_iter: int,
    callback: Callback | None,
    checkpoint: str | Path | Checkpoint | None = None,
) -> Result:
    """`minimize`, which also tells theta of the start and of each step; it ends where ``tell`` returns True."""
    check_options(solver, l1, tol, max_iter, callback)

    def telling(run: Run) -> Callback:
        def told(step: Step) -> None:
            stop = tell(to_original(run.obj, run.theta))
            if callback is not None:
                callback(step)
            if stop:
                raise StopIteration("of scikit-learn")

        return told

    start = np.zeros(obj.shape) if theta0 is None else theta0.astype(np.float64)
    options: dict[str, Any] = {"solver": solver, "l1": l1, "tol": tol, "max_iter": max_iter, "checkpoint": checkpoint}
    return minimize_from(obj, start, telling, **options)
