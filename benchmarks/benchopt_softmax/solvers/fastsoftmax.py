"""`fastsoftmax.minimize`."""

import numpy as np
from benchopt import BaseSolver

import fastsoftmax


class Solver(BaseSolver):
    name = "fastsoftmax"
    requirements = ["pip::fastsoftmax"]
    sampling_strategy = "iteration"
    parameters = {"solver": ["auto", "lbfgs", "newton_cg"]}

    def set_objective(self, X, y, l2):
        self.problem = fastsoftmax.Objective(X, y, fit_intercept=True, l2=l2)
        self.theta = np.zeros(self.problem.shape)

    def run(self, n_iter):
        self.theta = np.zeros(self.problem.shape)
        if n_iter:
            self.theta = fastsoftmax.minimize(self.problem, solver=self.solver, tol=1e-12, max_iter=n_iter).theta

    def get_result(self):
        return {"theta": self.theta}
