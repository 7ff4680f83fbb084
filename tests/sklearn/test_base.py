"""What every estimator does to names of columns, labels and weights."""

import numpy as np
import pytest
from estimators import fit, iris
from sklearn.datasets import load_iris

from fastsoftmax import Model
from fastsoftmax.sklearn.base import encode


def test_names_of_columns_are_kept_and_checked():
    X, y = load_iris(return_X_y=True, as_frame=True)
    clf = fit(X, y)
    assert list(clf.feature_names_in_) == list(X.columns) == list(clf.model_.feature_names)
    np.testing.assert_array_equal(clf.predict(X), clf.model_.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(X[X.columns[::-1]])


# ------------------------------------------------------------------------------------------ labels

LABELS = {
    "str": np.array(["cat", "dog", "ant"]),
    "object": np.array(["cat", "dog", "ant"], object),
    "int8": np.array([-3, 100, 5], np.int8),
    "uint64": np.array([2**64 - 1, 0, 7], np.uint64),
    "large uint64": np.array([2**64 - 1, 2**64 - 2, 2**64 - 3], np.uint64),
    "int64": np.array([-(2**63), 2**63 - 1, 0]),
    "float": np.array([2.0, -1.0, 0.0]),
    "float32": np.array([2.0, -1.0, 0.0], np.float32),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_type(tmp_path, kind):
    X, codes = iris()
    y = LABELS[kind][codes]
    clf = fit(X, y)
    assert clf.classes_.dtype == y.dtype and clf.predict(X).dtype == y.dtype
    np.testing.assert_array_equal(clf.classes_, np.sort(LABELS[kind]))
    assert clf.score(X, y) > 0.95
    clf.model_.save(tmp_path / "m.npz")
    np.testing.assert_array_equal(Model.load(tmp_path / "m.npz").predict(X), clf.predict(X))


def test_bools_are_labels():
    X, y = iris()
    clf = fit(X, y == 1)
    assert clf.classes_.dtype == bool and clf.predict(X).dtype == bool
    np.testing.assert_array_equal(clf.predict(X), fit(X, (y == 1).astype(int)).predict(X).astype(bool))


@pytest.mark.parametrize("labels", [[3, 1, 3, 7], [0, 10**9, 5, 5], [-128, 127, 0, 0], [2**63 - 1, 2**63 - 2]])
def test_labels_are_numbered_in_order_whether_counted_or_sorted(labels):
    for dtype in ("i1", "i8", "u8", "f4"):
        y = np.array(labels).astype(dtype)
        if y.tolist() != labels:
            continue  # they do not fit
        classes, codes = encode(y)
        wanted, wanted_codes = np.unique(y, return_inverse=True)
        assert classes.dtype == y.dtype and codes.dtype == np.int32
        np.testing.assert_array_equal(classes, wanted)
        np.testing.assert_array_equal(codes, wanted_codes)


# ----------------------------------------------------------------------------------------- weights


def test_weights_are_repetitions():
    X, y = iris()
    w = np.random.default_rng(0).integers(0, 4, len(y))
    weighted, repeated = fit(X, y, w), fit(X.repeat(w, axis=0), y.repeat(w))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-6)


def test_class_weights_are_sample_weights():
    X, y = iris()
    y = np.array(["a", "b", "c"])[y]
    w = np.random.default_rng(0).random(len(y))
    by_class = {"a": 3.0, "c": 0.5}
    got = fit(X, y, w, class_weight=by_class)
    wanted = fit(X, y, w * np.array([by_class.get(label, 1.0) for label in y]))
    np.testing.assert_allclose(got.coef_, wanted.coef_, rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_balanced_classes_weigh_the_same(weighted):
    X, y = iris()
    X, y = X[20:120], y[20:120]
    w = np.random.default_rng(0).random(len(y)) if weighted else None
    sums = np.bincount(y, weights=w)
    got = fit(X, y, w, class_weight="balanced")
    wanted = fit(X, y, (1 if w is None else w) * (sums.sum() / (3 * sums))[y])
    np.testing.assert_allclose(got.coef_, wanted.coef_, rtol=1e-6)


def test_a_class_without_weight_is_still_a_class():
    X, y = iris()
    clf = fit(X, y, (y != 1).astype(float), class_weight="balanced")
    assert list(clf.classes_) == [0, 1, 2]
    np.testing.assert_array_equal(clf.predict(X[y != 1]), y[y != 1])


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(3), ValueError, r"sample_weight has shape \(3,\)"),
        (np.full(150, -1.0), ValueError, "sample_weight must not be negative; row 0"),
        (np.zeros(150), ValueError, "sample_weight is zero in every row"),
        (["heavy"] * 150, TypeError, "sample_weight has dtype"),
    ],
)
def test_bad_weights(weights, error, message):
    with pytest.raises(error, match=message):
        fit(*iris(), weights)
