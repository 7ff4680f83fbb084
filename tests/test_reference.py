"""The reference against numbers worked out by hand, mpmath, finite differences and itself."""

import numpy as np
import pytest
from problems import random_problem
from tolerance import assert_within, exact_value_and_grad, true_value_and_grad, value_and_grad_scales

from fastsoftmax import reference as ref

# Two samples, two features, three classes; logits are log 1, log 2, log 3 and the like.
LOG = np.log
X = np.array([[1.0, 0.0], [0.0, 2.0]])
THETA = np.array([[LOG(1), LOG(2), LOG(5)], [LOG(2) / 2, LOG(1) / 2, LOG(1) / 2]])
Y = np.array([2, 1])
H = np.array([[LOG(1), LOG(2), LOG(5)], [LOG(2), LOG(1), LOG(1)]])
Z = np.array([[1 / 8, 2 / 8, 5 / 8], [2 / 4, 1 / 4, 1 / 4]])
I = np.array([[0.0, 0, 1], [0, 1, 0]])  # noqa: E741
LOSS = (LOG(8 / 5) + LOG(4)) / 2
GRAD = np.array([[1 / 16, 2 / 16, -3 / 16], [2 / 4, -3 / 4, 1 / 4]])


def close(a, b, ulp=8):
    np.testing.assert_allclose(a, b, rtol=0, atol=ulp * np.finfo(float).eps)


HAND_COMPUTED = {
    "1 one_hot": (lambda: ref.one_hot(Y, 3), I),
    "2 predict": (lambda: ref.predict(X, THETA), [2, 0]),
    "2 predict, first of equals": (lambda: ref.predict(X, np.zeros((2, 3))), [0, 0]),
    "3 logits": (lambda: ref.logits(X, THETA), H),
    "3 logits with bias": (lambda: ref.logits(X, THETA, np.arange(3.0)), H + np.arange(3)),
    "4 softmax": (lambda: ref.softmax(H), Z),
    "5 sample_loss": (lambda: ref.sample_loss(Z, Y), [LOG(8 / 5), LOG(4)]),
    "6 mean_loss": (lambda: ref.mean_loss(Z, Y), LOSS),
    "7 mean_loss_from_logits": (lambda: ref.mean_loss_from_logits(H, Y), LOSS),
    "7 weighted": (lambda: ref.mean_loss_from_logits(H, Y, np.array([3.0, 1])), (3 * LOG(8 / 5) + LOG(4)) / 4),
    "8 logits_by_parameter": (lambda: ref.logits_by_parameter(X, 3, 1, 2), [[0, 0, 0], [0, 0, 2]]),
    "9 loss_by_logits": (lambda: ref.loss_by_logits(H, Y), Z - I),
    "10 gradient_element": (lambda: ref.gradient_element(X, Z, I, 1, 0), GRAD[1, 0]),
    "10 gradient": (lambda: ref.gradient(X, Z, I), GRAD),
    "value": (lambda: ref.value_and_grad(X, Y, THETA, l2=2.0)[0], LOSS + np.sum(THETA**2)),
    "grad": (lambda: ref.value_and_grad(X, Y, THETA, l2=2.0)[1], GRAD + 2 * THETA),
    "gram": (lambda: ref.gram(X), [[0.5, 0], [0, 2]]),
    "gram with weights": (lambda: ref.gram(X, sample_weight=np.array([3.0, 1])), [[0.75, 0], [0, 1]]),
    "gram with ones": (lambda: ref.gram(X, fit_intercept=True), [[0.5, 0, 0.5], [0, 2, 1], [0.5, 1, 1]]),
}


@pytest.mark.parametrize("name", HAND_COMPUTED)
def test_each_step_gives_the_numbers_worked_out_by_hand(name):
    compute, wanted = HAND_COMPUTED[name]
    close(compute(), wanted)


def test_loss_curve_is_minus_log_p():
    p, loss = ref.loss_curve(points=5, smallest=0.2)
    close(p, [0.2, 0.4, 0.6, 0.8, 1.0])
    close(np.exp(-loss), p)
    assert loss[-1] == 0


def test_loss_of_an_impossible_answer_is_infinite():
    assert ref.sample_loss(np.array([[1.0, 0.0]]), [1])[0] == np.inf


# --------------------------------------------------------------- each step agrees with the next


@pytest.fixture
def p():
    return random_problem(23, 4, 5, seed=1)


def test_prediction_is_the_most_probable_class(p):
    proba = ref.softmax(ref.logits(p.X, p.theta))
    np.testing.assert_array_equal(ref.predict(p.X, p.theta), proba.argmax(axis=1))


def test_softmax_rows_sum_to_one_and_ignore_a_shift(p):
    logits = ref.logits(p.X, p.theta)
    close(ref.softmax(logits).sum(axis=1), 1)
    close(ref.softmax(logits + 64), ref.softmax(logits), ulp=64)


def test_mean_loss_is_the_mean_of_sample_losses_and_has_the_same_form_in_logits(p):
    logits = ref.logits(p.X, p.theta)
    proba = ref.softmax(logits)
    close(ref.mean_loss(proba, p.y), ref.sample_loss(proba, p.y).sum() / 23)
    close(ref.mean_loss_from_logits(logits, p.y), ref.mean_loss(proba, p.y))


