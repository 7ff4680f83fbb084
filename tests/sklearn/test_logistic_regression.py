"""`LogisticRegression` beside scikit-learn's own: objectives, attributes, warnings, callbacks, what is handed over."""

import pickle

import numpy as np
import pytest
import sklearn.linear_model
from estimators import VERSION, alike, both, objective, penalty, quietly
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastsoftmax.sklearn import LogisticRegression, fit_log


@parametrize_with_checks([LogisticRegression()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def problem(k, dtype=np.float64, m=400):
    X, y = make_classification(m, 12, n_informative=8, n_classes=k, flip_y=0.1, random_state=k)
    return X.astype(dtype), y


# Solver, share of l1 in the penalty.
PENALTIES = [
    ("lbfgs", 0.0),
    ("newton-cg", 0.0),
    ("newton-cholesky", 0.0),
    ("sag", 0.0),
    ("saga", 0.0),
    ("lbfgs", None),
    ("saga", 1.0),
    ("saga", 0.3),
]


@pytest.mark.parametrize(("solver", "l1_ratio"), PENALTIES)
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_the_objective_is_theirs_or_lower(solver, l1_ratio, k, dtype, weighted, convert):
    X, y = problem(k, dtype)
    X, w = convert(X), np.random.default_rng(0).integers(0, 3, len(y)).astype(dtype) if weighted else None
    more = {"C": 0.3} if l1_ratio is not None else {}
    theirs, ours = both(
        LogisticRegression, X, y, w, solver=solver, max_iter=500, random_state=0, **more, **penalty(l1_ratio)
    )
    alike(theirs, ours)
    values = [objective(fitted, X, y, w, C=0.3, l1_ratio=l1_ratio) for fitted in (theirs, ours)]
    # float32 coefficients are rounded, which moves the objective by eps times the sum of its terms' sizes.
    assert values[1] <= values[0] * (1 + (1e-6 if dtype == np.float64 else 3e-6))


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("l1_ratio", "dual"), [(0.0, False), (0.0, True), (1.0, False)])
def test_liblinear_penalizes_the_intercept(fit_intercept, l1_ratio, dual):
    X, y = problem(2, m=6000)
    given = {"solver": "liblinear", "dual": dual, "C": 0.01, "intercept_scaling": 2.0, "max_iter": 1000}
    theirs, ours = both(LogisticRegression, X, y, fit_intercept=fit_intercept, **given, **penalty(l1_ratio))
    alike(theirs, ours)
    column = 2.0 if fit_intercept else None
    values = [objective(fitted, X, y, C=0.01, l1_ratio=l1_ratio, column=column) for fitted in (theirs, ours)]
    assert values[1] <= values[0] * (1 + 1e-6)
    assert values[1] >= values[0] * (1 - 1e-3)  # the same objective, not a lower one of another problem


@pytest.mark.parametrize("class_weight", ["balanced", {0: 2.0, 2: 0.5}])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_precise_fits_have_the_same_coefficients(class_weight, fit_intercept):
    X, y = load_iris(return_X_y=True)
    w = 1.0 + np.arange(len(y)) % 3
    given = {"class_weight": class_weight, "fit_intercept": fit_intercept, "solver": "newton-cholesky", "tol": 1e-10}
    theirs, ours = both(LogisticRegression, StandardScaler().fit_transform(X), y, w, **given)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=1e-6)


@pytest.mark.parametrize("labels", [["b", "a", "c"], [-7, 3, 11], [2.0, 1.0, 5.0], [True, False, False]])
def test_labels_of_any_kind(labels):
    X, y = load_iris(return_X_y=True)
    y = np.array(labels)[y]
    theirs, ours = both(LogisticRegression, X, y, max_iter=1000)
    alike(theirs, ours)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("tol", [1e-4, 1e-8])
