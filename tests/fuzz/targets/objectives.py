"""`Objective`: every pass over dense and sparse X is right within the derived tolerance, or refused by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import tolerance
from problems import Problem

from fastsoftmax import Objective

from .. import draw
from ..verdict import outcome, require

BACKENDS = ("cython",) * 6 + ("numba", "numpy")


def objective(rng: np.random.Generator, folder: Path) -> bool:
    p, given = draw.problem(rng)
    return _passes(rng, p, given, given["X"])


def sparse(rng: np.random.Generator, folder: Path) -> bool:
    """X in a format of SciPy: entries that repeat are added up, those that are zero count as any others."""
    m, n, k = draw.shape(rng)
    dense = draw.numbers(rng, (m, n), draw.one_of(rng, ("f8", "f4", "f4", "f8", "i4", "?", "u1")))
    dense[rng.random((m, n)) > draw.one_of(rng, (0.0, 0.05, 0.3, 1.0))] = 0
    X = _as_sparse(rng, dense)
    theta = rng.standard_normal((n, k)).astype(draw.one_of(rng, ("f8", "f4")))
    y = draw.labels(rng, m, k)
    p = Problem(dense, y.astype(int), theta, draw.weights(rng, m), False, float(draw.one_of(rng, (0.0, 1e-3, 5.0))))
    return _passes(rng, p, {"y": draw.vector(rng, y), "w": p.w, "theta": theta}, X)


def _as_sparse(rng: np.random.Generator, dense: np.ndarray) -> Any:
    X = getattr(scipy.sparse, draw.one_of(rng, ("csr_array", "csr_matrix")))(dense)
    way = draw.one_of(rng, ("csr", "csr", "csc", "coo", "bsr", "lil", "dok", "int64", "shuffled", "spare"))
    if way == "int64":
        X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    elif way == "shuffled":
        for a, b in zip(X.indptr, X.indptr[1:], strict=False):
            order = a + rng.permutation(b - a)
            X.indices[a:b], X.data[a:b] = X.indices[order], X.data[order]
        X.has_sorted_indices = bool(rng.integers(2))  # a lie, half of the time
    elif way == "spare":  # arrays longer than the last row's end
        X.indices, X.data = np.append(X.indices, X.indices.dtype.type(0)), np.append(X.data, X.data.dtype.type(1))
    elif way != "csr":
        X = X.asformat(way)
    return X


def _passes(rng: np.random.Generator, p: Problem, given: dict[str, Any], X: Any) -> bool:
    backend, threads = draw.one_of(rng, BACKENDS), draw.one_of(rng, (1, 2, 3))
    theta = given["theta"]

    def make() -> Objective:
        return Objective(
            X,
            given["y"],
            p.k,
            fit_intercept=p.fit_intercept,
            sample_weight=given["w"],
            l2=p.l2,
            backend=backend,
            n_threads=threads,
        )

    obj = make()  # all arguments are sound: no error is excused
    with np.errstate(all="ignore"):
        typed = p.theta.astype(p.dtype)
    v = rng.standard_normal(p.theta.shape).astype(draw.one_of(rng, ("f4", "f8")))
    finite = bool(np.isfinite(typed).all())
    tame = finite and draw.is_tame(p, v)
    found = outcome(lambda: obj.value_and_grad(theta))
    grad = lambda: _unrounded(obj.value_and_grad, found, p.theta)  # noqa: E731
    _judge(found, tame, lambda: _check_value_and_grad(p, found.answer[0], grad()))
    if found.refused:
        return True
    which = int(rng.integers(4))
    if which == 0:
        more = outcome(lambda: obj.hess_prod(theta, v))
        _judge(more, tame, lambda: _check_hess_prod(p, obj, v, more))
    elif which == 1 and not scipy.sparse.issparse(X):
        more = outcome(obj.gram)
        _judge(more, tame, lambda: quietly(tolerance.check_gram, p, more.answer))
    elif which == 2:
        more = outcome(lambda: obj.value(theta))
        _judge(more, tame, lambda: _check_value_and_grad(p, more.answer, None))
    else:
        again = Objective(X, given["y"], p.k, fit_intercept=p.fit_intercept, sample_weight=given["w"], l2=p.l2,
                          backend=backend, n_threads=3 - min(threads, 2)).value_and_grad(theta)  # fmt: skip
        require(again[0] == found.answer[0], "another value with other threads")
        require(np.array_equal(again[1], found.answer[1]), "another gradient with other threads")
    return False


def _judge(found: Any, tame: bool, check: Callable[[], None]) -> None:
    if not found.refused:
        check()
    elif tame:
        raise AssertionError(f"a sound problem is refused: {found.error}") from found.error


def _unrounded(call: Callable[..., Any], found: Any, argument: np.ndarray) -> np.ndarray:
    """The result in float64 where it was asked for in float32: that must be the same, rounded once."""
    got = found.answer[1] if isinstance(found.answer, tuple) else found.answer
    (dtype,) = draw.asked_for(argument)
    require(got.dtype.newbyteorder("=") == dtype, f"a result of {got.dtype} for an argument of {argument.dtype}")
    if dtype == np.float64:
        return got
    again = call(argument.astype(np.float64))
    again = again[1] if isinstance(again, tuple) else again
    with np.errstate(all="ignore"):
        require(np.array_equal(got, again.astype(np.float32).reshape(got.shape)), "other numbers in float32")
    return again


def _check_hess_prod(p: Problem, obj: Objective, v: np.ndarray, found: Any) -> None:
    got = _unrounded(lambda u: obj.hess_prod(p.theta, u), found, v)
    if is_determined(p):
        quietly(tolerance.check_hess_prod, p, v, got)
    require(np.isfinite(got).all(), "a Hessian product that is not finite")


def _check_value_and_grad(p: Problem, value: float, grad: np.ndarray | None) -> None:
    require(np.isfinite(value) and (grad is None or np.isfinite(grad).all()), f"not finite: {value}")
    if grad is not None:
        grad = grad.reshape(p.theta.shape)
    if is_determined(p):
        quietly(tolerance.check_value_and_grad, p, value, grad)
    else:
        quietly(_check_bounds, p, value, grad)


def is_determined(p: Problem) -> bool:
    """Whether rounding moves the logits so little that the formulas of `tolerance` hold, which are of first order."""
    with np.errstate(all="ignore"):
        S = tolerance._Parts(p).S.max()
    return bool(S * np.finfo(p.dtype).eps * (tolerance.FEW + tolerance.terms(p) / 2) < 0.25)


def _check_bounds(p: Problem, value: float, grad: np.ndarray | None) -> None:
    """What holds however the largest logits of a row are rounded: a loss moves by at most twice as much as they do, and
    a residual is at most 1."""
    parts = tolerance._Parts(p)
    truth, scale = tolerance.true_value_and_grad(p)[0], tolerance.value_and_grad_scales(p)[0]
    eps = np.finfo(p.dtype).eps
    units = tolerance.FEW + max(tolerance.terms(p), p.theta.size) / 2
    allowed = units * eps * (scale + np.sum(parts.w * 2 * parts.S.max(axis=1)))
    require(abs(value - truth) <= allowed, f"value {value!r}, truth {truth!r}, allowed {float(allowed)}")
    if grad is not None:
        most = tolerance._join(parts.X.T @ np.outer(parts.w, np.ones(p.k)), np.full(p.k, parts.w.sum()), p)
        free = tolerance._join(p.l2 * parts.W, np.zeros(p.k), p)
        beyond = abs(grad - free) - most - units * eps * (most + abs(free)) - tolerance._flushed(p)
        require(beyond.max() <= 0, f"a gradient beyond all residuals, by {float(beyond.max())}")


def quietly(check: Callable[..., None], *args: Any) -> None:
    """The check itself may overflow in the plain formula, which then excuses nothing."""
    with warnings.catch_warnings(), np.errstate(all="ignore"), tolerance.at_worst():
        warnings.simplefilter("ignore")
        check(*args)