def difference_quotient(f, x, step=1e-5):
    """Central differences of f by each element of x; wrong by about step^2, some 1e-10."""
    out = np.zeros((*np.shape(f(x)), *x.shape))
    for at in np.ndindex(x.shape):
        d = np.zeros_like(x)
        d[at] = step
        out[(..., *at)] = (f(x + d) - f(x - d)) / (2 * step)
    return out


# Truncation step^2/6 |f'''| (f''' of a softmax loss is under 1, times |x|^3 of a few) + eps/step.
DIFFERENCES = {"rtol": 0, "atol": 1e-8}


def test_logits_by_parameter_matches_finite_differences(p):
    wanted = difference_quotient(lambda theta: ref.logits(p.X, theta), p.theta)
    for r, q in [(0, 0), (3, 4), (1, 2)]:
        np.testing.assert_allclose(ref.logits_by_parameter(p.X, 5, r, q), wanted[:, :, r, q], **DIFFERENCES)


def test_loss_by_logits_matches_finite_differences(p):
    logits = ref.logits(p.X, p.theta)
    wanted = difference_quotient(lambda h: 23 * ref.mean_loss_from_logits(h, p.y), logits)
    np.testing.assert_allclose(ref.loss_by_logits(logits, p.y), wanted, rtol=0, atol=1e-7)


def test_gradient_is_the_chain_of_steps_eight_and_nine(p):
    by_logits = ref.loss_by_logits(ref.logits(p.X, p.theta), p.y)
    chain = [[np.sum(by_logits * ref.logits_by_parameter(p.X, 5, r, q)) / 23 for q in range(5)] for r in range(4)]
    close(ref.value_and_grad(p.X, p.y, p.theta)[1], np.array(chain))


def test_gradient_holds_its_elements(p):
    proba, hot = ref.softmax(ref.logits(p.X, p.theta)), ref.one_hot(p.y, 5)
    elements = [[ref.gradient_element(p.X, proba, hot, r, q) for q in range(5)] for r in range(4)]
    close(ref.gradient(p.X, proba, hot), np.array(elements))
    close(ref.gradient(p.X, proba, hot), ref.value_and_grad(p.X, p.y, p.theta)[1])


# -------------------------------------------------------------------- weights, bias and penalty

VARIANTS = [
    {},
    {"weights": True},
    {"intercept": True},
    {"weights": True, "intercept": True, "l2": 0.3},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_value_and_grad_matches_mpmath(variant):
    p = random_problem(7, 3, 4, seed=2, **variant)
    value, grad = ref.value_and_grad(p.X, p.y, p.theta, fit_intercept=p.fit_intercept, sample_weight=p.w, l2=p.l2)
    exact_value, exact_grad = exact_value_and_grad(p)
    value_scale, grad_scale = value_and_grad_scales(p)
    assert_within(value, exact_value, exact_value, value_scale, p.dtype)
    assert_within(grad, exact_grad, exact_grad, grad_scale, p.dtype)
    longdouble = true_value_and_grad(p)  # the truth of the larger tests is itself right
    assert_within(longdouble[0], exact_value, exact_value, value_scale, np.longdouble)
    assert_within(longdouble[1], exact_grad, exact_grad, grad_scale, np.longdouble)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_value_and_grad_and_hess_prod_match_finite_differences(variant):
    p = random_problem(11, 3, 4, seed=3, **variant)
    options = {"fit_intercept": p.fit_intercept, "sample_weight": p.w, "l2": p.l2}
    grad = ref.value_and_grad(p.X, p.y, p.theta, **options)[1]
    by_theta = difference_quotient(lambda t: ref.value_and_grad(p.X, p.y, t, **options)[0], p.theta)
    np.testing.assert_allclose(grad, by_theta, **DIFFERENCES)

    v = np.random.default_rng(4).standard_normal(p.theta.shape)
    hessian = difference_quotient(lambda t: ref.value_and_grad(p.X, p.y, t, **options)[1], p.theta)
    np.testing.assert_allclose(ref.hess_prod(p.X, p.theta, v, **options), np.tensordot(hessian, v, 2), **DIFFERENCES)


def test_gram_with_intercept_is_the_gram_of_x_with_a_column_of_ones(p):
    ones = np.hstack([p.X, np.ones((23, 1))])
    close(ref.gram(p.X, fit_intercept=True), ones.T @ ones / 23)


# --------------------------------------------------------------------------------- huge logits


def test_softmax_of_huge_logits():
    huge = np.array([[1e308, -1e308, 0.0], [-1e308, -1e308, -1e308], [1e308, 1e308, -1e308]])
    close(ref.softmax(huge), [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]])


def test_mean_loss_of_huge_logits():
    assert ref.mean_loss_from_logits(np.array([[8e307, -8e307]]), [1]) == 1.6e308
    assert ref.mean_loss_from_logits(np.array([[1e308, -1e308]]), [0]) == 0
    many = np.array([[1e308, 0.0]] * 4)  # each loss is 1e308: their sum overflows, their mean does not
    assert ref.mean_loss_from_logits(many, [1, 1, 1, 1]) == 1e308


def test_a_mean_is_finite_even_where_one_loss_of_it_overflows():
    one_wrong = np.array([[1e308, -1e308], [1e308, -1e308]])
    assert ref.mean_loss_from_logits(one_wrong, [1, 0]) == 1e308
