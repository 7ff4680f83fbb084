"""Records of fits: who ran what, and why scikit-learn had to."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from fastsoftmax.sklearn import LogisticRegression, LogisticRegressionCV, fit_log
from fastsoftmax.sklearn.logistic_fit import fit_logistic


@pytest.fixture
def records(monkeypatch):
    found = []
    monkeypatch.setattr(fit_log, "observers", [found.append])
    return found


def test_a_fit_is_recorded(records):
    X, y = load_iris(return_X_y=True)
    LogisticRegression(max_iter=500).fit(X, y)
    (record,) = records
    assert (record.estimator, record.shape, record.n_classes) == ("LogisticRegression", (150, 4), 3)
    assert (record.ran_on, record.reason) == ("fastsoftmax", None) and record.seconds > 0


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_cross_validation_is_one_fit_handed_over_or_not(records):
    X, y = load_iris(return_X_y=True)
    X, y = X[:100], y[:100]
    for solver in ("lbfgs", "liblinear"):
        LogisticRegressionCV(Cs=2, cv=2, solver=solver, max_iter=500).fit(X, y)
    assert [record.ran_on for record in records] == ["fastsoftmax", "scikit-learn"]
    assert "liblinear" in records[1].reason


@pytest.mark.parametrize(
    ("X", "y", "shape", "error"),
    [
        (np.eye(3), np.ones(3), (3, 3), "ValueError: This solver needs samples of at least 2 classes"),
        ([[1.0], [2.0]], [0, 1, 1], (2, 1), "ValueError: Found input variables with inconsistent numbers of samples"),
        ([[1.0], [2.0, 3.0]], [0, 1], (), "ValueError: setting an array element"),
        (None, [0, 1], (), "ValueError: Expected 2D array"),
    ],
)
def test_a_fit_that_raises_is_recorded_with_its_error_and_not_logged(records, caplog, X, y, shape, error):
    with pytest.raises(ValueError, match=error.removeprefix("ValueError: ")):
        LogisticRegression().fit(X, y)
    (record,) = records
    assert (record.shape, record.n_classes, record.ran_on) == (shape, None, "neither")
    assert record.reason.startswith(error) and not caplog.records


def test_a_fit_that_is_interrupted_is_recorded(records):
    class Interrupted(LogisticRegression):
        def fit(self, X, y):
            return fit_logistic(self, X, y, host_fit=interrupt)

    def interrupt(estimator, X, y, sample_weight=None):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted().fit(np.eye(3), np.arange(3) % 2)
    assert records[0].reason.startswith("KeyboardInterrupt")


def test_classes_without_a_length_are_counted(records):
    class Classes:
        """Of the array API's standard, whose arrays have a shape alone."""

        shape, ndim = (2,), 1

    class Estimator(LogisticRegression):
        def fit(self, X, y):
            return fit_logistic(self, X, y, host_fit=fit_elsewhere)

    def fit_elsewhere(estimator, X, y, sample_weight=None):
        estimator.n_features_in_, estimator.classes_ = 3, Classes()

    Estimator().fit(np.eye(3), np.arange(3) % 2)
    (record,) = records
    assert (record.shape, record.n_classes, record.ran_on) == ((3, 3), 2, "scikit-learn")
