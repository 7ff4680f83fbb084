"""Tolerances that follow from the problem; no test picks an rtol by hand.

A result of the package is compared with the truth, the same formula in a wider type: longdouble for
float64, float64 for float32. Its error is measured in units of ``eps * scale``, where eps belongs to
the dtype of X and scale is the first-order effect of rounding every intermediate once:

======  ======================================================================================
S       |X| |theta| + |bias|: what one rounding of each product moves a logit by, over eps
E       S + sum_c Z S + (top - H) + 2: the relative move of a probability; the last terms are the
        rounding of the exponent and of exp itself
loss    sum_i w_i (S[i, y_i] + sum_c Z S + top - H[i, y_i] + loss_i + 1) / sum w + l2/2 |theta|^2
grad    |X|^T (w (Z E + |Z - I|)) / sum w + l2 |theta|
======  ======================================================================================

and likewise for the others below. An element may be wrong by as many units as the worst element of the
plain NumPy formula in the dtype of X is, plus `FEW`, plus what adding N terms one after the other may
lose, where NumPy adds pairwise or in the lanes of a BLAS:

    |got - truth| <= (max |plain - truth| / (eps scale) + FEW + sqrt(N) / 2) eps scale.

Each addition rounds the partial sum by eps/2 at most, evenly to both sides, so the roundings of N terms
of one sign make up a random walk of standard deviation sqrt(N)/2 eps/3: the last part is three of them.
Inputs made to be unlike random ones, such as equal numbers, may round all to one side: `at_worst` allows N/2.
N is the longer of the two contractions, n features or m rows, and for the value with a penalty its n k squares;
float32 counts `FLUSH_ROWS` rows at most, since beyond them the package promises float64. Where scale is zero the
result must be exact. Numbers under the smallest normal one may be flushed to zero.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools

import mpmath
import numpy as np
import scipy.sparse

from fastsoftmax import reference
from fastsoftmax.kernels.plan import FLUSH_ROWS

FEW = 4
# What several checks of one problem share is worked out once: products in longdouble are slow, and a case of 77 x 513,
# k = 513, took 1.9 s of CPU time, now 1.1. A problem that has been checked must not be changed in place.
once = functools.lru_cache(maxsize=2)


def wide(dtype):
    """The type that stands for the truth beside ``dtype``."""
    return np.float64 if np.dtype(dtype) == np.float32 else np.longdouble


def terms(problem):
    """N, the number of terms in the longest sum that runs in the dtype of X."""
    m, n = problem.X.shape
    return max(n, m if problem.dtype == np.float64 else min(m, FLUSH_ROWS))


def _by_luck(terms):
    return 0.5 * np.sqrt(terms)


def _at_worst(terms):
    return 0.5 * terms


_lost = contextvars.ContextVar("lost", default=_by_luck)


@contextlib.contextmanager
def at_worst():
    """Within it sums may lose what they do where all roundings go to one side: eps/2 for each term."""
    token = _lost.set(_at_worst)
    try:
        yield
    finally:
        _lost.reset(token)


def assert_within(got, truth, plain, scale, dtype, *, terms=0, floor=0.0):
    """``got`` is no further from ``truth`` than ``plain`` is plus a few roundings of ``scale``."""
    got, truth, plain = (np.asarray(a) for a in (got, truth, plain))
    assert got.shape == truth.shape, f"shape {got.shape} where {truth.shape} is wanted"
    unit = np.finfo(dtype).eps * np.asarray(scale, dtype=wide(dtype))
    floor = floor + np.finfo(dtype).tiny
    plain_units = (abs(plain - truth) - floor) / np.where(unit > 0, unit, np.inf)
    plain_units = np.max(plain_units, initial=0.0, where=np.isfinite(plain_units))  # an overflow excuses nothing
    error = abs(got - truth)
    allowed = plain_units + FEW + _lost.get()(terms)
    bad = np.argwhere(~(error <= allowed * unit + floor))
    if len(bad):
        at = tuple(int(i) for i in bad[0])
        units = error[at] / unit[at] if unit[at] else np.inf
        raise AssertionError(
            f"{len(bad)} of {got.size} elements too far off; at {at}: got {got[at]!r}, truth {truth[at]!r}, "
            f"error {float(units):.3g} units, allowed {float(allowed):.3g}, plain NumPy's {float(plain_units):.3g}"
        )


# ------------------------------------------------------------------------------ loss and gradient


def check_value_and_grad(problem, value, grad=None):
    """Assert that value and gradient (None: value alone) are right for ``problem``."""
    truth_value, truth_grad = true_value_and_grad(problem)
    plain_value, plain_grad = plain_value_and_grad(problem)
    value_scale, grad_scale = value_and_grad_scales(problem)
    N = terms(problem)
    of_value = max(N, problem.theta.size) if problem.l2 else N
    assert_within(value, truth_value, plain_value, value_scale, problem.dtype, terms=of_value)
    if grad is not None:
        floor = _flushed(problem)
        assert_within(grad, truth_grad, plain_grad, grad_scale, problem.dtype, terms=N, floor=floor)


@once
def true_value_and_grad(problem):
    X, theta, w = _for_products(problem)
    options = {"fit_intercept": problem.fit_intercept, "sample_weight": w, "l2": problem.l2}
    return reference.value_and_grad(X, problem.y, theta, **options)


@once
def plain_value_and_grad(problem):
    """The reference's steps with every intermediate in the dtype of X."""
    X, W, bias, w = _typed(problem)
    H = reference.logits(X, W, bias)
    D = reference.loss_by_logits(H, problem.y).astype(X.dtype) * w[:, None]
    value = reference.mean_loss_from_logits(H, problem.y, w) + 0.5 * problem.l2 * np.sum(W * W)
    return value, _join(X.T @ D + problem.l2 * W, D.sum(axis=0), problem)


