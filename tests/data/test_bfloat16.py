"""bfloat16: bits in the caller's memory, read as they are, and every result that of the same numbers in float32."""

import numpy as np
import pytest
from problems import random_problem, upper_halves

from fastsoftmax import (
    LinearProbe,
    Model,
    Objective,
    SoftmaxRegression,
    SoftmaxRegressionCV,
    minimize,
    predict_proba,
    scan,
    softmax,
)
from fastsoftmax.data.bfloat16 import BFLOAT16, as_numbers, bits_of, is_bfloat16
from fastsoftmax.data.validation import check_X

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")


@pytest.fixture
def both():
    """X in bfloat16 and in float32, and labels."""
    p = random_problem(400, 12, 5, dtype="V")
    return p.X.view(ml_dtypes.bfloat16), p.numbers, p.y


def test_bits_are_in_the_memory_of_the_array(both):
    X, numbers, _ = both
    for order, given in (("C", X), ("F", np.asfortranarray(X)), ("C", X[::-2, ::3])):
        bits = check_X(given)
        assert bits.dtype == BFLOAT16 and np.shares_memory(bits, given) and bits.strides == given.strides
        wanted = np.ascontiguousarray(given).astype(np.float32)
        np.testing.assert_array_equal(as_numbers(bits), wanted)
        assert as_numbers(bits).flags[f"{order}_CONTIGUOUS"]
    assert as_numbers(numbers) is numbers


def test_bits_at_odd_addresses_are_copied(both):
    X, numbers, _ = both
    raw = np.zeros(X.nbytes + 1, np.uint8)
    odd = raw[1:].view(ml_dtypes.bfloat16).reshape(X.shape)
    odd[:] = X
    assert not np.shares_memory(bits_of(odd), odd)
    np.testing.assert_array_equal(as_numbers(bits_of(odd)), numbers)


def test_what_is_bfloat16(both):
    X, numbers, y = both
    assert is_bfloat16(X) and is_bfloat16(X.view("V2")) and not is_bfloat16(numbers) and not is_bfloat16([[1.0]])
    with pytest.raises(TypeError, match=r"X has dtype \|V4; a real numeric array"):
        check_X(numbers.view("V4"))


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton_cg", "gradient_descent", "sgd"])
def test_a_fit_is_that_of_the_same_numbers(both, solver, backend):
    X, numbers, y = both
    options = {"l2": 1e-2, "fit_intercept": True, "backend": backend}
    ours, theirs = (minimize(Objective(given, y, **options), solver=solver, max_iter=20) for given in (X, numbers))
    np.testing.assert_array_equal(ours.theta, theirs.theta)


def test_a_fit_with_l1_and_far_columns_is_that_of_the_same_numbers(both):
    X, _, y = both
    X = (X.astype(np.float32) + 1000).astype(ml_dtypes.bfloat16)
    ours, theirs = (
        minimize(Objective(given, y, l2=1e-2, fit_intercept=True), l1=1e-3) for given in (X, X.astype(np.float32))
    )
    np.testing.assert_array_equal(ours.theta, theirs.theta)


@pytest.mark.parametrize("kind", [SoftmaxRegression, lambda: SoftmaxRegressionCV(cv=3), LinearProbe])
@pytest.mark.parametrize("names", [False, True])
def test_estimators(both, kind, names):
    X, numbers, y = both
    labels = np.array(list("abcde"))[y] if names else y
    ours, theirs = kind().fit(X, labels), kind().fit(numbers, labels)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(numbers))
    assert ours.score(X, labels) == theirs.score(numbers, labels)


def test_partial_fits_and_models(both):
    X, numbers, y = both
    ours, theirs = SoftmaxRegression(), SoftmaxRegression()
    for _ in range(2):
        ours.partial_fit(X, y, classes=np.arange(5))
        theirs.partial_fit(numbers, y, classes=np.arange(5))
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    model = Model(theirs.coef_.T, theirs.intercept_)
    np.testing.assert_array_equal(model.predict(X), model.predict(numbers))
    np.testing.assert_array_equal(predict_proba(X, model.theta), predict_proba(numbers, model.theta))


def test_softmax_and_scans(both):
    X, numbers, y = both
    np.testing.assert_array_equal(softmax(X), softmax(numbers))
    ours, theirs = (Objective(scan(lambda given=given: iter([(given, y)]))) for given in (X, numbers))
    theta = np.ones(ours.shape)
    np.testing.assert_array_equal(ours.value_and_grad(theta)[1], theirs.value_and_grad(theta)[1])


def test_a_number_that_is_not_finite_is_named(both):
    X, _, y = both
    X[7, 3] = np.inf
    with pytest.raises(ValueError, match="row 7, column 3 holds inf"):
        Objective(X, y).value_and_grad(np.zeros((12, 5)))


def test_shapes_that_are_refused(both):
    X, _, y = both
    with pytest.raises(ValueError, match=r"X has shape \(0, 12\)"):
        Objective(X[:0], y[:0], 5)
    with pytest.raises(ValueError, match="Expected 2D array"):
        SoftmaxRegression().fit(X[0], y)
    with pytest.raises(ValueError, match="X has 3 features, but SoftmaxRegression is expecting 12"):
        SoftmaxRegression().fit(X, y).predict(X[:, :3])


def test_upper_halves_are_what_ml_dtypes_makes_of_their_numbers():
    bits = upper_halves(np.random.default_rng(0).standard_normal((5, 4)))
    np.testing.assert_array_equal(as_numbers(bits).astype(ml_dtypes.bfloat16).view(BFLOAT16), bits)
