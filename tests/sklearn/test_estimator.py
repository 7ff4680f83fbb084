"""`SoftmaxRegression`: scikit-learn's own checks, warm starts, bad parameters, no copies of X."""

import importlib
import pickle
import sys
import tracemalloc

import joblib
import numpy as np
import pandas as pd
import pytest
from estimators import fit, iris
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastsoftmax
from fastsoftmax import Model, SoftmaxRegression

LOADED = [name for name, row in fastsoftmax.backends().items() if row["available"]]


# One thread: on a few dozen rows a second one only waits for its turn on a busy machine.
@parametrize_with_checks([SoftmaxRegression(backend=name, n_threads=1) for name in LOADED])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


# ----------------------------------------------------------------------- beside scikit-learn's own


@pytest.mark.parametrize("load", [load_iris, load_wine])
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_coefficients_are_logistic_regressions(backend, load, C):
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    theirs = LogisticRegression(C=C, tol=1e-8, max_iter=10_000).fit(X, y)
    ours = fit(X, y, l2=1 / (C * len(y)), tol=1e-9, backend=backend)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-5)
    assert ours.score(X, y) == theirs.score(X, y)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_two_classes_look_like_logistic_regression(fit_intercept):
    X, y = load_breast_cancer(return_X_y=True)
    X, w = StandardScaler().fit_transform(X), np.random.default_rng(0).random(len(y))
    theirs = LogisticRegression(C=0.5, tol=1e-10, solver="newton-cholesky", fit_intercept=fit_intercept).fit(X, y, w)
    ours = fit(X, y, w, l2=2 / (0.5 * w.sum()), tol=1e-12, fit_intercept=fit_intercept)
    assert ours.coef_.shape == theirs.coef_.shape == (1, 30) and ours.intercept_.shape == (1,)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=1e-5)
    H = ours.decision_function(X)
    np.testing.assert_allclose(H, theirs.decision_function(X), rtol=0, atol=1e-4)
    np.testing.assert_allclose(H, X @ ours.coef_[0] + ours.intercept_, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(ours.predict(X), (H > 0).astype(int))
    np.testing.assert_array_equal(ours.classes_, [0, 1])


# ------------------------------------------------------------------------------- what comes out


def test_attributes_and_shapes():
    X, y = iris()
    clf = fit(X, y)
    assert clf.coef_.shape == (3, 4) and clf.intercept_.shape == (3,) and clf.n_features_in_ == 4
    assert clf.n_iter_ == clf.result_.n_iter == len(clf.result_.history) - 1 > 0
    assert clf.result_.converged and isinstance(clf.model_, Model)
    np.testing.assert_array_equal(clf.model_.theta.T, clf.coef_)
    np.testing.assert_allclose(clf.decision_function(X), X @ clf.coef_.T + clf.intercept_, atol=1e-12)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), clf.predict_proba(X), atol=1e-14)
    assert not hasattr(clf, "feature_names_in_")


def test_without_intercept_the_bias_is_zero():
    clf = fit(*iris(), fit_intercept=False)
    np.testing.assert_array_equal(clf.intercept_, np.zeros(3))
    assert clf.model_.bias is None and clf.coef_.shape == (3, 4)


# ----------------------------------------------------------- parameters, warm starts, the running fit


def test_a_warm_start_needs_no_step_and_a_cold_one_many():
    X, y = iris()
    clf = fit(X, y, warm_start=True)
    steps, coef = clf.n_iter_, clf.coef_.copy()
    clf.fit(X, y)
    assert steps > 10 and clf.n_iter_ == 0
    np.testing.assert_array_equal(clf.coef_, coef)
    assert clf.set_params(warm_start=False).fit(X, y).n_iter_ == steps


@pytest.mark.parametrize("first", [False, True])
def test_a_warm_start_may_gain_or_lose_the_intercept(first):
    X, y = iris()
    clf = fit(X, y, warm_start=True, fit_intercept=first, tol=1e-10)
    clf.set_params(fit_intercept=not first).fit(X, y)
    np.testing.assert_allclose(clf.coef_, fit(X, y, fit_intercept=not first, tol=1e-10).coef_, atol=1e-3)


def test_a_warm_start_on_other_classes_or_features_is_an_error():
    X, y = iris()
    for other_X, other_y in [(X[:, :2], y), (X, y + 1), (X[50:], y[50:])]:
        with pytest.raises(ValueError, match="warm_start needs the classes and features of the previous fit"):
            fit(X, y, warm_start=True).fit(other_X, other_y)


