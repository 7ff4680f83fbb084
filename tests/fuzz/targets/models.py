"""`Model`, `predict_proba` and `softmax` against the plain formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tolerance

import fastsoftmax
from fastsoftmax import Model

from .. import draw
from ..verdict import outcome, require
from .objectives import BACKENDS, is_determined, quietly

KINDS = {"predict": "label", "predict_proba": "proba", "predict_log_proba": "log_proba", "decision_function": "logits"}


def predict(rng: np.random.Generator, folder: Path) -> bool:
    if rng.random() < 0.2:
        return _softmax(rng)
    p, given = draw.problem(rng)
    p = p.but(theta=np.where(np.isfinite(p.theta), p.theta, 0).astype(draw.asked_for(p.theta)[0]))
    theta, bias = (p.theta[:-1], p.theta[-1]) if p.fit_intercept else (p.theta, None)
    model = Model(draw.layout(rng, theta) if rng.random() < 0.2 else theta, bias)
    p = p.but(theta=np.vstack([model.theta, bias]) if p.fit_intercept else model.theta)
    method = draw.one_of(rng, tuple(KINDS))
    options = {"backend": draw.one_of(rng, BACKENDS), "n_threads": draw.one_of(rng, (1, 2))}
    found = outcome(lambda: getattr(model, method)(given["X"], **options))
    if found.refused:
        with np.errstate(all="ignore"):
            finite = bool(np.isfinite(p.theta.astype(p.dtype)).all())
        require(not (finite and draw.is_tame(p)), f"a sound X is refused: {found.error}")
        return True
    _check(p, method, found.answer)
    if rng.random() < 0.3:
        count = int(rng.integers(1, p.k + 1))
        labels, proba = model.top_k(given["X"], count, **options)
        require(labels.shape == proba.shape == (len(p.X), count), "top_k of another shape")
        require((np.diff(proba, axis=1) <= 0).all(), "probabilities of top_k rise")
        require((np.sort(labels, axis=1)[:, 1:] != np.sort(labels, axis=1)[:, :-1]).all(), "a label twice in top_k")
    return False


def _check(p: Any, method: str, got: np.ndarray) -> None:
    wanted = (len(p.X),) if method == "predict" else (len(p.X), p.k)
    require(got.shape == wanted, f"{method} has shape {got.shape}")
    if method != "predict":
        require(got.dtype == p.dtype, f"{method} has dtype {got.dtype}")
        # The logarithm of a difference of finite logits may be beyond the largest number.
        require(np.isfinite(got).all() or method == "predict_log_proba", f"{method} is not finite")
        require(not np.isnan(got).any(), f"{method} is NaN")
    if method == "predict_proba":
        off = abs(got.sum(axis=1, dtype=np.float64) - 1).max()
        require(off <= (p.k + tolerance.FEW) * np.finfo(p.dtype).eps, f"probabilities add up to 1 within {off}")
    if method in ("predict", "decision_function") or is_determined(p):
        quietly(tolerance.check_prediction, p, KINDS[method], got)


def _softmax(rng: np.random.Generator) -> bool:
    m, _, k = draw.shape(rng)
    H = draw.layout(rng, draw.numbers(rng, (m, k), draw.one_of(rng, draw.DTYPES)))
    plain = draw.values_of(H)
    Z = fastsoftmax.softmax(H)
    dtype = fastsoftmax.data.validation.compute_dtype(plain.dtype)
    require(Z.dtype == dtype and Z.shape == plain.shape, f"{Z.dtype} {Z.shape} of {plain.dtype} {plain.shape}")
    wide = plain.astype(dtype).astype(np.longdouble)
    with np.errstate(all="ignore"):
        gap = wide - wide.max(axis=1, keepdims=True)
        truth = np.exp(gap)
        truth /= truth.sum(axis=1, keepdims=True)
        # One rounding of each difference, two of exp, and those of a sum of k terms.
        allowed = (tolerance.FEW + abs(gap) + k) * np.finfo(dtype).eps * truth + np.finfo(dtype).tiny
    off = float(np.max(abs(Z - truth) / allowed))
    require(off <= 1, f"off by {off} of what is allowed")
    return False