@once
def value_and_grad_scales(problem):
    parts = _Parts(problem)
    rows = np.arange(len(problem.y))
    residual = abs(reference.loss_by_logits(parts.H, problem.y))
    H_y, S_y = parts.H[rows, problem.y], parts.S[rows, problem.y]
    loss = parts.top - H_y - np.log(parts.Z.max(axis=1))
    value = np.sum(parts.w * (S_y + parts.mean_S + (parts.top - H_y) + loss + 1))
    value += 0.5 * problem.l2 * np.sum(parts.W * parts.W)
    D = parts.w[:, None] * (parts.Z * parts.E + residual)
    return value, _join(parts.X.T @ D + problem.l2 * abs(parts.W), D.sum(axis=0), problem)


# --------------------------------------------------------------------- targets, values of each row


def check_targets(problem, soft, eps, value, grad, outputs=None):
    """Assert that a pass towards soft targets (or the labels, if None), smoothed by eps, is right.

    ``outputs`` are `RowOutputs` of all rows. With targets t of total M the residual is R = w (M Z - t) / sum w; its
    scale is w (M Z E + |M Z - t| + 2 t), the last term for smoothing itself. Sums over the classes run in the
    dtype of X as well, so that N may be k.
    """
    truth, plain = (_towards(problem, soft, eps, *how) for how in (_widened(problem)[:2], _plain_inputs(problem)))
    parts, t, N = _Parts(problem), truth["t"], max(terms(problem), problem.k)
    mass = t.sum(axis=1, keepdims=True)
    R = parts.w[:, None] * (mass * parts.Z * parts.E + abs(mass * parts.Z - t) + 2 * t)
    rest = parts.top - np.log(parts.Z.max(axis=1)) + parts.mean_S + 1
    rows = np.sum(t * (parts.S - parts.H + rest[:, None]), axis=1)
    scales = {
        "value": np.sum(parts.w * rows),
        "grad": _join(parts.X.T @ R, R.sum(axis=0), problem),
        "dX": R @ abs(parts.W).T,
        "loss": rows,
    }
    got = {"value": value, "grad": grad}
    if outputs is not None:
        got |= {name: one for name, one in (("dX", outputs.dX), ("loss", outputs.loss)) if one is not None}
        check_prediction(problem, "label", outputs.label)
    for name, one in got.items():
        floor = 0.0 if name in ("value", "loss") else _flushed(problem)
        assert_within(one, truth[name], plain[name], scales[name], problem.dtype, terms=N, floor=floor)


def _plain_inputs(problem):
    return problem.numbers.astype(problem.dtype), problem.theta.astype(problem.dtype)


