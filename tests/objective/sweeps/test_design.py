"""The design matrix: its sweeps are those of the formulas, whether it is kept or computed in each of them."""

import numpy as np
import pytest
from problems import random_problem

from fastsoftmax import Objective, reference
from fastsoftmax.objective.sweeps import design


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("weights", [False, True])
def test_each_sweep_is_that_of_the_formula_and_one_pass(backend, monkeypatch, kept, weights):
    monkeypatch.setattr(design, "DESIGN_BYTES", design.DESIGN_BYTES if kept else 0)
    p = random_problem(500, 4, 3, weights=weights, intercept=True)
    w = None if p.w is None else np.where(np.arange(500) % 3 == 0, 0.0, p.w)
    obj = Objective(p.X, p.y, 3, sample_weight=w, fit_intercept=True, backend=backend)
    rows = obj.design_matrix(lambda X: np.column_stack([2 * X, np.full(len(X), 3.0)]), np.array([1]))
    assert obj.n_passes == 0
    Xphi, phi = np.column_stack([2 * p.X, np.full(500, 3.0)]), np.random.default_rng(0).standard_normal((5, 3))
    share = np.full(500, 1 / 500) if w is None else w / w.sum()
    Z, counted, left = reference.softmax(Xphi @ phi), share > 0, Xphi * [1, 0, 1, 1, 1]
    for number in (1, 2):
        grams = rows.pair_grams(phi)
        for gram, (c, d) in zip(grams, [(0, 1), (0, 2), (1, 2)], strict=True):
            wanted = left.T @ ((share * Z[:, c] * Z[:, d])[:, None] * left)
            np.testing.assert_allclose(np.triu(gram), np.triu(wanted), rtol=0, atol=500 * np.finfo("f8").eps * 9)
        assert obj.n_passes == 3 * number - 2
        assert rows.range(phi) == pytest.approx(np.ptp(Xphi @ phi, axis=1)[counted].max(), rel=1e-13)
        np.testing.assert_allclose(rows.gram(0.5), 0.5 * Xphi.T @ (share[:, None] * Xphi), rtol=0, atol=1e-12)
        assert obj.n_passes == 3 * number
    assert rows.longest == pytest.approx(np.linalg.norm(left, axis=1)[counted].max(), rel=1e-13)
