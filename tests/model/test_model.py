"""`Model`, `softmax`, `predict_proba`: predictions against the reference, bad input."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from problems import random_model, random_rows

from fastsoftmax import Model, predict_proba, reference, softmax
from fastsoftmax.model import pieces

# ----------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("bias", [False, True])
def test_predictions_are_the_references(backend, dtype, as_layout, bias):
    model, X = random_model(bias=bias, classes=list("dcba")), random_rows(dtype=dtype)
    H = reference.logits(X.astype("f8"), model.theta, model.bias)
    Z = reference.softmax(H)
    X = as_layout(X)
    # Logits are sums of 6 terms of a few units each.
    atol = 64 * np.finfo(dtype).eps
    np.testing.assert_array_equal(model.predict(X, backend=backend), model.classes[H.argmax(axis=1)])
    for got, wanted in [
        (model.decision_function(X, backend=backend), H),
        (model.predict_proba(X, backend=backend), Z),
        (model.predict_log_proba(X, backend=backend), np.log(Z)),
    ]:
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wanted, rtol=0, atol=atol)


@pytest.mark.parametrize("given, computed", [("u1", "f4"), ("i2", "f4"), ("?", "f4"), ("f2", "f4"), ("i8", "f8")])
def test_other_dtypes_are_predicted_in_the_one_that_holds_them(backend, given, computed):
    model, X = random_model(), (10 * random_rows()).astype(given)
    got = model.predict_proba(X, backend=backend)
    assert got.dtype == computed
    np.testing.assert_array_equal(got, model.predict_proba(X.astype(computed), backend=backend))


def test_the_bits_do_not_depend_on_the_number_of_threads(backend):
    model, X = random_model(), random_rows(3000)
    one, three = (model.predict_proba(X, backend=backend, n_threads=t) for t in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_lists_will_do_and_labels_default_to_numbers(backend):
    model = Model([[1, -1]])
    np.testing.assert_array_equal(model.predict([[1], [-1]], backend=backend), [0, 1])
    assert (model.n_features, model.n_classes) == (1, 2)
    assert repr(model) == "Model(n_features=1, n_classes=2)"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("k", [4, 300])
def test_top_k_is_the_head_of_the_sorted_probabilities(backend, monkeypatch, count, k):
    monkeypatch.setattr(pieces, "BYTES", 20 * k * 8)
    model, X = random_model(k=k, classes=[f"class {c}" for c in range(k)]), random_rows()
    labels, probabilities = model.top_k(X, count, backend=backend)
    Z = model.predict_proba(X, backend=backend)
    order = np.argsort(-Z, axis=1)[:, :count]
    np.testing.assert_array_equal(labels, model.classes[order])
    np.testing.assert_allclose(probabilities, np.take_along_axis(Z, order, axis=1), rtol=1e-13)
    np.testing.assert_array_equal(labels[:, 0], model.predict(X, backend=backend))


def test_top_k_ranks_by_logits_and_the_first_of_equals_comes_first(backend):
    model = Model([[0.0, -2000.0, -1000.0, 0.0]])
    labels, probabilities = model.top_k([[1.0]], 4, backend=backend)
    np.testing.assert_array_equal(labels, [[0, 3, 2, 1]])
    np.testing.assert_array_equal(probabilities, [[0.5, 0.5, 0, 0]])


@pytest.mark.parametrize("count", [0, 5, 2.0])
def test_top_k_needs_a_count_within_the_classes(count):
    with pytest.raises((TypeError, ValueError), match="count"):
        random_model().top_k(random_rows(), count)


METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function", "top_k"]


def call(model, method, X, **options):
    return getattr(model, method)(X, **({"count": 2} if method == "top_k" else {}), **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named(backend, method, bad):
    X = random_rows(60)
    X[41, 3] = bad
    with pytest.raises(ValueError, match="X must be finite; row 41, column 3"):
        call(random_model(), method, X, backend=backend)


@pytest.mark.parametrize("method", METHODS)
def test_the_wrong_number_of_features_is_an_error_with_both_numbers(method):
    with pytest.raises(ValueError, match="X has 6 features, but the model was fitted with 5 features"):
        call(random_model(), method, random_rows(n=6))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros(5), ValueError, r"X has shape \(5,\); a 2-D array"),
        (np.zeros((0, 5)), ValueError, "at least one row"),
        (np.zeros((2, 5), complex), TypeError, "X has dtype complex128"),
        ([["a"] * 5], TypeError, "X has dtype <U1"),
    ],
)
def test_bad_rows(X, error, message):
    with pytest.raises(error, match=message):
        random_model().predict(X)


def test_logits_that_overflow_are_an_error_of_their_own(backend):
    with pytest.raises(FloatingPointError, match="overflows float64"):
        Model(np.full((2, 2), 1e200)).predict_proba(np.full((1, 2), 1e200), backend=backend)
    with pytest.raises(FloatingPointError, match="overflows float32"):
        Model(np.full((1, 2), 1e200)).predict(np.ones((1, 1), "f4"), backend=backend)


@pytest.mark.parametrize("arguments", [{"backend": "fortran"}, {"n_threads": 0}])
def test_bad_options(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        random_model().predict(random_rows(), **arguments)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"theta": [1.0, 2.0]}, ValueError, "theta has shape"),
        ({"theta": [[1.0], [2.0]]}, ValueError, "one class only"),
        ({"theta": [[1.0, np.nan]]}, ValueError, "theta must be finite"),
        ({"theta": [["a", "b"]]}, TypeError, "theta has dtype"),
        ({"bias": [1.0]}, ValueError, "bias has shape"),
        ({"classes": ["a", "b", "c"]}, ValueError, r"classes has shape \(3,\)"),
        ({"feature_names": ["a", "b"]}, ValueError, "feature_names must be 1 strings"),
        ({"feature_names": [3]}, ValueError, "feature_names must be 1 strings"),
        ({"metadata": {"rows": 3}}, TypeError, "metadata must be a dict of str to str"),
    ],
)
def test_parts_that_do_not_fit(parts, error, message):
    with pytest.raises(error, match=message):
        Model(**{"theta": [[1.0, 2.0]], **parts})


# --------------------------------------------------------------------------------------- data frames

SHUFFLED = ["x4", "x0", "x2", "x1", "x3"]


def named():
    """A model with names, rows for it, and a frame of these rows: a boolean, an integer and float columns, shuffled."""
    X = random_rows(40)
    X[:, 1], X[:, 2] = X[:, 1] > 0, X[:, 2].round()
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(5)]).astype({"x1": bool, "x2": int})
    model = random_model()
    return Model(model.theta, model.bias, feature_names=frame.columns), X, frame[SHUFFLED]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "convert", [lambda f: f, lambda f: f.convert_dtypes(), pa.Table.from_pandas, lambda f: f.astype(float)]
)
def test_columns_are_found_by_name(backend, method, convert):
    model, X, frame = named()
    got, wanted = call(model, method, convert(frame), backend=backend), call(model, method, X, backend=backend)
    for ours, theirs in zip(*((got, wanted) if method == "top_k" else ([got], [wanted])), strict=True):
        # Sums in another order.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=64 * np.finfo(float).eps)


def test_columns_without_names_on_either_side_are_taken_by_position():
    model, X, frame = named()
    nameless = Model(model.theta, model.bias)
    in_order = frame[sorted(SHUFFLED)]
    for who, rows in ((nameless, in_order), (model, pd.DataFrame(X)), (nameless, pd.DataFrame(X)), (model, X)):
        np.testing.assert_array_equal(who.predict(rows), model.predict(X))
    assert (nameless.predict(frame) != model.predict(frame)).any()


def test_the_names_of_a_saved_model_count(tmp_path):
    model, X, frame = named()
    for name in ("model.npz", "model.safetensors"):
        model.save(tmp_path / name)
        np.testing.assert_array_equal(Model.load(tmp_path / name).predict(frame), model.predict(X))


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_or_unknown_name_is_an_error(method):
    model, _, frame = named()
    for wrong, message in (
        (frame.drop(columns="x3"), "X lacks 'x3'"),
        (frame.assign(x5=0.0), "X has 'x5', which the model does not know"),
        (frame.rename(columns={"x0": "y0"}), "X lacks 'x0' and has 'y0'"),
    ):
        with pytest.raises(ValueError, match=message):
            call(model, method, wrong)


def test_a_value_that_is_not_finite_is_named_by_its_place_in_the_frame():
    model, _, frame = named()
    frame.iloc[7, 0] = np.nan
    with pytest.raises(ValueError, match="row 7, column 0 holds nan"):
        model.predict(frame)


# ----------------------------------------------------------------------------------- the functions

LOGITS = npst.arrays(
    st.sampled_from([np.float32, np.float64]),
    npst.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-(2.0**120), 2.0**120, width=32),
)


@given(LOGITS)
def test_softmax_is_the_references(H):
    kept = H.copy()
    Z = softmax(H)
    assert Z.dtype == H.dtype
    np.testing.assert_array_equal(H, kept)
    np.testing.assert_allclose(Z, reference.softmax(H.astype("f8")), rtol=0, atol=8 * np.finfo(H.dtype).eps)
    np.testing.assert_allclose(Z.sum(axis=1), 1, rtol=8 * np.finfo(H.dtype).eps)


def test_softmax_of_huge_and_of_whole_logits():
    np.testing.assert_array_equal(softmax([[1e308, -1e308], [1e308, 1e308]]), [[1, 0], [0.5, 0.5]])
    assert softmax(np.zeros((1, 2), np.int64)).dtype == np.float64


@pytest.mark.parametrize(
    ("H", "error", "message"),
    [
        ([[0.0], [np.nan]], ValueError, "H must be finite; row 1, column 0 holds nan"),
        ([[0.0, -np.inf]], ValueError, "H must be finite; row 0, column 1 holds -inf"),
        ([0.0, 1.0], ValueError, "H has shape"),
        ([[1j]], TypeError, "H has dtype complex128"),
    ],
)
def test_softmax_of_bad_logits(H, error, message):
    with pytest.raises(error, match=message):
        softmax(H)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_predict_proba_is_the_models(backend, fit_intercept):
    model, X = random_model(bias=fit_intercept), random_rows()
    theta = np.vstack([model.theta, model.bias]) if fit_intercept else model.theta
    got = predict_proba(X, theta, fit_intercept=fit_intercept, backend=backend, n_threads=2)
    np.testing.assert_array_equal(got, model.predict_proba(X, backend=backend))


@pytest.mark.parametrize(
    ("theta", "error", "message"),
    [
        (np.zeros((6, 3)), ValueError, r"theta has shape \(6, 3\); \(5, 3\)"),
        (np.zeros(15), ValueError, r"theta has shape \(15,\); \(features, classes\)"),
        (np.full((5, 3), np.nan), ValueError, "theta must be finite; row 0"),
    ],
)
def test_predict_proba_with_bad_theta(theta, error, message):
    with pytest.raises(error, match=message):
        predict_proba(random_rows(), theta)
