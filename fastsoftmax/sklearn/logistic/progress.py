"""What is told of a fit's steps: scikit-learn's callbacks, and lines of text where it is verbose."""

from __future__ import annotations

import numpy as np

from ...solvers.result import Step
from ..callbacks import Tasks
from .call import Call
from .objective import Logistic


def wants_progress(call: Call) -> bool:
    """Whether anybody listens."""
    return call.verbose > 0 or call.has_callbacks


class Progress:
    """Tells of each step of the runs for one C.

    Attributes
    ----------
    wanted : bool
        Whether anybody listens.
    tasks : Tasks or None
        For the callbacks, if there are any.
    stopped : bool
        Whether a callback asked the fit to end.
    """

    def __init__(self, call: Call, model: Logistic) -> None:
        self._call, self._model = call, model
        self.tasks: Tasks | None = None
        if call.has_callbacks:
            weights = None if call.sample_weight is None else {"sample_weight": call.sample_weight}
            told = {"estimator": call.estimator, "X": call.X, "y": call.y, "metadata": weights}
            self.tasks = Tasks(call.callback_ctx, f"{call.solver}-iter", **told)
        self.wanted = wants_progress(call)
        self.stopped = False
        self._told = -1

    def __call__(self, step: Step, theta: np.ndarray) -> None:
        if not (step.iteration == 0 and self._told >= 0):  # a run that goes on from the last one begins where it ended
            self.tell(step.iteration, step.value, step.seconds, self._model.to_coef(theta))

    def tell(self, iteration: int, value: float, seconds: float, coef: np.ndarray) -> None:
        """Tell of a step. Raises StopIteration where a callback asks for it."""
        if self._told >= max(self._call.max_iter, 1):
            return  # scikit-learn has room for so many tasks
        self._told += 1
        if self._call.verbose > 0:
            print(f"iteration {self._told:5d}  objective {value:.8g}  {seconds:.2f} s")
        if self.tasks is not None and self.tasks.step(self._attributes(coef)):
            self.stopped = True
            raise StopIteration("asked by a callback")

    def close(self, theta: np.ndarray) -> None:
        """Nothing more will come; theta is the last."""
        self.close_at(self._model.to_coef(theta))

    def close_at(self, coef: np.ndarray) -> None:
        """The same, for coefficients with the intercept last."""
        if self.tasks is not None:
            self.tasks.close(self._attributes(coef))

    def _attributes(self, coef: np.ndarray) -> dict[str, np.ndarray]:
        coef = np.atleast_2d(coef).astype(self._call.X.dtype)
        if self._call.fit_intercept:
            return {"coef_": coef[:, :-1], "intercept_": coef[:, -1]}
        return {"coef_": coef, "intercept_": np.zeros(len(coef), coef.dtype)}