def _towards(problem, soft, eps, X, theta):
    """Targets, value, gradient, dX and losses by plain formulas in the dtype of X."""
    W, bias = _split(theta, problem)
    w = np.ones(len(X)) if problem.w is None else problem.w
    w = (w / w.sum()).astype(X.dtype)
    t = reference.one_hot(problem.y, problem.k) if soft is None else soft
    t = (1 - X.dtype.type(eps)) * t.astype(X.dtype) + X.dtype.type(eps) / problem.k
    H = reference.logits(X, W, bias)
    D = w[:, None] * (t.sum(axis=1, keepdims=True) * reference.softmax(H) - t)
    losses = reference.losses_to_targets(H, t)
    grad = _join(X.T @ D, D.sum(axis=0), problem)
    return {"t": t, "value": np.sum(w * losses), "grad": grad, "dX": D @ W.T, "loss": losses}


# -------------------------------------------------------------- Hessian product, Gram, predictions


def check_hess_prod(problem, v, got):
    X, theta, w = _for_products(problem)
    options = {"fit_intercept": problem.fit_intercept, "l2": problem.l2}
    truth = reference.hess_prod(X, theta, v.astype(X.dtype), sample_weight=w, **options)
    plain_X, _, _, w = _typed(problem)
    plain = reference.hess_prod(plain_X, problem.theta, v, sample_weight=w, **options)
    parts = _Parts(problem)
    V, v_bias = _split(v.astype(parts.X.dtype), problem)
    U = reference.logits(X, V, v_bias)
    S = reference.logits(parts.X, abs(V), None if v_bias is None else abs(v_bias))
    centred = abs(U - np.sum(parts.Z * U, axis=1, keepdims=True))
    size = (parts.E + 1) * (centred + np.sum(parts.Z * abs(U), axis=1, keepdims=True))
    R = parts.w[:, None] * parts.Z * (size + S + np.sum(parts.Z * S, axis=1, keepdims=True))
    scale = _join(parts.X.T @ R + problem.l2 * abs(V), R.sum(axis=0), problem)
    floor = _flushed(problem) * max(1.0, float(centred.max()))  # the least Z that is not flushed is multiplied by it
    assert_within(got, truth, plain, scale, problem.dtype, terms=terms(problem), floor=floor)


def check_gram(problem, got):
    X, _, w = _widened(problem)
    truth = reference.gram(X, fit_intercept=problem.fit_intercept, sample_weight=w)
    plain_X, _, _, plain_w = _typed(problem)
    plain = reference.gram(plain_X, fit_intercept=problem.fit_intercept, sample_weight=plain_w)
    scale = reference.gram(abs(X), fit_intercept=problem.fit_intercept, sample_weight=w)
    assert_within(got, truth, plain, scale, problem.dtype, terms=terms(problem))


def check_pairs(problem, got):
    """Assert that got (pairs, n, n) is X^T diag(w z_c z_d) X on and above the diagonals, not divided by sum w."""
    parts, (X, _, w) = _Parts(problem), _widened(problem)
    plain_X, W, bias, _ = _typed(problem)
    Z = reference.softmax(reference.logits(plain_X, W, bias))
    upper = np.triu(np.ones((X.shape[1], X.shape[1])))
    for one, c, d in zip(got, *np.triu_indices(problem.k, 1), strict=True):
        u = w * parts.Z[:, c] * parts.Z[:, d]
        truth = X.T @ (u[:, None] * X)
        plain = plain_X.T @ ((w * Z[:, c] * Z[:, d]).astype(problem.dtype)[:, None] * plain_X)
        scale = abs(X).T @ ((u * (parts.E[:, c] + parts.E[:, d]))[:, None] * abs(X))
        floor = _flushed(problem) * float(abs(X).max()) * float(w.max())
        assert_within(
            upper * one, upper * truth, upper * plain, scale, problem.dtype, terms=terms(problem), floor=floor
        )  # fmt: skip


def check_prediction(problem, kind, got):
    X, W, bias, _ = _typed(problem)
    parts = _Parts(problem)
    H, plain_H, scale = parts.H, reference.logits(X, W, bias), parts.S
    if kind == "label":
        # Any class is right whose logit rounding cannot tell from the largest.
        rows = np.arange(len(got))
        got, truth, plain, scale = H[rows, got], parts.top, H[rows, plain_H.argmax(axis=1)], 2 * scale.max(axis=1)
    elif kind == "logits":
        truth, plain = H, plain_H
    elif kind == "proba":
        truth, plain, scale = parts.Z, reference.softmax(plain_H), parts.Z * parts.E
    else:
        truth, plain = _log_softmax(H), _log_softmax(plain_H)
        scale = parts.E + abs(truth)
    assert_within(got, truth, plain, scale, problem.dtype, terms=X.shape[1])


