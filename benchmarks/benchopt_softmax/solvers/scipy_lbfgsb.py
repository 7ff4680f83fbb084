"""SciPy's L-BFGS-B on the formula in plain NumPy, as a user would write it."""

import numpy as np
from benchopt import BaseSolver
from scipy.optimize import minimize

from fastsoftmax import reference


class Solver(BaseSolver):
    name = "scipy"
    requirements = ["pip::fastsoftmax", "scipy"]
    sampling_strategy = "callback"

    def set_objective(self, X, y, l2):
        self.X, self.y, self.l2 = X.astype(np.float64), y, l2
        self.theta = np.zeros((X.shape[1] + 1, int(y.max()) + 1))

    def run(self, callback):
        self.theta = np.zeros_like(self.theta)

        def value_and_grad(flat):
            theta = flat.reshape(self.theta.shape)
            value, grad = reference.value_and_grad(self.X, self.y, theta, fit_intercept=True, l2=self.l2)
            return value, grad.ravel()

        def after(flat):
            self.theta = flat.reshape(self.theta.shape)
            if not callback():
                raise StopIteration

        callback()
        options = {"maxiter": 100_000, "maxfun": 1_000_000, "ftol": 0.0, "gtol": 0.0}
        minimize(value_and_grad, self.theta.ravel(), jac=True, method="L-BFGS-B", callback=after, options=options)

    def get_result(self):
        return {"theta": self.theta}
