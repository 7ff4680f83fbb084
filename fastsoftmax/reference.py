"""Softmax regression step by step in plain NumPy: the definition that every kernel is checked against.

Nothing here is fast, and the compiled kernels share none of it. This file imports NumPy alone, so that an error in the
package cannot hide in its own reference.

Symbols: X (m, n) samples, y (m,) labels 0..k-1, theta (n, k) parameters, H (m, k) logits, Z (m, k) probabilities.
The ten steps, a small function each:

====  ============================================  ===========================
step  what                                          function
====  ============================================  ===========================
1     data: labels as one-hot rows I                `one_hot`
2     task: the most probable class                 `predict`
3     linear map H = X theta                        `logits`
4     softmax Z by rows                             `softmax`
5     loss of one sample, -log p(y|x)               `sample_loss`, `loss_curve`
6     mean loss                                     `mean_loss`
7     the same in H: -h_y + log sum exp h           `mean_loss_from_logits`
8     derivative of H by one parameter              `logits_by_parameter`
9     derivative of the loss by H: Z - I            `loss_by_logits`
10    gradient, by element and as a matrix          `gradient_element`, `gradient`
====  ============================================  ===========================

`value_and_grad`, `hess_prod` and `gram` put the steps together with sample weights w, a bias
and an l2 penalty: value = sum_i w_i (logsumexp(H_i) - H[i, y_i]) / sum(w) + l2/2 ||theta||^2.
"""

import numpy as np

# --------------------------------------------------------------------------- the ten steps


def one_hot(y, k):
    """Step 1. I (m, k): row i has a one in column y[i], zeros elsewhere."""
    I = np.zeros((len(y), k))  # noqa: E741 - the symbol of the formulas
    I[np.arange(len(y)), y] = 1.0
    return I


def predict(X, theta):
    """Step 2. The class with the largest logit, hence the largest probability; of equal ones the first."""
    return np.argmax(logits(X, theta), axis=1)


def logits(X, theta, bias=None):
    """Step 3. H (m, k) = X theta (+ bias): a linear score for each row and class."""
    H = X @ theta
    return H if bias is None else H + bias


def softmax(H):
    """Step 4. Z (m, k): exp(H) scaled so that each row sums to one.

    The maximum of each row is subtracted first: it cancels in the quotient, and no exp can overflow.
    Where a difference of finite logits overflows to -inf its exp is 0, which is right.
    """
    with np.errstate(over="ignore", under="ignore"):
        E = np.exp(H - H.max(axis=1, keepdims=True))
        return E / E.sum(axis=1, keepdims=True)


def sample_loss(Z, y):
    """Step 5. -log p(y|x) for each row (m,): 0 where the right class has probability 1, unbounded towards 0."""
    with np.errstate(divide="ignore"):
        return -np.log(Z[np.arange(len(y)), y])


def loss_curve(points=200, smallest=1e-3):
    """Step 5 as a curve: p in [smallest, 1] and -log p, two arrays (points,)."""
    p = np.linspace(smallest, 1.0, points)
    return p, -np.log(p)


def mean_loss(Z, y):
    """Step 6. The mean of `sample_loss` over the m rows."""
    return np.mean(sample_loss(Z, y))


def mean_loss_from_logits(H, y, w=None):
    """Step 7. mean(-h_y + log sum_c exp(h_c)): step 6, finite where a probability rounds to 0."""
    w = np.ones(len(H)) if w is None else np.asarray(w)
    return mean_loss_to_targets(H, one_hot(y, H.shape[1]), w / np.sum(w))


def losses_to_targets(H, t):
    """Step 7 towards soft targets t (m, k): sum_c t_c (log sum exp h - h_c), for each row (m,)."""
    with np.errstate(over="ignore", under="ignore"):
        top = H.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(H - top).sum(axis=1))
        return np.where(t > 0, t * (top - H), 0).sum(axis=1) + t.sum(axis=1) * log_sum