def _log_softmax(H):
    with np.errstate(under="ignore"):
        H = H - H.max(axis=1, keepdims=True)
        return H - np.log(np.exp(H).sum(axis=1, keepdims=True))


@once
class _Parts:
    """The symbols of the module's docstring, in the wide type; X is |X|, w sums to one."""

    def __init__(self, problem):
        X, theta, w = _for_products(problem)
        self.W, bias = _split(theta, problem)
        self.X, self.w = abs(X), w / w.sum()
        self.H = reference.logits(X, self.W, bias)
        self.Z = reference.softmax(self.H)
        self.S = reference.logits(self.X, abs(self.W), None if bias is None else abs(bias))
        self.top = self.H.max(axis=1)
        self.mean_S = np.sum(self.Z * self.S, axis=1)
        self.E = self.S + self.mean_S[:, None] + (self.top[:, None] - self.H) + 2


def _widened(problem):
    """X, theta and weights in the wide type; theta rounded to the dtype of X first, as the kernels do."""
    T = wide(problem.dtype)
    w = np.ones(len(problem.X)) if problem.w is None else problem.w
    return problem.numbers.astype(T), problem.theta.astype(problem.dtype).astype(T), w.astype(T)


def _for_products(problem):
    """`_widened`; an X of few entries is sparse. That leaves out zero terms alone, which of 300 x 5,000 took 7 s."""
    X, theta, w = _widened(problem)
    return scipy.sparse.csr_array(X) if np.count_nonzero(X) < 0.05 * X.size else X, theta, w


def _typed(problem):
    """X, theta without bias, bias and weights that sum to one, in the dtype of X."""
    w = np.ones(len(problem.X)) if problem.w is None else problem.w
    W, bias = _split(problem.theta.astype(problem.dtype), problem)
    return problem.numbers.astype(problem.dtype), W, bias, (w / w.sum()).astype(problem.dtype)


def _flushed(problem):
    """What X times residuals under the smallest normal number adds up to at most."""
    return float(np.finfo(problem.dtype).tiny) * float(abs(problem.numbers.astype(np.float64)).sum())


def _split(theta, problem):
    return (theta[:-1], theta[-1]) if problem.fit_intercept else (theta, None)


def _join(theta, bias, problem):
    return np.vstack([theta, bias]) if problem.fit_intercept else theta


# ----------------------------------------------------------------------------------------- mpmath


def exact_value_and_grad(problem, digits=60):
    """Value and gradient by mpmath, with no formula shared with the package: a ratio of sums of e^h."""
    with mpmath.workdps(digits):
        mp = np.vectorize(mpmath.mpf, otypes=[object])
        X, W = mp(problem.numbers.astype(np.float64)), mp(problem.theta.astype(np.float64))
        w = mp(np.ones(len(X)) if problem.w is None else problem.w)
        if problem.fit_intercept:
            X = np.hstack([X, mp(np.ones((len(X), 1)))])
        E = np.vectorize(mpmath.exp, otypes=[object])(X.dot(W))
        Z = E / E.sum(axis=1)[:, None]
        picked = Z[np.arange(len(X)), problem.y]
        value = sum(-wi * mpmath.log(z) for wi, z in zip(w, picked, strict=True)) / w.sum()
        Z[np.arange(len(X)), problem.y] -= 1
        free = W[:-1] if problem.fit_intercept else W
        grad = X.T.dot(Z * w[:, None]) / w.sum()
        grad[: len(free)] += mpmath.mpf(problem.l2) * free
        value += mpmath.mpf(problem.l2) / 2 * (free * free).sum()
        return _to_longdouble(value), np.vectorize(_to_longdouble, otypes=[np.longdouble])(grad)


def _to_longdouble(x):
    """A float64 head and tail hold 106 bits of x, more than longdouble has."""
    head = float(x)
    return np.longdouble(head) + np.longdouble(float(x - head))
