"""Metrics are those of scikit-learn, and the bound is below every loss that it speaks of."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, top_k_accuracy_score

from fastsoftmax import Objective, minimize, softmax
from fastsoftmax.probe.validation import LossBound, measures, row_scores

RNG = np.random.default_rng(5)


def problem(m=400, n=6, k=8, intercept=True, dtype="f8"):
    X, theta = RNG.standard_normal((m, n)), RNG.standard_normal((n + intercept, k))
    H = X @ theta[:n] + (theta[n] if intercept else 0.0)
    y = np.argmax(H + RNG.gumbel(size=H.shape), axis=1)
    return Objective(X.astype(dtype), y, k, fit_intercept=intercept), theta, H, y


@pytest.mark.parametrize("k", [2, 8])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_metrics_are_those_of_scikit_learn(k, dtype):
    obj, theta, H, y = problem(k=k, dtype=dtype)
    found = measures([row_scores(obj, theta)])
    Z = softmax(H)
    assert found["log_loss"].value == pytest.approx(log_loss(y, Z, labels=range(k)), rel=1e-5)
    assert found["top1"].value == pytest.approx(np.mean(H.argmax(axis=1) == y))
    top5 = top_k_accuracy_score(y, H, k=5, labels=range(k)) if k > 5 else 1.0
    assert found["top5"].value == pytest.approx(top5)
    assert found["mean_per_class"].value == pytest.approx(balanced_accuracy_score(y, H.argmax(axis=1)))
    losses = -np.log(Z[np.arange(400), y])
    assert found["log_loss"].error == pytest.approx(losses.std(ddof=1) / 20, rel=1e-4)
    assert found["top1"].error == pytest.approx(np.sqrt(np.var(H.argmax(axis=1) == y, ddof=1) / 400))


def test_parts_are_measured_together_and_a_single_row_has_no_error():
    obj, theta, *_ = problem()
    scores = row_scores(obj, theta)
    halves = [type(scores)(scores.loss[s], scores.label[s], scores.rank[s]) for s in (slice(150), slice(150, None))]
    assert measures(halves) == measures([scores])
    one = type(scores)(scores.loss[:1], scores.label[:1], scores.rank[:1])
    assert measures([one])["log_loss"].error == np.inf


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_bound_is_below_the_loss_anywhere_within_its_radius(intercept, dtype):
    obj, theta, *_ = problem(intercept=intercept, dtype=dtype)
    bound, n = LossBound(obj), obj.n_features
    for scale in (0.0, 0.3, 1.0):
        for radius in (0.0, 0.1, 2.0):
            lowest = bound(scale * theta, radius)
            assert lowest <= obj.value(scale * theta)
            for _ in range(20):
                step = RNG.standard_normal(theta.shape)
                step[:n] *= radius / np.linalg.norm(step[:n])
                step[n:] *= 3  # the bias may be anywhere
                assert lowest <= obj.value(scale * theta + step)
            free = minimize_bias(obj, scale * theta)
            assert lowest <= free + 1e-6


def minimize_bias(obj, theta):
    """The least loss over the bias, W fixed."""
    if not obj.fit_intercept:
        return obj.value(theta)
    best = theta.copy()
    for _ in range(300):
        best[-1] -= 2.0 * obj.value_and_grad(best)[1][-1]
    return obj.value(best)


def test_the_bound_is_tight_at_the_minimum_of_the_same_rows():
    obj, *_ = problem()
    obj.l2 = 1e-3
    theta = minimize(obj, tol=1e-9).theta
    obj.l2 = 0.0
    assert LossBound(obj)(theta, 1e-6) == pytest.approx(obj.value(theta), rel=1e-4)
