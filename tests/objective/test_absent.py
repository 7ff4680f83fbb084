"""Classes without rows of positive weight: which they are, and parameters that give them the probability 0."""

import numpy as np
import pytest

from fastsoftmax import Model
from fastsoftmax.data.sources.source import present_classes
from fastsoftmax.objective.absent import renumbered, with_absent


def test_which_classes_are_present_and_their_numbers():
    y, w = np.array([4, 1, 1, 3, 0], np.int32), np.array([1.0, 0.0, 1e-300, 0.0, 2.0])
    np.testing.assert_array_equal(present_classes(y, None, 5), [True, True, False, True, True])
    present = present_classes(y, w, 5)
    np.testing.assert_array_equal(present, [True, True, False, False, True])
    soft = np.zeros((9000, 3))
    soft[:, 0], soft[-1, 2] = 1.0, 0.5  # the last row alone has a share of class 2
    np.testing.assert_array_equal(present_classes(soft, None, 3), [True, False, True])
    np.testing.assert_array_equal(present_classes(soft, np.arange(9000) < 8999, 3), [True, False, False])
    assert renumbered(y, present).tolist() == [2, 1, 1, 0, 0] and renumbered(y, present).dtype == np.int32


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_an_absent_class_has_the_probability_zero_wherever_x_is(backend, dtype, bias):
    rng = np.random.default_rng(0)
    present = np.array([True, False, True, False, True])
    theta, own = 50 * rng.standard_normal((3, 3)), 300 * rng.standard_normal(3) if bias else None
    model = Model(*with_absent(theta, own, present))
    X = (10 * rng.standard_normal((200, 3))).astype(dtype)
    Z = model.predict_proba(X, backend=backend)
    np.testing.assert_array_equal(Z[:, ~present], 0)
    alone = Model(theta, own).predict_proba(X, backend=backend)
    # Only the place of the columns differs, and with it the order of sums.
    np.testing.assert_allclose(Z[:, present], alone, rtol=0, atol=4e3 * np.finfo(dtype).eps)
    log_Z = model.predict_log_proba(X, backend=backend)
    assert np.isfinite(log_Z).all() and (log_Z[:, ~present] <= -999).all()


def test_where_no_class_is_absent_nothing_changes():
    theta, bias = np.ones((2, 3)), np.ones(3)
    assert with_absent(theta, bias, np.ones(3, bool)) == (theta, bias)
    assert with_absent(theta, None, np.ones(3, bool))[1] is None
