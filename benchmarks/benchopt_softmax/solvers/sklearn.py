"""scikit-learn's `LogisticRegression`."""

import warnings

import numpy as np
from benchopt import BaseSolver
from sklearn.linear_model import LogisticRegression


class Solver(BaseSolver):
    name = "sklearn"
    requirements = ["scikit-learn"]
    sampling_strategy = "iteration"
    parameters = {"solver": ["lbfgs", "newton-cg", "newton-cholesky"]}

    def set_objective(self, X, y, l2):
        self.X, self.y, self.k = X, y, int(y.max()) + 1
        # With two classes scikit-learn has one column of coefficients, and the penalty of half of ours.
        self.C = (2.0 if self.k == 2 else 1.0) / (len(X) * l2)

    def run(self, n_iter):
        self.theta = np.zeros((self.X.shape[1] + 1, self.k))
        if not n_iter:
            return
        model = LogisticRegression(C=self.C, solver=self.solver, tol=1e-14, max_iter=n_iter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            model.fit(self.X, self.y)
        theta = np.vstack([model.coef_.T, model.intercept_])
        self.theta = np.hstack([-theta / 2, theta / 2]) if self.k == 2 else theta

    def get_result(self):
        return {"theta": self.theta}
