"""Several models in one pass are what each of them is alone, its left-out rows weighing nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import LAYOUTS, random_problem
from tolerance import check_value_and_grad

from fastsoftmax.data.sources.memory import ArraySource
from fastsoftmax.kernels.contract import Parameters, Sums


def models_of(p, models, folds, seed=0):
    """Thetas, the fold of each row (all have rows of weight), and the one each model leaves out (-1 for some)."""
    rng = np.random.default_rng(seed)
    thetas = [(rng.standard_normal() * p.theta).astype(p.dtype) for _ in range(models)]
    fold = np.arange(len(p.X), dtype=np.int32) % folds
    return thetas, fold, rng.integers(-1, folds, size=models).astype(np.int32)


def side_by_side(p, thetas, left_out):
    stacked = np.ascontiguousarray(np.hstack(thetas))
    theta, bias = (stacked[:-1], stacked[-1]) if p.fit_intercept else (stacked, None)
    return Parameters(np.ascontiguousarray(theta), bias, len(thetas), left_out)


def run(module, p, thetas, fold=None, left_out=None, *, grad=True, held=True, n_threads=2, **cut):
    """Sums of one pass, not divided by anything."""
    models = len(thetas)
    plan = p.plan(strategy="row-parallel", **cut)
    sums = Sums.zeros(plan.slabs, models * p.k, p.X.shape[1], 1.0, grad=grad, models=models, held=held)
    for rows in ArraySource(p.X, p.y, p.w, reads=module.READS).chunks(plan.chunk):
        part = None if fold is None else fold[rows.start : rows.start + len(rows.X)]
        rows = type(rows)(rows.X, rows.y, rows.w, rows.start, fold=part)
        module.value_and_grad(rows, side_by_side(p, thetas, left_out), plan, sums, n_threads)
    return sums


def check_models(module, p, models=3, folds=2, **cut):
    thetas, fold, left_out = models_of(p, models, folds)
    sums = run(module, p, thetas, fold, left_out, **cut)
    alone = run(module, p, thetas, fold, left_out, grad=False, held=False, **cut)
    np.testing.assert_array_equal(alone.loss, sums.loss)
    grad, bias = sums.total()
    weights = np.ones(len(p.X)) if p.w is None else p.w
    for model, theta in enumerate(thetas):
        left = fold == left_out[model]
        part, rest = (p.but(theta=theta, w=np.where(left == side, weights, 0.0)) for side in (False, True))
        columns = slice(model * p.k, (model + 1) * p.k)
        mine = np.vstack([grad[:, columns], bias[columns]]) if p.fit_intercept else grad[:, columns]
        if part.w.any():
            total = part.w.sum()
            check_value_and_grad(part, sums.loss[:, model].sum() / total, np.ascontiguousarray(mine) / total)
        loss, right = sums.held[:, model].sum(axis=0)
        if not rest.w.any():
            assert loss == right == 0
            continue
        check_value_and_grad(rest, loss / rest.w.sum())
        out = np.empty(len(p.X), np.int64)
        plan, alone = p.plan(), p.sums(p.plan(), grad=False)
        module.predict(rest.rows(module), rest.parameters(), plan, "label", out, alone, 1)
        assert right == pytest.approx(rest.w[out == p.y].sum(), rel=1e-12, abs=0)


@given(
    shape=st.tuples(st.integers(2, 300), st.integers(1, 40), st.integers(2, 12)),
    options=st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["f4", "f8", "u1", "f2"]),
            "seed": st.integers(0, 2**32 - 1),
            "weights": st.booleans(),
            "intercept": st.booleans(),
            "layout": st.sampled_from(list(LAYOUTS)),
        }
    ),
    models=st.integers(1, 7),
    folds=st.integers(1, 5),
)
def test_random_models(module, shape, options, models, folds):
    check_models(module, random_problem(*shape, **options), models, folds)


def test_cuts(module, dtype):
    p = random_problem(1500, 19, 7, dtype=dtype, weights=True, intercept=True)
    for cut in ({"tiles": 1, "slabs": 5}, {"tiles": 2, "slabs": 3, "chunk": 700}):
        check_models(module, p, 10, 5, **cut)


@pytest.mark.parametrize(("own_y", "own_w"), [(True, False), (False, True), (True, True)])
def test_labels_and_weights_of_each_model(module, dtype, own_y, own_w):
    p = random_problem(900, 13, 5, dtype=dtype, weights=True, intercept=True)
    rng, models = np.random.default_rng(4), 3
    thetas, _, _ = models_of(p, models, 1)
    y = rng.integers(5, size=(models, 900)).astype(np.int32) if own_y else np.tile(p.y, (models, 1))
    w = rng.integers(3, size=(models, 900)).astype("f8") if own_w else np.tile(p.w, (models, 1))
    plan = p.plan(strategy="row-parallel", slabs=3, chunk=400)
    sums = Sums.zeros(plan.slabs, models * 5, 13, 1.0, models=models)
    for rows in ArraySource(p.X, p.y, p.w, reads=module.READS).chunks(plan.chunk):
        part = slice(rows.start, rows.start + len(rows.X))
        own = {"y": np.ascontiguousarray(y[:, part])} if own_y else {}
        own |= {"w": np.ascontiguousarray(w[:, part])} if own_w else {}
        module.value_and_grad(replace(rows, **own), side_by_side(p, thetas, None), plan, sums, 2)
    grad, bias = sums.total()
    for model, theta in enumerate(thetas):
        alone, columns = p.but(y=y[model], w=w[model], theta=theta), slice(model * 5, (model + 1) * 5)
        mine, total = np.vstack([grad[:, columns], bias[columns]]), w[model].sum()
        check_value_and_grad(alone, sums.loss[:, model].sum() / total, mine / total)


def test_without_folds_and_whatever_the_threads(module, dtype):
    p = random_problem(2000, 9, 4, dtype=dtype, intercept=True)
    thetas, _, _ = models_of(p, 4, 2)
    first, second = (run(module, p, thetas, held=False, n_threads=t, slabs=4) for t in (1, 3))
    np.testing.assert_array_equal(first.grad, second.grad)
    np.testing.assert_array_equal(first.loss, second.loss)
    for model, theta in enumerate(thetas):
        check_value_and_grad(p.but(theta=theta), first.loss[:, model].sum() / 2000)