def test_callback_and_verbose(capsys):
    seen = []
    clf = fit(*iris(), callback=seen.append, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert seen == clf.result_.history and len(lines) == len(seen)
    assert "iteration     0  value 1.0986123  gradient" in lines[0] and "passes 2" in lines[0]
    fit(*iris())
    assert not capsys.readouterr().out


def test_a_callback_may_end_the_fit():
    def two_steps(step):
        if step.iteration == 2:
            raise StopIteration("enough")

    with pytest.warns(ConvergenceWarning, match=r"stopped by the callback \(enough\) after 2 iterations"):
        clf = fit(*iris(), callback=two_steps)
    assert clf.n_iter_ == 2 and clf.predict(iris()[0]).shape == (150,)


def test_too_few_steps_are_a_warning_with_advice():
    with pytest.warns(ConvergenceWarning, match=r"stopped at max_iter = 2, with gradient norm .*larger l2"):
        fit(*iris(scaled=False), max_iter=2)


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton_cg", "gradient_descent"])
def test_every_solver_finds_the_same(solver):
    X, y = iris()
    got = fit(X, y, l2=0.1, solver=solver)
    np.testing.assert_allclose(got.coef_, fit(X, y, l2=0.1).coef_, atol=1e-5)


def test_clone_pickle_and_repr():
    clf = fit(*iris(), l2=0.01)
    assert clone(clf).get_params() == clf.get_params() and not hasattr(clone(clf), "coef_")
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(iris()[0]), clf.predict_proba(iris()[0]))
    assert repr(SoftmaxRegression(l2=0.01)) == "SoftmaxRegression(l2=0.01)"


# ------------------------------------------------------------------------------- how X is read


@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba", "decision_function"])
def test_float32_stays_float32(backend, method):
    X, y = iris()
    clf = fit(X.astype("f4"), y, backend=backend, tol=1e-5)
    assert getattr(clf, method)(X.astype("f4")).dtype == np.float32
    assert getattr(clf, method)(X).dtype == np.float64
    np.testing.assert_allclose(clf.coef_, fit(X, y, tol=1e-5).coef_, atol=0.05)


def test_any_layout_gives_the_same(backend, as_layout):
    X, y = iris()
    kept = X.copy()
    laid_out = as_layout(X)
    clf = fit(laid_out, y, backend=backend)
    np.testing.assert_array_equal(X, kept)
    np.testing.assert_allclose(clf.coef_, fit(X, y, backend=backend).coef_, atol=1e-5)
    np.testing.assert_array_equal(clf.predict(laid_out), clf.predict(X))


@pytest.mark.parametrize("layout", ["C", "F", "rows", "memmap", "frame", "uint8"])
@pytest.mark.parametrize("compiled", [name for name in LOADED if name != "numpy"])
def test_x_is_not_copied(tmp_path, layout, compiled):
    m, n = 40_000, 50
    X = np.random.default_rng(0).integers(0, 9, (m, n)).astype("u1" if layout == "uint8" else "f8")
    y = np.arange(m) % 3
    if layout == "memmap":
        X.tofile(tmp_path / "X")
        X = np.memmap(tmp_path / "X", X.dtype, mode="r", shape=X.shape)
    elif layout == "frame":
        X = pd.DataFrame(X)
    elif layout != "uint8":
        X = {"C": X, "F": np.asfortranarray(X), "rows": X[::2]}[layout]
        y = y[: len(X)]
    clf = SoftmaxRegression(backend=compiled, l2=0.1, tol=1e-3)
    clf.fit(X[:100], y[:100])  # compiles, imports
    tracemalloc.start()
    clf.fit(X, y)
    clf.predict(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Labels, codes and what NumPy needs to make them; uint8 is converted to float32 a chunk at a time.
    assert peak < (m * n * 8 if layout != "uint8" else m * n * 8 * 0.75)


def test_grid_search_on_read_only_memory_maps():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6000, 25))  # 1.2 MB: joblib hands it to its workers as a read-only map
    y = np.array(["a", "b", "c"])[np.argmax(X[:, :3] + rng.gumbel(size=(6000, 3)), axis=1)]
    search = GridSearchCV(SoftmaxRegression(backend="numpy"), {"l2": [1.0, 1e-3]}, cv=2, n_jobs=2).fit(X, y)
    assert search.best_params_ == {"l2": 1e-3} and search.best_score_ > 0.5


