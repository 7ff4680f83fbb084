"""scikit-learn's callbacks of `SoftmaxRegression`; those of `LogisticRegression` are in its own file."""

import numpy as np
import pytest
from estimators import VERSION, fit, iris

from fastsoftmax import SoftmaxRegression

pytestmark = pytest.mark.skipif(VERSION < (1, 9), reason="scikit-learn has callbacks since 1.9")


class Recorder:
    """Keeps what it is told, and the score and probabilities of the estimators that it gets."""

    def __init__(self, stop_after=None):
        self.told, self.scores, self.probabilities, self.stop_after = [], [], [], stop_after

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, fitted_estimator):
        self.told.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.told.append(f"end {context.task_name}")
        if fitted_estimator is not None:
            self.scores.append(fitted_estimator.score(X, y))
            self.probabilities.append(fitted_estimator.predict_proba(X))
        return len(self.scores) == self.stop_after


def recorded(recorder, **parameters):
    estimator = SoftmaxRegression(backend="numpy", n_threads=1, **parameters).set_callbacks(recorder)
    return estimator.fit(*iris())


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton_cg", "gradient_descent"])
def test_they_hear_of_every_step_and_get_its_model(solver):
    recorder = Recorder()
    fitted = recorded(recorder, solver=solver, tol=1e-2)
    tasks = [f"{what} step" for _ in range(fitted.n_iter_ + 1) for what in ("begin", "end")]
    assert recorder.told == ["setup", "begin fit", *tasks, "end fit", "teardown"]
    assert len(recorder.scores) == fitted.n_iter_ + 1
    np.testing.assert_array_equal(recorder.probabilities[-1], fitted.predict_proba(iris()[0]))


def test_the_fit_is_that_without_them():
    fitted = recorded(Recorder(), tol=1e-7)
    np.testing.assert_array_equal(fitted.coef_, fit(*iris()).coef_)
    assert not hasattr(fitted, "_callback_fit_ctx")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_one_may_end_the_fit():
    fitted = recorded(Recorder(stop_after=2))
    assert fitted.n_iter_ == 2 and "of scikit-learn" in fitted.result_.message


def test_they_are_torn_down_where_the_fit_raises():
    recorder = Recorder()
    with pytest.raises(ValueError, match="tol"):
        recorded(recorder, tol=-1.0)
    assert recorder.told[-1] == "teardown"
