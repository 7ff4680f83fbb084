"""Stacked objectives: each model is what an objective of its own rows says."""

import numpy as np
import pytest
import scipy.sparse as sp
from problems import random_problem
from tolerance import check_value_and_grad

from fastsoftmax import Objective
from fastsoftmax.objective import stacked as stacked_module
from fastsoftmax.objective.stacked import Member, MemberSource, StackedObjective

FOLDS = 3


def stacked_problem(backend="numpy", *, weights=True, dtype="f8", l2=1e-2, intercept=True, m=600, n=7):
    """Models without fold 0, 1, 2, and one with all rows."""
    p = random_problem(m, n, 4, dtype=dtype, weights=weights, intercept=intercept, l2=l2)
    fold = np.random.default_rng(5).integers(FOLDS, size=m).astype(np.int32)
    return p, StackedObjective(p.objective(backend), fold, np.array([0, 1, 2, -1])), fold


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_values_gradients_and_held_out_scores_are_those_of_separate_objectives(backend, dtype, weights, intercept):
    p, stacked, fold = stacked_problem(backend, weights=weights, dtype=dtype, intercept=intercept)
    thetas = [p.theta.astype("f8") * factor for factor in (0.5, 1.0, -1.0, 2.0)]
    values, grads = stacked.value_and_grads(thetas)
    losses, right = stacked.held_out(thetas)
    assert stacked.n_passes == 2 and len(stacked) == 4
    for model, theta in enumerate(thetas):
        left = fold == model
        kept, rest = (p.but(X=p.X[i], y=p.y[i], w=None if p.w is None else p.w[i], theta=theta) for i in (~left, left))
        check_value_and_grad(kept, values[model], grads[model])
        if not left.any():
            assert np.isnan(losses[model]) and np.isnan(right[model])
            continue
        check_value_and_grad(rest.but(l2=0.0), losses[model])
        label = rest.objective(backend).evaluate(theta, grad=False, label=True).label
        assert right[model] == pytest.approx(np.average(label == rest.y, weights=rest.w), rel=1e-12)


def test_the_bits_of_a_model_do_not_depend_on_the_others_where_the_same_loops_serve(backend):
    p, stacked, _ = stacked_problem(backend, m=3000)
    thetas = [p.theta.astype("f8") * factor for factor in (0.5, 1.0, -1.0, 2.0)]
    values, grads = stacked.value_and_grads(thetas)
    for chosen in ([2], [0, 3], [1, 2, 3]):
        some, few = stacked.value_and_grads([thetas[i] for i in chosen], chosen)
        np.testing.assert_array_equal(some, values[chosen])
        for i, grad in zip(chosen, few, strict=True):
            np.testing.assert_array_equal(grad, grads[i])


def test_a_source_without_a_fold_has_weights_of_zero_there():
    p, stacked, fold = stacked_problem(weights=False)
    source = MemberSource(stacked.obj.source, p.y, None, fold, 1)
    np.testing.assert_array_equal(source.w, (fold != 1).astype(float))
    parts = list(source.chunks(250))
    np.testing.assert_array_equal(np.concatenate([part.w for part in parts]), source.w)
    np.testing.assert_array_equal(np.vstack([part.X for part in parts]), p.X)


def test_a_member_is_an_objective_of_its_rows_and_asks_for_value_and_gradient(backend):
    p, stacked, fold = stacked_problem(backend)
    theta, v = p.theta.astype("f8"), np.random.default_rng(0).standard_normal(stacked.shape)
    kept = p.but(X=p.X[fold != 1], y=p.y[fold != 1], w=p.w[fold != 1])
    member = Member(stacked, 1)
    check_value_and_grad(kept, *member.value_and_grad(theta))
    # Rows of weight 0 change the order of 600 terms at most.
    few = 600 * np.finfo("f8").eps
    np.testing.assert_allclose(member.hess_prod(theta, v), kept.objective(backend).hess_prod(theta, v), atol=few)
    np.testing.assert_array_equal(member.gram(), stacked.obj.gram())
    share = kept.w.sum() / p.w.sum()
    assert member.n_passes == 3 and member.weight_sum / stacked.obj.weight_sum == pytest.approx(share)
    asked = Member(stacked, 2, lambda number, theta: (float(number), theta))
    assert asked.value_and_grad(theta)[0] == 2.0 and asked.n_passes == 1


@pytest.mark.parametrize("chosen", [[0, 1, 2], [2, 0], [1]])
def test_models_may_have_labels_weights_and_penalties_of_their_own(backend, dtype, chosen):
    p = random_problem(700, 9, 4, dtype=dtype, intercept=True, weights=True)
    rng = np.random.default_rng(1)
    labels = [p.y, *rng.integers(4, size=(2, 700)).astype(np.int32)]
    weights = [*rng.integers(4, size=(2, 700)).astype(np.uint8), rng.random(700)]
    stacked = StackedObjective(p.objective(backend), labels=labels, weights=weights)
    stacked.l2s[:] = 0.1, 0.0, 0.3
    thetas = [p.theta.astype("f8") * factor for factor in (0.5, 1.0, -1.0)]
    values, grads = stacked.value_and_grads([thetas[i] for i in chosen], chosen)
    for value, grad, i in zip(values, grads, chosen, strict=True):
        alone = p.but(y=labels[i], w=weights[i].astype("f8"), theta=thetas[i], l2=float(stacked.l2s[i]))
        check_value_and_grad(alone, value, grad)
        member = Member(stacked, i)
        assert member.l2 == alone.l2 and member.weight_sum == pytest.approx(alone.w.sum())
        np.testing.assert_allclose(member.gram(), alone.objective(backend).gram(), rtol=1e-5, atol=1e-6)


def test_models_of_many_classes_take_passes_of_their_own(monkeypatch, backend):
    monkeypatch.setattr(stacked_module, "MOST_CLASSES", 3)
    p, stacked, fold = stacked_problem(backend)
    kept = p.but(X=p.X[fold != 1], y=p.y[fold != 1], w=p.w[fold != 1])
    asked = Member(stacked, 1, lambda number, theta: (0.0, theta))
    check_value_and_grad(kept, *asked.value_and_grad(p.theta.astype("f8")))
    assert stacked.n_passes == 0 and asked.n_passes == 1


def test_members_of_sparse_data_take_passes_of_their_own(backend):
    p = random_problem(300, 6, 3, intercept=True)
    X = sp.csr_array(np.where(p.X > 0.5, p.X, 0.0))
    weights = [np.arange(300) % 3, np.ones(300)]
    stacked = StackedObjective(Objective(X, p.y, 3, fit_intercept=True, backend=backend), weights=weights)
    for i, w in enumerate(weights):
        value, grad = Member(stacked, i).value_and_grad(p.theta)
        check_value_and_grad(p.but(X=X.toarray(), w=w.astype("f8")), value, grad)
    fold = np.arange(300) % 2
    member = Member(StackedObjective(stacked.obj, fold, np.array([1])), 0)
    check_value_and_grad(p.but(X=X.toarray(), w=1.0 * (fold == 0)), *member.value_and_grad(p.theta))
    assert member.nnz == X.nnz


def test_what_cannot_be_stacked_is_an_error():
    p, _, fold = stacked_problem()
    with pytest.raises(ValueError, match="labels, neither soft targets nor smoothed labels"):
        StackedObjective(Objective(p.X, p.y, label_smoothing=0.1), fold, np.array([0, 1]))
    with pytest.raises(ValueError, match="model 1 has no row of positive weight"):
        StackedObjective(Objective(p.X, p.y), np.zeros(600, np.int32), np.array([1, 0]))
