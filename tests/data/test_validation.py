"""Each bad input raises the right error, which names the argument, what came and what is wanted."""

import numpy as np
import pytest
from expect import assert_raises

from fastsoftmax import Objective, loss_and_grad
from fastsoftmax.data.validation import (
    check_count,
    check_real,
    check_share,
    check_targets,
    check_theta,
    check_weights,
    nonfinite_row,
)

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])
THETA = np.zeros((2, 3))
NAN, INF = np.nan, np.inf


def with_item(array, at, value, dtype=float):
    out = np.array(array, dtype=dtype)
    out[at] = value
    return out


# what is wrong: (changed arguments, error, words of the message)
BAD_X = {
    "one dimension": (X[0], ValueError, ["X", "(2,)", "2-D", "rows, features"]),
    "three dimensions": (X[None], ValueError, ["X", "(1, 6, 2)", "2-D"]),
    "scalar": (3.0, ValueError, ["X", "()", "2-D"]),
    "no rows": (X[:0], ValueError, ["X", "(0, 2)", "at least one row"]),
    "no features": (X[:, :0], ValueError, ["X", "(6, 0)", "one feature"]),
    "object": (X.astype(object), TypeError, ["X", "object", "real"]),
    "complex": (X + 0j, TypeError, ["X", "complex128", "real"]),
    "string": (X.astype(str), TypeError, ["X", "<U", "real"]),
    "bytes": (X.astype("S4"), TypeError, ["X", "|S4", "real"]),
    "date": (X.astype("M8[s]"), TypeError, ["X", "datetime64", "real"]),
    "None": (None, TypeError, ["X", "object", "real"]),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, ["X"]),
    "masked": (np.ma.masked_less(X, 1.0), TypeError, ["X", "mask"]),
}
BAD_Y = {
    "too short": (Y[:5], ValueError, ["y", "(5,)", "6 rows", "(6,)"]),
    "a column": (Y[:, None], ValueError, ["y", "(6, 1)", "(6,)"]),
    "scalar": (1, ValueError, ["y", "()", "(6,)"]),
    "negative": (with_item(Y, 4, -1, int), ValueError, ["y", "row 4", "-1", "0..k-1"]),
    "too large": (with_item(Y, 3, 3, int), ValueError, ["y", "row 3", "holds 3", "0..2"]),
    "far too large": (with_item(Y, 3, 2**33, int), ValueError, ["y", "row 3", str(2**33)]),
    "fraction": (with_item(Y, 2, 0.5), ValueError, ["y", "whole", "row 2", "0.5"]),
    "nan": (with_item(Y, 2, NAN), ValueError, ["y", "row 2", "nan"]),
    "infinite": (with_item(Y, 5, INF), ValueError, ["y", "row 5", "inf"]),
    "string": (Y.astype(str), TypeError, ["y", "<U", "integer"]),
    "object": (Y.astype(object), TypeError, ["y", "object", "integer"]),
    "complex": (Y + 0j, TypeError, ["y", "complex128", "integer"]),
    "ragged": ([[0], [1, 2]], ValueError, ["y"]),
}
BAD_WEIGHTS = {
    "too short": (np.ones(5), ValueError, ["sample_weight", "(5,)", "(6,)"]),
    "two dimensions": (np.ones((6, 1)), ValueError, ["sample_weight", "(6, 1)", "(6,)"]),
    "negative": (with_item(np.ones(6), 1, -0.5), ValueError, ["sample_weight", "row 1", "-0.5", "negative"]),
    "nan": (with_item(np.ones(6), 3, NAN), ValueError, ["sample_weight", "row 3", "nan", "finite"]),
    "infinite": (with_item(np.ones(6), 3, INF), ValueError, ["sample_weight", "row 3", "inf", "finite"]),
    "all zero": (np.zeros(6), ValueError, ["sample_weight", "zero in every row", "positive"]),
    "string": (np.ones(6).astype(str), TypeError, ["sample_weight", "<U", "real"]),
    "complex": (np.ones(6) + 0j, TypeError, ["sample_weight", "complex128", "real"]),
    "object": (np.ones(6, object), TypeError, ["sample_weight", "object", "real"]),
}
BAD_THETA = {
    "too few rows": (np.zeros((1, 3)), ValueError, ["theta", "(1, 3)", "(2, 3)"]),
    "transposed": (np.zeros((3, 2)), ValueError, ["theta", "(3, 2)", "(2, 3)", "(6,)"]),
    "flat, too short": (np.zeros(5), ValueError, ["theta", "(5,)", "(6,)"]),
    "nan": (with_item(THETA, (1, 2), NAN), ValueError, ["theta", "finite", "row 1, column 2", "nan"]),
    "infinite": (with_item(THETA, (0, 1), -INF), ValueError, ["theta", "finite", "row 0, column 1", "-inf"]),
    "flat, nan": (with_item(np.zeros(6), 4, NAN), ValueError, ["theta", "row 1, column 1", "nan"]),
    "string": (THETA.astype(str), TypeError, ["theta", "<U", "real"]),
    "complex": (THETA + 0j, TypeError, ["theta", "complex128", "real"]),
    "object": (THETA.astype(object), TypeError, ["theta", "object", "real"]),
}
BAD_OPTIONS = {
    "no threads": ({"n_threads": 0}, ValueError, ["n_threads", "at least 1", "0"]),
    "negative threads": ({"n_threads": -2}, ValueError, ["n_threads", "at least 1", "-2"]),
    "half a thread": ({"n_threads": 1.5}, TypeError, ["n_threads", "whole number", "1.5"]),
    "threads True": ({"n_threads": True}, TypeError, ["n_threads", "whole number", "True"]),
    "negative l2": ({"l2": -1.0}, ValueError, ["l2", "at least 0", "-1.0"]),
    "nan l2": ({"l2": NAN}, ValueError, ["l2", "finite", "nan"]),
    "infinite l2": ({"l2": INF}, ValueError, ["l2", "finite", "inf"]),
    "text l2": ({"l2": "much"}, TypeError, ["l2", "number", "'much'"]),
    "backend": ({"backend": "cuda"}, ValueError, ["backend", "'numpy'", "'cuda'"]),
    "one class": ({"n_classes": 1}, ValueError, ["n_classes", "at least 2", "1"]),
    "half a class": ({"n_classes": 2.5}, TypeError, ["n_classes", "whole number", "2.5"]),
}

