"""Estimators on collections are those on arrays, with lazy predictions."""

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.delayed import delayed
from sklearn.base import clone

import fastsoftmax
from fastsoftmax import datasets
from fastsoftmax.dask import LogisticRegression, SoftmaxRegression
from fastsoftmax.sklearn import LogisticRegression as OfArrays


@pytest.fixture(scope="module")
def data():
    X, y, _ = datasets.make_problem(2000, 4, 3, signal=1.0, seed=5)
    return X, np.array(["ant", "bee", "cow"])[y], np.random.default_rng(0).integers(0, 4, 2000).astype(float)


def arrays(*given, rows=600):
    return [da.from_array(each, chunks=(rows, *each.shape[1:])) for each in given]


@pytest.mark.parametrize("class_weight", [None, "balanced", {"ant": 2.0}])
def test_softmax_regression_is_that_of_arrays(current, data, class_weight):
    X, y, w = data
    given = {"l2": 1e-2, "class_weight": class_weight}
    found = SoftmaxRegression(**given).fit(*arrays(X, y, w))
    wanted = fastsoftmax.SoftmaxRegression(**given).fit(X, y, w)
    assert found.result_.converged and found.n_features_in_ == 4
    np.testing.assert_array_equal(found.classes_, wanted.classes_)
    np.testing.assert_allclose(found.coef_, wanted.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.intercept_, wanted.intercept_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.predict_proba(X), wanted.predict_proba(X), atol=1e-5)


def test_predictions_of_arrays_are_lazy_arrays(current, data):
    X, y, w = data
    dX, dy, dw = arrays(X.astype("f4"), y, w)
    clf = SoftmaxRegression().fit(dX, dy)
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        lazy, now = getattr(clf, name)(dX.rechunk((600, 2))), getattr(clf, name)(X.astype("f4"))
        assert isinstance(lazy, da.Array) and lazy.dtype == now.dtype and lazy.shape == now.shape
        np.testing.assert_array_equal(lazy.compute(), now)
    score = clf.score(dX, dy, dw)
    assert isinstance(score, da.Array) and float(score) == pytest.approx(clf.score(X.astype("f4"), y, w))


def test_frames_have_names_and_may_have_empty_partitions(current, data):
    X, y, _ = data
    names = ["a", "b", "c", "d"]
    whole = pd.DataFrame(X, columns=names).assign(y=y, row=np.arange(2000))
    frame = dd.from_pandas(whole, npartitions=4, sort=False)
    frame, whole = (each[(each["row"] < 500) | (each["row"] >= 1000)] for each in (frame, whole))
    y = y[whole["row"]]
    clf = SoftmaxRegression().fit(frame[names], frame["y"])
    assert clf.feature_names_in_.tolist() == names and clf.model_.feature_names == tuple(names)
    now = clf.predict_proba(whole[names])
    np.testing.assert_array_equal(clf.predict_proba(frame[names]).compute(), now)
    np.testing.assert_array_equal(clf.predict(frame[names]).compute(), clf.predict(whole[names]))
    assert float(clf.score(frame[names], frame["y"])) == pytest.approx(np.mean(clf.predict(whole[names]) == y))
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[names[::-1]])


def test_lists_of_chunks_and_a_warm_start(current, data):
    X, y, _ = data
    chunks = [[delayed(part) for part in np.array_split(each, 3)] for each in (X, y)]
    clf = SoftmaxRegression(warm_start=True).fit(*chunks)
    steps = clf.n_iter_
    assert clf.fit(*chunks).n_iter_ < steps
    np.testing.assert_array_equal(clf.predict(chunks[0]).compute(), clf.predict(X))


def test_a_class_without_weight_is_left_out(current, data):
    X, y, w = data
    with pytest.warns(UserWarning, match="no row of positive weight is of class 'bee'"):
        clf = SoftmaxRegression().fit(*arrays(X, y, np.where(y == "bee", 0.0, w)))
    assert (clf.predict_proba(X)[:, 1] == 0).all()


@pytest.mark.parametrize("given", [{}, {"C": 0.01}, {"l1_ratio": 1.0, "solver": "saga", "C": 0.05}])
@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_is_that_of_arrays(current, data, given, classes):
    X, y, w = data
    y = y if classes == 3 else y == "bee"
    if "l1_ratio" in given and not hasattr(OfArrays(), "set_callbacks"):
        pytest.skip("penalty='elasticnet' is asked for by name")
    given = {"tol": 1e-6, **given}
    found, wanted = LogisticRegression(**given).fit(*arrays(X, y, w)), OfArrays(**given).fit(X, y, w)
    assert found.coef_.shape == wanted.coef_.shape and found.intercept_.shape == wanted.intercept_.shape
    np.testing.assert_allclose(found.coef_, wanted.coef_, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found.predict(arrays(X)[0]).compute(), found.predict(X))
    assert float(found.score(*arrays(X, y))) == pytest.approx(found.score(X, y))


def test_what_logistic_regression_does_not_take(current, data):
    X, y, w = data
    with pytest.raises(ValueError, match="solver='liblinear' penalizes the intercept"):
        LogisticRegression(solver="liblinear").fit(*arrays(X, y))
    with pytest.raises(ValueError, match=r"no row of positive weight of the classes \['bee'\]"):
        LogisticRegression().fit(*arrays(X, y, np.where(y == "bee", 0.0, w)))


def test_arrays_are_fitted_as_ever_without_a_cluster(data):
    X, y, _ = data
    for dask, plain in ((SoftmaxRegression, fastsoftmax.SoftmaxRegression), (LogisticRegression, OfArrays)):
        found, wanted = clone(dask()).fit(X, y), plain().fit(X, y)
        np.testing.assert_array_equal(found.coef_, wanted.coef_)
        np.testing.assert_array_equal(found.predict_log_proba(X), wanted.predict_log_proba(X))
        assert found.score(X, y) == wanted.score(X, y)


def test_errors_name_the_partition(current, data):
    X, y, w = data
    with pytest.raises(ValueError, match="y holds one class only"):
        SoftmaxRegression().fit(*arrays(X, np.zeros(2000, int)))
    with pytest.raises(ValueError, match="partition 2: sample_weight must not be negative; row 5"):
        SoftmaxRegression().fit(*arrays(X, y, np.where(np.arange(2000) == 1205, -1.0, w)))
    with pytest.raises(ValueError, match="class_weight must be a dict"):
        SoftmaxRegression(class_weight="even").fit(*arrays(X, y))
