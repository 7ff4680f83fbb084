"""What an objective knows of its rows without a pass."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastsoftmax import Objective

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 3, 1, 0, 3])


def test_sizes_and_dtypes():
    dense, thin = Objective(X.astype("u1"), Y), Objective(sp.csr_array(X), Y)
    assert (dense.n_rows, dense.nnz, dense.dtype, dense.is_widened) == (6, 12, np.float32, True)
    assert (thin.n_rows, thin.nnz, thin.dtype, thin.is_widened) == (6, 11, np.float64, False)
    assert not Objective(X, Y).is_widened


def test_weights_and_targets():
    w = np.array([0.0, 2.0, 0.5, 0.0, 1.0, 3.0])
    obj = Objective(X, Y, sample_weight=w)
    assert obj.least_weight() / obj.weight_sum == pytest.approx(0.5 / 6.5) and Objective(X, Y).least_weight() == 1.0
    soft, smooth = Objective(X, np.eye(4)[Y]), Objective(X, Y, label_smoothing=0.1)
    assert [each.has_labels for each in (obj, soft, smooth)] == [True, False, False]
    assert obj.has_distributions() and soft.has_distributions()
    assert not Objective(X, 2 * np.eye(4)[Y]).has_distributions()
    assert soft.y is None and soft.w is None and smooth.smoothing == 0.1


def test_present_classes():
    without = np.array([1.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    for targets in (Y, np.eye(4)[Y]):
        assert Objective(X, targets, 4).present_classes().tolist() == [True, True, False, True]
        assert Objective(X, targets, 4, sample_weight=without).present_classes().tolist() == [True, False, False, True]
    # Smoothing gives every class a share of every row.
    assert Objective(X, Y, 5, label_smoothing=0.1).present_classes().all()
