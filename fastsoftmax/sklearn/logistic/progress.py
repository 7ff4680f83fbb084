"""What is told of a fit's steps: scikit-learn's callbacks (since 1.9), and lines of text where it is verbose."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...solvers.result import Step
from .call import Call
from .objective import Logistic


class Progress:
    """Tells of each step of the runs for one C.

    As scikit-learn's lbfgs does, each iteration is a task of its own: it begins with the coefficients at its start, and
    ends with those that it found. The last one that began ends as an empty task.

    Attributes
    ----------
    wanted : bool
        Whether anybody listens.
    stopped : bool
        Whether a callback asked the fit to end.
    """

    def __init__(self, call: Call, model: Logistic) -> None:
        self._call, self._model = call, model
        self._hooks = call.callback_ctx is not None and hasattr(call.estimator, "_skl_callbacks")
        self.wanted = self._hooks or call.verbose > 0
        self.stopped = False
        self._done = 0
        self._task: Any = None

    def __call__(self, step: Step, theta: np.ndarray) -> None:
        if step.iteration == 0 and self._task is not None:
            return  # a run that goes on from the last one begins where that ended
        if step.iteration > 0:
            self._done += 1
        if self._call.verbose > 0:
            print(f"iteration {self._done:5d}  objective {step.value:.8g}  {step.seconds:.2f} s")
        if not self._hooks:
            return
        self._next_task(self._attributes(theta))
        if self.stopped:
            raise StopIteration("asked by a callback")

    def close(self, theta: np.ndarray) -> None:
        """End the task of the iteration that never ran. As there, one task at least ran before it."""
        if self._task is None:
            return
        if self._done == 0:
            self._next_task(self._attributes(theta))
        self._task.call_on_fit_task_end(estimator=self._call.estimator)

    def _next_task(self, fitted: dict[str, np.ndarray]) -> None:
        """End the task of an iteration, if one has begun, and begin the next."""
        told = {**self._known(), "reconstruction_attributes": fitted}
        if self._task is not None:
            self.stopped = bool(self._task.call_on_fit_task_end(**told))
        self._task = self._call.callback_ctx.subcontext(task_name=f"{self._call.solver}-iter")
        self._task.call_on_fit_task_begin(**told)

    def _known(self) -> dict[str, Any]:
        call = self._call
        weights = None if call.sample_weight is None else {"sample_weight": call.sample_weight}
        return {"estimator": call.estimator, "X": call.X, "y": call.y, "metadata": weights}

    def _attributes(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        coef = np.atleast_2d(self._model.to_coef(theta)).astype(self._call.X.dtype)
        if self._call.fit_intercept:
            return {"coef_": coef[:, :-1], "intercept_": coef[:, -1]}
        return {"coef_": coef, "intercept_": np.zeros(len(coef), coef.dtype)}
