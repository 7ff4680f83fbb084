"""The value of softmax regression with a bias and an l2 penalty, and what else can be said of a theta."""

import numpy as np
from benchopt import BaseObjective

import fastsoftmax
from fastsoftmax import reference

# Rows on which the value is compared with the reference.
CHECKED = 1_000


class Objective(BaseObjective):
    name = "Softmax regression"
    min_benchopt_version = "1.6"
    requirements = ["pip::fastsoftmax"]
    sampling_strategy = "callback"
    parameters = {"l2": [1e-4, 1e-6]}

    def set_data(self, X, y):
        self.X, self.y, self.k = X, y, int(y.max()) + 1
        self.problem = fastsoftmax.Objective(X.astype(np.float64), y, self.k, fit_intercept=True, l2=self.l2)
        self._check()

    def _check(self):
        """Raise unless the value is that of the formula in plain NumPy, on some of the rows."""
        rows = np.arange(min(CHECKED, len(self.X)))
        X, y = self.X[rows].astype(np.float64), self.y[rows]
        scale = np.sqrt(X.shape[1] * np.maximum(np.mean(X * X, axis=0), 1e-300))
        theta = np.random.default_rng(0).standard_normal(self.problem.shape)
        theta[:-1] /= scale[:, None]
        ours = fastsoftmax.Objective(X, y, self.k, fit_intercept=True, l2=self.l2).value(theta)
        plain = reference.value_and_grad(X, y, theta, fit_intercept=True, l2=self.l2)[0]
        if not abs(ours - plain) <= 1e-10 * plain:
            raise ArithmeticError(f"the objective is {ours}, the formula in NumPy says {plain}")

    def evaluate_result(self, theta):
        value, grad = self.problem.value_and_grad(np.asarray(theta, np.float64).reshape(self.problem.shape))
        return {"value": value, "largest_gradient": float(np.abs(grad).max())}

    def get_one_result(self):
        return {"theta": np.zeros(self.problem.shape)}

    def get_objective(self):
        return {"X": self.X, "y": self.y, "l2": self.l2}
