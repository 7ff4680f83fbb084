"""Estimators on data that is read anew in each pass: the same parameters as on the same frame in memory."""

import warnings

import numpy as np
import pandas
import pytest
from problems import chunks_of, lettered_problem, names_of, write_parquet

import fastsoftmax
from fastsoftmax import Model, SoftmaxRegression

X, LABELS = lettered_problem()
FRAME = pandas.DataFrame(np.asfortranarray(X), columns=names_of(X))


@pytest.fixture
def data(tmp_path):
    return fastsoftmax.scan(write_parquet(tmp_path / "t.parquet", X, LABELS), "y")


@pytest.mark.filterwarnings("ignore:.*parameters are the last ones reached")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weight": "balanced"},
        {"class_weight": {"a": 2.0}},
        {"solver": "sgd", "max_iter": 2},
        {"l1": 1e-2},
        {"fit_intercept": False},
    ],
    ids=str,
)
def test_a_fit_is_that_of_memory(data, options):
    here, there = SoftmaxRegression(**options).fit(FRAME, LABELS), SoftmaxRegression(**options).fit(data)
    np.testing.assert_array_equal(here.coef_, there.coef_)
    np.testing.assert_array_equal(here.intercept_, there.intercept_)
    assert here.feature_names_in_.tolist() == there.feature_names_in_.tolist()
    assert there.n_features_in_ == 5 and there.classes_.tolist() == ["a", "b", "c"]


def test_predictions_are_those_of_memory(data):
    clf = SoftmaxRegression().fit(data)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(clf, method)(data), getattr(clf, method)(FRAME))
    assert clf.score(data) == clf.score(FRAME, LABELS)
    labels = [part for _, part in clf.model_.predict_chunks(data)]
    np.testing.assert_array_equal(np.concatenate(labels), clf.predict(FRAME))
    with pytest.raises(ValueError, match="kind must be one of 'label', 'logits'"):
        next(clf.model_.predict_chunks(data, "class"))


def test_columns_of_predictions_are_found_by_name(tmp_path):
    clf = SoftmaxRegression().fit(FRAME, LABELS)
    turned = fastsoftmax.scan(write_parquet(tmp_path / "t.parquet", X, LABELS), columns=names_of(X)[::-1])
    np.testing.assert_allclose(clf.predict_proba(turned), clf.predict_proba(FRAME), rtol=1e-5)
    few = fastsoftmax.scan(turned._reader.path, columns=["x0"])
    with pytest.raises(ValueError, match="t.parquet has 1 features, but SoftmaxRegression is expecting 5"):
        clf.predict(few)
    with pytest.raises(ValueError, match="X has 1 features, but the model was fitted with 5"):
        Model(np.ones((5, 2))).predict(few)


def test_partial_fits_follow_each_other(data):
    here, there = SoftmaxRegression(), SoftmaxRegression()
    for _ in range(2):
        here.partial_fit(FRAME, LABELS, classes=list("abcd"))
        there.partial_fit(data, classes=list("abcd"))
    np.testing.assert_array_equal(here.coef_, there.coef_)
    with pytest.raises(ValueError, match="y must hold labels of classes; it holds 'c'"):
        SoftmaxRegression().partial_fit(data, classes=["a", "b"])


def test_a_class_without_weight_is_left_out():
    w = (LABELS != "b") * 1.5
    data = fastsoftmax.scan(chunks_of(X, LABELS, w))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        here = SoftmaxRegression().fit(X, LABELS, sample_weight=w)
        there = SoftmaxRegression().fit(data)
    assert [str(one.message) for one in told][0] == [str(one.message) for one in told][1]
    np.testing.assert_array_equal(here.coef_, there.coef_)
    assert here.score(X, LABELS, w) == pytest.approx(there.score(data), rel=1e-12)
    with pytest.raises(ValueError, match="one class only"):
        SoftmaxRegression(class_weight={"a": 0.0}).fit(data)


def test_labels_beside_a_scan_are_refused(data):
    clf = SoftmaxRegression()
    for call in (clf.fit, clf.partial_fit, clf.score):
        with pytest.raises(TypeError, match="y is given beside a scan"):
            call(data, LABELS, **({"classes": list("abc")} if call == clf.partial_fit else {}))
