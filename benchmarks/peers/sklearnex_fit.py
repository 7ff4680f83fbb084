"""scikit-learn-intelex has no public loss and gradient, so whole fits are timed.

The time of an iteration is (time of a long fit - time of a short one) / (difference of their iterations). What every
fit does at its start, such as conversions and checks, cancels, to its advantage. An iteration of L-BFGS is one pass or
more.
"""

import time
import warnings

import numpy as np
from sklearnex.linear_model import LogisticRegression

from ..harness.timing import Milliseconds
from . import MissingError

SHORT, LONG = 2, 8
LARGEST = 2e10  # flops of a pass; beyond, its fits take minutes


def prepare(X, y, theta, n_threads):
    if 4.0 * X.size * theta.shape[1] > LARGEST:
        raise MissingError("whole fits take too long here")
    if len(np.unique(y)) < theta.shape[1]:
        raise MissingError("a class without rows, which a fit leaves out")

    def fit(iterations):
        # tol=0 keeps it from stopping; a penalty of next to nothing costs nothing.
        model = LogisticRegression(C=1e6, max_iter=iterations, tol=0.0, fit_intercept=False, n_jobs=n_threads)
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge, and that n_jobs is deprecated
            model.fit(X, y)
        return time.perf_counter() - begin, int(model.n_iter_[0])

    def run():
        short, few = fit(SHORT)
        long, many = fit(LONG)
        if many <= few:
            raise MissingError(f"its fit stopped after {many} iterations")
        return Milliseconds(1e3 * (long - short) / (many - few))

    return run