def test_fit_and_predict_on_a_read_only_map(tmp_path):
    X, y = iris()
    joblib.dump((X, y), tmp_path / "data")
    mapped_X, mapped_y = joblib.load(tmp_path / "data", mmap_mode="r")
    assert not mapped_X.flags.writeable
    np.testing.assert_array_equal(fit(mapped_X, mapped_y).predict(mapped_X), fit(X, y).predict(X))


def test_in_a_pipeline_with_routed_weights():
    X, y = iris(scaled=False)
    pipe = make_pipeline(StandardScaler(), SoftmaxRegression(backend="numpy"))
    assert pipe.fit(X, y, softmaxregression__sample_weight=np.ones(len(y))).score(X, y) > 0.95


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_named_by_row_and_column(backend, bad):
    X, y = iris()
    clf = fit(X, y, backend=backend, l2=0.1)
    X[77, 2] = bad
    for action in (lambda: fit(X, y, backend=backend), lambda: clf.predict(X), lambda: clf.predict_proba(X)):
        with pytest.raises(ValueError, match=r"X must be finite; row 77, column 2 holds (nan|inf) \(NaN or infinity\)"):
            action()


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"l2": -1}, ValueError, "l2 must be finite and at least 0"),
        ({"tol": 0}, ValueError, "tol must be"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1"),
        ({"solver": "sag"}, ValueError, "solver must be one of 'auto', 'lbfgs'"),
        ({"backend": "blas"}, ValueError, "backend must be one of"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1"),
        ({"class_weight": "equal"}, ValueError, "class_weight must be a dict, 'balanced' or None; got 'equal'"),
        ({"class_weight": {5: 1.0}}, ValueError, r"class_weight holds 5, .* the labels \[0, 1, 2\]"),
        ({"class_weight": {0: -1.0}}, ValueError, r"class_weight\[0\] must be finite and at least 0"),
        ({"class_weight": {0: "much"}}, TypeError, r"class_weight\[0\] must be a number"),
        ({"callback": 3}, TypeError, "callback must be callable"),
    ],
)
def test_bad_parameters_are_found_when_fitting(parameters, error, message):
    X, y = iris()
    clf = SoftmaxRegression(**parameters)
    with pytest.raises(error, match=message):
        clf.fit(X, y)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix])
def test_sparse_x_gives_the_fit_of_the_dense_array(backend, container):
    X, y = iris()
    X = np.where(abs(X) > 0.5, X, 0.0)
    dense, thin = fit(X, y, tol=1e-9), fit(container(X), y, tol=1e-9, backend=backend)
    np.testing.assert_allclose(thin.coef_, dense.coef_, rtol=0, atol=1e-4)
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        ours = getattr(thin, method)(container(X))
        np.testing.assert_allclose(ours, getattr(dense, method)(X), rtol=0, atol=1e-2)
    assert thin.score(container(X), y) == dense.score(X, y)
    assert thin.__sklearn_tags__().input_tags.sparse


def test_malformed_sparse_x_is_an_error():
    X, y = iris()
    A = sparse.csr_matrix(X)
    A.indices[7] = 100
    with pytest.raises(ValueError, match="row 1 has an entry in column 100; 0..3 is wanted"):
        fit(A, y)
    with pytest.raises(ValueError, match="row 1 has an entry in column 100"):
        fit(X, y).predict(A)


def test_bad_data():
    X, y = iris()
    with pytest.raises(ValueError, match=r"one class only \(np.int64\(7\)\)|one class only \(7\)"):
        fit(X, np.full(150, 7))
    with pytest.raises(ValueError, match="continuous"):
        fit(X, y + 0.5)
    with pytest.raises(ValueError, match="3 features, but SoftmaxRegression is expecting 4"):
        fit(X, y).predict(X[:, :3])


@pytest.mark.parametrize("estimator", ["SoftmaxRegression", "SoftmaxRegressionCV", "LogisticRegression"])
def test_without_scikit_learn_the_import_says_how_to_get_it(monkeypatch, estimator):
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"] + ["sklearn.base"]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith("fastsoftmax.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"needs scikit-learn: pip install 'fastsoftmax\[sklearn\]'"):
        getattr(importlib.import_module("fastsoftmax.sklearn"), estimator)


@pytest.mark.parametrize("first", [True, False])
def test_partial_fit_names_fit_intercept_where_it_was_changed_between_calls(first):
    X, y = iris()
    clf = SoftmaxRegression(fit_intercept=first, n_threads=1).partial_fit(X, y, classes=[0, 1, 2])
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match=f"fit_intercept must be that of the calls .*, {first}; got {not first}"):
        clf.set_params(fit_intercept=not first).partial_fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), before)