SOFT = np.full((6, 3), 0.25)
BAD_TARGETS = {
    "too few rows": (SOFT[:5], ValueError, ["y", "(5, 3)", "(6,) labels", "(6, 3) soft targets"]),
    "too many classes": (np.ones((6, 4)), ValueError, ["y", "(6, 4)", "(6, 3) soft targets"]),
    "negative": (with_item(SOFT, (4, 1), -0.5), ValueError, ["y", "finite", "at least 0", "row 4", "-0.5"]),
    "nan": (with_item(SOFT, (1, 2), NAN), ValueError, ["y", "finite", "row 1", "nan"]),
    "infinite": (with_item(SOFT, (5, 0), INF), ValueError, ["y", "finite", "row 5", "inf"]),
    "the first of two": (with_item(with_item(SOFT, (5, 0), -1), (2, 2), -2), ValueError, ["row 2", "-2.0"]),
    "string": (SOFT.astype(str), TypeError, ["y", "<U", "real", "soft targets"]),
    "complex": (SOFT + 0j, TypeError, ["y", "complex128", "real"]),
}


@pytest.mark.parametrize("what", BAD_TARGETS)
def test_bad_soft_targets(what):
    bad, error, words = BAD_TARGETS[what]
    assert_raises(error, words, lambda: check_targets(bad, 6, 3, np.dtype("f4")))


def test_soft_targets_have_two_classes_at_least():
    words = ["y", "(6, 1)", "(6,) labels", "(6, 2) soft targets"]
    assert_raises(ValueError, words, lambda: check_targets(SOFT[:, :1], 6, None, np.dtype("f4")))
    assert_raises(ValueError, ["n_classes", "at least 2"], lambda: check_targets(SOFT, 6, 1, np.dtype("f4")))
    assert check_targets(SOFT[:, :2], 6, 2, np.dtype("f8"))[1] == 2


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("given", [SOFT, SOFT.astype("f4"), np.asfortranarray(SOFT), SOFT > 0, np.eye(3, dtype=int)[Y]])
def test_soft_targets_become_an_array_of_the_dtype_in_c_order(given, dtype):
    found, k = check_targets(given, 6, None, np.dtype(dtype))
    assert (k, found.dtype, found.flags.c_contiguous) == (3, np.dtype(dtype), True)
    np.testing.assert_array_equal(found, given)


def test_labels_are_targets_too():
    found, k = check_targets(Y, 6, None, np.dtype("f4"), "labels")
    assert (found.dtype, k) == (np.int32, 3)
    assert_raises(
        ValueError, ["labels", "row 2", "-3"], lambda: check_targets(-Y - 1, 6, None, np.dtype("f4"), "labels")
    )


@pytest.mark.parametrize("given", ["i8", "u1", "?", "f2"])
def test_theta_of_other_numbers_becomes_float64(given):
    theta = np.array([[1, 0, 1], [0, 1, 1]], given)
    found = check_theta(theta, 2, 3, False)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, theta)
    assert check_theta(theta.astype("f4"), 2, 3, False).dtype == np.float32
    assert check_theta(theta.ravel(), 1, 3, True).shape == (2, 3)
    with pytest.raises(ValueError, match=r"\(2, 3\) or \(6,\) is wanted"):
        check_theta(theta[:1], 2, 3, False)


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_shares(share):
    assert check_share(share, "eps") == share
    assert_raises(ValueError, ["eps", "[0, 1]", str(share + 1.5)], lambda: check_share(share + 1.5, "eps"))
    assert_raises(ValueError, ["eps"], lambda: check_share(-0.5, "eps"))