def mean_loss_to_targets(H, t, shares):
    """The sum of `losses_to_targets` times ``shares`` (m,), such as w / sum(w).

    It works with halves of the losses: a loss may overflow where its share of the mean does not.
    """
    with np.errstate(over="ignore", under="ignore"):
        top = H.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(H - top).sum(axis=1))
        half = np.where(t > 0, t * (0.5 * top - 0.5 * H), 0).sum(axis=1) + 0.5 * t.sum(axis=1) * log_sum
        return np.sum(2 * shares * half)


def logits_by_parameter(X, k, r, q):
    """Step 8. dH/dtheta[r, q] (m, k): column r of X in column q, zeros elsewhere."""
    out = np.zeros((len(X), k))
    out[:, q] = X[:, r]
    return out


def loss_by_logits(H, y):
    """Step 9. d loss_i / dH_i (m, k) = Z - I: -I is the derivative of -h_y, and Z that of log sum exp."""
    return softmax(H) - one_hot(y, H.shape[1])


def gradient_element(X, Z, I, r, q):  # noqa: E741
    """Step 10. dL/dtheta[r, q] = (1/m) sum_i x_ir (z_iq - i_iq)."""
    return np.mean(X[:, r] * (Z[:, q] - I[:, q]))


def gradient(X, Z, I):  # noqa: E741
    """Step 10 for all r, q at once: X^T (Z - I) / m."""
    return X.T @ (Z - I) / len(X)


# ------------------------------------------------------------- with weights, bias and penalty


def value_and_grad(X, y, theta, *, fit_intercept=False, sample_weight=None, l2=0.0):
    """Loss and gradient of the whole objective.

    value = sum_i w_i (logsumexp(H_i) - H[i, y_i]) / sum(w) + l2/2 ||theta||^2, gradient = X^T D + l2 theta with
    D = w (Z - I) / sum(w).

    Parameters
    ----------
    X : ndarray (m, n)
    y : int ndarray (m,), values 0..k-1
    theta : ndarray (n, k), or (n + 1, k) with the bias in the last row if ``fit_intercept``
    sample_weight : ndarray (m,) or None
    l2 : float
        Adds l2/2 times the squared norm of theta without the bias.

    Returns
    -------
    value : float
    grad : ndarray like theta
    """
    W, bias = _split(X, theta, fit_intercept)
    H = logits(X, W, bias)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
    D = loss_by_logits(H, y) * (w / np.sum(w))[:, None]
    value = mean_loss_from_logits(H, y, w) + 0.5 * l2 * np.sum(W * W)
    return value, _join(X.T @ D + l2 * W, D.sum(axis=0), fit_intercept)


def hess_prod(X, theta, v, *, fit_intercept=False, sample_weight=None, l2=0.0):
    """The Hessian of `value_and_grad` times v, which is shaped like theta.

    Along v the logits change by U = X v, and the probabilities by Z * (U - sum_c Z U).
    """
    W, bias = _split(X, theta, fit_intercept)
    V, v_bias = _split(X, v, fit_intercept)
    Z = softmax(logits(X, W, bias))
    U = logits(X, V, v_bias)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
    R = Z * (U - np.sum(Z * U, axis=1, keepdims=True)) * (w / np.sum(w))[:, None]
    return _join(X.T @ R + l2 * V, R.sum(axis=0), fit_intercept)


def gram(X, *, fit_intercept=False, sample_weight=None):
    """The Gram matrix X^T diag(w) X / sum(w), with a column of ones appended to X if ``fit_intercept``."""
    if fit_intercept:
        X = np.hstack([X, np.ones((len(X), 1), X.dtype)])
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
    return X.T @ (X * (w / np.sum(w))[:, None])


def _split(X, theta, fit_intercept):
    return (theta[:-1], theta[-1]) if fit_intercept else (theta, None)


def _join(theta, bias, fit_intercept):
    return np.vstack([theta, bias]) if fit_intercept else theta