@pytest.mark.parametrize("k", [2, 4])
def test_tol_bounds_the_gradient(tol, k):
    X, y = problem(k)
    X = X * 50.0  # a gradient of 1e-4 then takes more than a relative gap of 1e-6
    fitted = LogisticRegression(tol=tol, max_iter=1000).fit(X, y)
    residual = fitted.predict_proba(X) - np.eye(k)[y]
    residual = residual[:, 1:] if k == 2 else residual
    slope = (residual.T @ X + fitted.coef_) / len(y)
    assert np.abs(slope).max() <= 1.01 * tol and np.abs(residual.mean(axis=0)).max() <= 1.01 * tol


def test_max_iter_bounds_the_steps_and_warns():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    for max_iter in (0, 1, 5, 6):
        with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
            fitted = LogisticRegression(max_iter=max_iter, C=1e6).fit(X, y)
        assert fitted.n_iter_ == max_iter


@pytest.mark.parametrize("k", [2, 3])
def test_separable_classes_without_a_penalty_end_where_the_gradient_is_small(k):
    X = np.repeat(np.eye(3)[:k], 20, axis=0) + np.random.default_rng(0).normal(scale=0.01, size=(20 * k, 3))
    y = np.repeat(np.arange(k), 20)
    fitted = LogisticRegression(**penalty(None)).fit(X, y)
    theirs = quietly(sklearn.linear_model.LogisticRegression(**penalty(None)), X, y)
    assert np.isfinite(fitted.coef_).all() and fitted.score(X, y) == 1.0
    assert objective(fitted, X, y, l1_ratio=None) <= objective(theirs, X, y, l1_ratio=None)


def test_a_warm_start_goes_on_from_the_coefficients():
    X, y = problem(3)
    fitted = LogisticRegression(warm_start=True, max_iter=200).fit(X, y)
    first = fitted.n_iter_[0]
    assert fitted.fit(X, y).n_iter_[0] < first
    with pytest.raises(ValueError, match="Initialization coef is of shape"):
        fitted.fit(X[:, :5], y)


def test_errors_are_theirs():
    X, y = problem(3)
    bad = X.copy()
    bad[3, 2] = np.nan
    for given, message in [((bad, y), "contains NaN"), ((X, np.zeros(len(y))), "at least 2 classes")]:
        with pytest.raises(ValueError, match=message):
            LogisticRegression().fit(*given)
    with pytest.raises(ValueError, match="The 'C' parameter"):
        LogisticRegression(C=-1.0).fit(X, y)


def test_verbose_prints_steps(capsys):
    LogisticRegression(verbose=1).fit(*problem(2))
    assert capsys.readouterr().out.startswith("iteration     0  objective 0.69314718")


# ------------------------------------------------------------------------ what is handed over


def test_what_is_not_served_is_handed_over_and_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(fit_log, "_logged", set())
    X, y = problem(2)
    for _ in range(2):
        LogisticRegression(solver="liblinear").fit(X, y)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "LogisticRegression" in caplog.text and "liblinear" in caplog.text


@pytest.mark.parametrize(("solver", "max_iter", "m"), [("newton-cg", 1, 400), ("lbfgs", 0, 400), ("lbfgs", 4, 9000)])
def test_a_few_steps_are_theirs(solver, max_iter, m):
    X, y = problem(3, m=m)
    theirs, ours = both(LogisticRegression, X, y, solver=solver, max_iter=max_iter, random_state=0)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"])
@pytest.mark.parametrize("k", [2, 5])
def test_fits_that_max_iter_cuts_end_no_higher_than_theirs(solver, k):
    X, y = problem(k, m=3000)
    X = X * 10.0 ** np.linspace(-1, 1, 12)
    for max_iter in (5, 8, 15):
        theirs, ours = both(LogisticRegression, X, y, solver=solver, max_iter=max_iter, tol=1e-9, random_state=0)
        assert ours.n_iter_[0] <= max_iter
        assert objective(ours, X, y) <= objective(theirs, X, y) * (1 + 1e-6)


def test_weights_that_are_not_finite_are_theirs_to_judge():
    X, y = problem(3)
    given = {"class_weight": "balanced", "solver": "newton-cholesky"}
    w = np.where(y == 1, 0.0, 1.0)  # so that class 1 weighs infinity times 0
    with np.errstate(all="ignore"):
        theirs, ours = both(LogisticRegression, X, y, w, **given)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)


