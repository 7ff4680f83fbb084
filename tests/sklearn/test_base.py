"""What every estimator does to names of columns, labels and weights."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from estimators import fit, iris
from expect import peak_bytes
from samples import ArrowArray, ArrowStream
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold

from fastsoftmax import Model, Objective, SoftmaxRegression, SoftmaxRegressionCV, minimize
from fastsoftmax.sklearn.base import encode


def test_names_of_columns_are_kept_and_checked():
    X, y = load_iris(return_X_y=True, as_frame=True)
    clf = fit(X, y)
    assert list(clf.feature_names_in_) == list(X.columns) == list(clf.model_.feature_names)
    np.testing.assert_array_equal(clf.predict(X), clf.model_.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(X[X.columns[::-1]])


def test_the_model_of_an_estimator_finds_columns_by_name():
    X, y = load_iris(return_X_y=True, as_frame=True)
    clf = fit(X, y)
    np.testing.assert_array_equal(clf.model_.predict(X[X.columns[::-1]]), clf.predict(X))
    with pytest.raises(ValueError, match="X lacks 'petal width .cm.'"):
        clf.model_.predict(X.iloc[:, :3])


@pytest.mark.parametrize(
    "convert", [lambda f: f, lambda f: f.convert_dtypes(), lambda f: pa.Table.from_pandas(f, preserve_index=False)]
)
def test_frames_of_mixed_numbers_and_booleans(convert):
    X, y = iris()
    frame = pd.DataFrame(X, columns=list("abcd")).assign(b=X[:, 1] > 0, c=X[:, 2].round().astype(int))
    clf = fit(convert(frame), y)
    assert list(clf.feature_names_in_) == list("abcd")
    np.testing.assert_allclose(clf.coef_, fit(frame.to_numpy(float), y).coef_, atol=1e-5)
    np.testing.assert_array_equal(clf.predict(convert(frame)), clf.model_.predict(convert(frame[list("dbca")])))


FRAMES = {
    "Table": lambda f: f,
    "RecordBatch": lambda f: f.to_batches()[0],
    "reader": lambda f: f.to_reader(),
    "stream": ArrowStream,
    "Arrow array": lambda f: ArrowArray(f.to_batches()[0]),
    "pandas": lambda f: f.to_pandas(),
    "polars": lambda f: pytest.importorskip("polars").from_arrow(f),
    "narwhals": lambda f: pytest.importorskip("narwhals").from_native(f),
    "xarray": lambda f: xarray_dataset(f),
}


def xarray_dataset(table):
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    return xarray.Dataset({name: ("row", table[name].to_numpy()) for name in table.column_names})


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_every_library_have_names_and_are_not_copied_to_rows(kind):
    X, y = iris()
    X = np.asfortranarray(np.tile(X, (40, 1)))
    table = pa.table(dict(zip("abcd", X.T, strict=True)))
    clf = fit(FRAMES[kind](table), np.tile(y, 40))
    assert list(clf.feature_names_in_) == list("abcd") and clf.n_features_in_ == 4
    nameless = fit(X, np.tile(y, 40))
    np.testing.assert_array_equal(clf.coef_, nameless.coef_)
    np.testing.assert_array_equal(clf.predict(FRAMES[kind](table)), clf.predict(table))
    copies = {"pandas": 1, "xarray": 1, "polars": 1}.get(kind, 0)  # the frame's own, or those of making it
    own = peak_bytes(lambda: nameless.predict(X))
    assert peak_bytes(lambda: clf.predict(FRAMES[kind](table))) < own + (copies + 0.5) * X.nbytes


def test_a_frame_and_labels_of_another_length():
    X, y = load_iris(return_X_y=True, as_frame=True)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit(X, y[1:])
    with pytest.raises(ValueError, match="requires y to be passed"):
        fit(X, None)
    with pytest.raises(ValueError, match="1 features, but SoftmaxRegression is expecting 4|feature names"):
        fit(X, y).predict(X.iloc[:, :1])


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


ABSENT = "no row of positive weight is of class 1: the fit leaves it out, and its probability is 0"


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton_cg"])
@pytest.mark.parametrize("l2", [1e-6, 1e-2])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("by", ["sample_weight", "class_weight", "balanced"])
def test_a_class_without_weight_is_still_a_class_but_never_predicted(by, container, l2, solver, fit_intercept):
    if solver == "newton" and container is sp.csr_array:
        solver = "lbfgs"  # newton needs dense X
    X, y = iris()
    X, y = X[20:], y[20:]
    y[::2], y[1::3] = 0, 2  # classes overlap
    y[60:80] = 1
    kept = y != 1
    w = None if by == "class_weight" else kept.astype(float)
    options = {"solver": solver, "l2": l2, "tol": 1e-9, "fit_intercept": fit_intercept}
    class_weight = {"sample_weight": None, "class_weight": {1: 0.0}, "balanced": "balanced"}[by]
    with pytest.warns(UserWarning, match=ABSENT):
        clf = fit(container(X), y, w, class_weight=class_weight, **options)
    alone = fit(X[kept], y[kept], class_weight="balanced" if by == "balanced" else None, **options)
    assert clf.result_.converged and list(clf.classes_) == [0, 1, 2] and clf.coef_.shape == (3, 4)
    Z = clf.predict_proba(container(X))
    np.testing.assert_array_equal(Z[:, 1], 0)
    np.testing.assert_allclose(Z[:, [0, 2]], alone.predict_proba(X), rtol=0, atol=1e-4)
    assert np.isfinite(clf.predict_log_proba(container(X))).all()


def test_after_such_a_fit_the_class_may_be_learnt():
    X, y = iris()
    kept = (y != 1).astype(float)
    with pytest.warns(UserWarning, match=ABSENT):
        clf = fit(X, y, kept, warm_start=True, l2=0.01, tol=1e-10)
    with pytest.warns(UserWarning, match=ABSENT):
        assert clf.fit(X, y, kept).n_iter_ == 0
    streamed = clone(clf)
    with pytest.warns(UserWarning, match=ABSENT):
        streamed.fit(X, y, kept)
    for _ in range(20):
        streamed.partial_fit(X, y)
    assert streamed.score(X, y) > 0.9
    np.testing.assert_allclose(clf.fit(X, y).coef_, fit(X, y, l2=0.01, tol=1e-10).coef_, atol=1e-4)


@pytest.mark.parametrize("estimator", [SoftmaxRegression(), SoftmaxRegressionCV(l2s=[0.1])])
def test_weights_that_leave_one_class_are_an_error(estimator):
    X, y = iris()
    with pytest.raises(ValueError, match=r"rows of positive weight of one class only \(2\); at least two are wanted"):
        estimator.fit(X, y, (y == 2).astype(float))
    with pytest.raises(ValueError, match=r"rows of positive weight of one class only \('b'\)"):
        clone(estimator).set_params(class_weight={"a": 0, "c": 0}).fit(X, np.array(["a", "b", "c"])[y])


# Labels that y lacks, and whether scikit-learn fits.
CLASS_WEIGHTS = [
    ({0: 1.0, 1: 2.0, 2: 0.5, 9: 3.0}, True),
    ({0: 1.0, 1: 2.0, 2: 0.5, "other": 3.0}, True),
    ({0: 1.0, 1: 2.0}, True),
    ({}, True),
    ({0: 1.0, 9: 3.0}, False),
    ({9: 3.0}, False),
    ({"0": 1.0}, False),
]


@pytest.mark.parametrize(("class_weight", "fits"), CLASS_WEIGHTS)
def test_a_dict_of_class_weights_may_hold_what_scikit_learns_may(class_weight, fits):
    X, y = iris()
    for model in (
        LogisticRegression(class_weight=class_weight, solver="newton-cholesky"),
        SoftmaxRegression(class_weight=class_weight),
    ):
        if fits:
            model.fit(X, y)
        else:
            with pytest.raises(ValueError, match="class_weight"):
                model.fit(X, y)
    if fits:
        known = {label: w for label, w in class_weight.items() if label in (0, 1, 2)}
        np.testing.assert_array_equal(model.coef_, SoftmaxRegression(class_weight=known).fit(X, y).coef_)


def test_class_weights_of_a_class_that_training_folds_lack():
    X, y = iris()
    class_weight = {0: 1.0, 1: 2.0, 2: 3.0}
    search = GridSearchCV(SoftmaxRegression(class_weight=class_weight), {"l2": [0.1]}, cv=KFold(3), error_score="raise")
    assert search.fit(X, y).best_score_ == 0
    with pytest.warns(UserWarning, match="fold 0 lack class 0, of fold 1 lack class 1, of fold 2 lack class 2"):
        clf = SoftmaxRegressionCV(l2s=[0.1], class_weight={**class_weight, 7: 1.0}, cv=KFold(3)).fit(X, y)
    assert clf.scores_.shape == (3, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("container", [np.asarray, np.asfortranarray, sp.csr_array])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_rows_of_weight_zero_must_be_finite_too(backend, dtype, container, bad):
    X, y = iris()
    w = np.ones(len(y))
    X[77, 2], w[77] = bad, 0
    X = container(X.astype(dtype))
    actions = [
        lambda: fit(X, y, w, backend=backend),
        lambda: SoftmaxRegressionCV(l2s=[0.1], backend=backend).fit(X, y, w),
        lambda: SoftmaxRegression(backend=backend).partial_fit(X, y, [0, 1, 2], w),
        lambda: minimize(Objective(X, y, sample_weight=w, backend=backend)),
        lambda: Objective(X, y, sample_weight=w, backend=backend).value(np.zeros((4, 3))),
    ]
    for action in actions:
        with pytest.raises(
            ValueError, match=r"row 77, column 2 holds .* rows with weight 0, as this one, must be finite"
        ):
            action()


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
