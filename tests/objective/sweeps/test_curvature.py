"""Gram matrices by curvature: those of the formula, for dense and sparse X, whole or as a diagonal."""

import numpy as np
import pytest
import scipy.sparse as sp
from problems import random_problem

from fastsoftmax import Objective, reference


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_sums_are_those_of_the_formula(backend, dtype, weights, intercept):
    p = random_problem(700, 6, 4, dtype=dtype, weights=weights, intercept=intercept)
    X, theta = p.X.astype("f8"), p.theta.astype("f8")
    Z = reference.softmax(X @ theta[:6] + (theta[6] if intercept else 0.0))
    u = (np.ones(700) if p.w is None else p.w) * (Z * (1 - Z)).sum(axis=1) / 3
    u /= 700 if p.w is None else p.w.sum()
    wanted = X.T @ (u[:, None] * X)
    # Each probability is off by the roundings of the terms of its row's logits.
    terms = float((np.abs(X) @ np.abs(theta[:6])).max() + np.abs(theta[6:]).sum())
    eps = 8 * (1 + terms) * float(np.finfo(dtype).eps)
    few = eps * (np.abs(X).T @ (u[:, None] * np.abs(X)))
    for given, diagonal in ((p.X, False), (p.X, True), (sp.csr_array(p.X), True)):
        obj = Objective(given, p.y, 4, sample_weight=p.w, fit_intercept=intercept, backend=backend)
        second, first, total = obj.curvature_gram(theta, diagonal=diagonal)
        assert obj.n_passes == 1
        pick = np.diagonal if diagonal else np.asarray
        assert (np.abs(second - pick(wanted)) <= pick(few)).all()
        assert (np.abs(first - u @ X) <= eps * (u @ np.abs(X))).all()
        assert total == pytest.approx(u.sum(), rel=eps)