def test_a_run_that_rounding_ends_early_is_handed_over(monkeypatch):
    records = []
    monkeypatch.setattr(fit_log, "observers", [records.append])
    X, y = problem(2, np.float32)  # of whose columns two depend on the others
    quietly(LogisticRegression(**penalty(None)), X, y)
    quietly(LogisticRegression(**penalty(None)), X.astype(np.float64), y)
    assert [record.ran_on for record in records] == ["scikit-learn", "fastsoftmax"]
    assert "rounding" in records[0].reason


# ------------------------------------------------------------------------ an estimator of scikit-learn's


def test_a_fitted_estimator_holds_nothing_of_this_package():
    fitted = LogisticRegression().fit(*problem(3))
    assert isinstance(fitted, sklearn.linear_model.LogisticRegression)
    assert not any(type(value).__module__.startswith("fastsoftmax") for value in vars(fitted).values())
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.coef_, fitted.coef_)
    assert not hasattr(clone(fitted), "coef_")


def test_metadata_requests_are_theirs():
    ours, theirs = LogisticRegression(), sklearn.linear_model.LogisticRegression()
    assert ours.get_metadata_routing().fit.requests == theirs.get_metadata_routing().fit.requests
    with sklearn.config_context(enable_metadata_routing=True):
        assert ours.set_fit_request(sample_weight=True).get_metadata_routing().fit.requests == {"sample_weight": True}


# ------------------------------------------------------------------------ callbacks, since 1.9


class Recorder:
    """Counts what it is told of, and keeps the objective of the estimators that it gets."""

    def __init__(self, stop_after=None):
        self.told, self.losses, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.told.append(f"end {context.task_name}")
        if fitted_estimator is not None and context.task_name != "fit":
            self.losses.append(objective(fitted_estimator, X, y))
        return len(self.losses) == self.stop_after


needs_callbacks = pytest.mark.skipif(VERSION < (1, 9), reason="scikit-learn has callbacks since 1.9")


@needs_callbacks
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"])
@pytest.mark.parametrize("k", [2, 3])
def test_callbacks_hear_of_every_step(solver, k):
    recorder = Recorder()
    fitted = LogisticRegression(solver=solver).set_callbacks(recorder).fit(*problem(k))
    steps = fitted.n_iter_[0] + 1  # and the task of an iteration that never ran
    tasks = [f"{what} {solver}-iter" for _ in range(steps) for what in ("begin", "end")]
    assert recorder.told == ["setup", "begin fit", *tasks, "end fit", "teardown"]
    assert len(recorder.losses) == steps - 1 and recorder.losses[-1] == min(recorder.losses)
    assert recorder.losses[-1] == pytest.approx(objective(fitted, *problem(k)), rel=1e-14)


@needs_callbacks
def test_a_callback_may_end_the_fit():
    recorder = Recorder(stop_after=2)
    assert LogisticRegression().set_callbacks(recorder).fit(*problem(3)).n_iter_ == 2


@pytest.mark.parametrize("convert", [sparse.csr_array, sparse.csc_matrix])
def test_small_sparse_rows_have_the_coefficients_of_dense_ones(convert):
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(80, 6)) * (rng.random((80, 6)) < 0.4), np.arange(80) % 3
    one, other = LogisticRegression().fit(X, y), LogisticRegression().fit(convert(X), y)
    assert np.array_equal(one.coef_, other.coef_) and np.array_equal(one.intercept_, other.intercept_)


@pytest.mark.parametrize("solver", ["sag", "saga"])
def test_the_error_of_a_start_that_is_not_finite_is_theirs(solver):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), np.arange(50) % 2
    classifier = LogisticRegression(solver=solver, warm_start=True, random_state=0).fit(X, y)
    classifier.coef_[:] = np.nan
    with pytest.raises(ValueError, match="Floating-point under-/overflow"):
        classifier.fit(X, y)