@pytest.mark.parametrize("what", BAD_X)
def test_bad_x(what):
    bad, error, words = BAD_X[what]
    assert_raises(error, words, lambda: Objective(bad, Y, backend="numpy"))


@pytest.mark.parametrize("what", BAD_Y)
def test_bad_y(what):
    bad, error, words = BAD_Y[what]
    assert_raises(error, words, lambda: Objective(X, bad, 3, backend="numpy"))


def test_one_class_only():
    assert_raises(ValueError, ["y", "one class", "at least two"], lambda: Objective(X, Y * 0, backend="numpy"))


@pytest.mark.parametrize("what", BAD_WEIGHTS)
def test_bad_weights(what):
    bad, error, words = BAD_WEIGHTS[what]
    assert_raises(error, words, lambda: Objective(X, Y, sample_weight=bad, backend="numpy"))


@pytest.mark.parametrize("method", ["value", "value_and_grad", "hess_prod", "hess_prod v"])
@pytest.mark.parametrize("what", BAD_THETA)
def test_bad_theta(what, method):
    bad, error, words = BAD_THETA[what]
    obj = Objective(X, Y, backend="numpy")
    calls = {
        "value": lambda: obj.value(bad),
        "value_and_grad": lambda: obj.value_and_grad(bad),
        "hess_prod": lambda: obj.hess_prod(bad, THETA),
        "hess_prod v": lambda: obj.hess_prod(THETA, bad),
    }
    if method == "hess_prod v":
        words = [word.replace("theta", "v") for word in words]
    assert_raises(error, words, calls[method])
    assert obj.n_passes == 0


def test_theta_without_its_bias_row():
    obj = Objective(X, Y, fit_intercept=True, backend="numpy")
    assert_raises(ValueError, ["theta", "(2, 3)", "(3, 3)", "last row is the bias"], lambda: obj.value(THETA))


@pytest.mark.parametrize("what", BAD_OPTIONS)
def test_bad_options(what):
    options, error, words = BAD_OPTIONS[what]
    assert_raises(error, words, lambda: Objective(X, Y, **{"backend": "numpy", **options}))


@pytest.mark.parametrize("theta", [np.zeros(6), 0.0, np.zeros((1, 2, 3))])
def test_loss_and_grad_wants_theta_in_two_dimensions(theta):
    shape = str(np.shape(theta))
    assert_raises(ValueError, ["theta", shape, "(features, classes)"], lambda: loss_and_grad(X, Y, theta))


def test_loss_and_grad_takes_the_classes_from_theta():
    assert_raises(ValueError, ["y", "row 2", "0..1"], lambda: loss_and_grad(X, Y, THETA[:, :2], backend="numpy"))
    assert_raises(ValueError, ["at least 2"], lambda: loss_and_grad(X, Y * 0, THETA[:, :1], backend="numpy"))


@pytest.mark.parametrize("largest", [2**31 - 1, 2**32, 2**63])
def test_class_numbers_that_do_not_fit_are_refused(largest):
    y = np.array([*Y[:-1], largest], "u8")
    assert_raises(ValueError, ["y", "below 2^31", str(largest)], lambda: Objective(X, y, backend="numpy"))


# ------------------------------------------------------------------------------- good input stays


@pytest.mark.parametrize("given", [Y.astype("u8"), Y.astype(">i2"), Y.astype(float), list(Y), Y[::-1][::-1]])
def test_whole_labels_of_any_type_are_fine(given):
    obj = Objective(X, given, backend="numpy")
    assert obj.n_classes == 3
    assert obj.source.y.dtype == np.int32
    np.testing.assert_array_equal(obj.source.y, Y)


def test_boolean_labels_are_two_classes():
    assert Objective(X, Y > 0, backend="numpy").n_classes == 2


@pytest.mark.parametrize("factor", [1.0, 3.0, 1e300, 1e-300, 5e-324])
def test_weights_are_scaled_by_a_power_of_two_to_a_largest_below_two(factor):
    w = np.array([1.0, 0.0, 4.0, 2.0]) * factor
    scaled, total = check_weights(w, 4)
    assert 1 <= scaled.max() < 2
    assert total == scaled.sum()
    np.testing.assert_array_equal(scaled / scaled.max(), w / w.max())


def test_a_single_weight_stands_for_all_rows():
    np.testing.assert_array_equal(check_weights(0.5, 3)[0], [1, 1, 1])


def test_numpy_scalars_are_numbers():
    assert check_count(np.int16(3), "n") == 3 and type(check_count(np.int16(3), "n")) is int
    assert check_real(np.float32(0.5), "l2") == 0.5 and type(check_real(np.float32(0.5), "l2")) is float


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("order", ["C", "F"])
def test_nonfinite_row_finds_the_first_by_rows(bad, order):
    A = np.zeros((700_000, 3), order=order)  # more than one block of the search
    assert nonfinite_row(A) is None
    A[650_000, 2] = A[650_001, 0] = bad
    assert nonfinite_row(A) == (650_000, 2)


def test_integers_are_always_finite():
    assert nonfinite_row(np.ones((2, 2), int)) is None
