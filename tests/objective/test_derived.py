"""Objectives made from another one."""

import numpy as np
import pytest
import scipy.sparse as sp
from problems import random_problem

from fastsoftmax import Objective, reference
from fastsoftmax.objective.derived import Shifted, of_classes


@pytest.mark.parametrize("kind", ["copied", "in chunks", "sparse"])
def test_a_shifted_objective_is_that_of_shifted_columns_and_shares_l2_and_passes(backend, kind):
    p = random_problem(300, 4, 3, weights=True, intercept=True, l2=0.1)
    shift = np.array([0.0, 2.0, -1.0, 0.5])
    outer = Objective(
        sp.csr_array(p.X) if kind == "sparse" else p.X,
        p.y,
        3,
        sample_weight=p.w,
        fit_intercept=True,
        l2=0.1,
        backend=backend,
    )
    inner, there = Shifted(outer, shift, copied=kind == "copied"), p.but(X=p.X - shift).objective("numpy")
    theta = p.theta.astype("f8")
    # Shifted numbers are rounded once, and either value by a few eps.
    np.testing.assert_allclose(inner.value(theta), there.value(theta), rtol=300 * np.finfo("f8").eps)
    assert inner.n_passes == outer.n_passes == 1
    inner.l2 = 0.5
    assert outer.l2 == 0.5
    np.testing.assert_array_equal(inner.shift, shift)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_some_rows_of_some_classes(sparse, weights):
    p = random_problem(300, 4, 5, weights=weights, intercept=True, l2=0.1)
    present, rows = np.array([True, False, True, True, False]), np.arange(0, 300, 2)
    obj = Objective(sp.csr_array(p.X) if sparse else p.X, p.y, 5, sample_weight=p.w, fit_intercept=True, l2=0.1)
    part = of_classes(obj, rows, present)
    assert part.shape == (5, 3) and part.l2 == 0.0
    kept = rows[present[p.y[rows]]]
    theta = np.random.default_rng(0).standard_normal((5, 3))
    w = None if p.w is None else p.w[kept]
    labels = np.searchsorted(np.flatnonzero(present), p.y[kept])
    wanted, _ = reference.value_and_grad(p.X[kept], labels, theta, fit_intercept=True, sample_weight=w)
    assert part.value(theta) == pytest.approx(wanted, rel=1e-12)
