"""One argument of a sound call is replaced by something odd: the call names it, or takes it for what NumPy reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

import fastsoftmax
from fastsoftmax import Model, Objective

from .. import draw
from ..verdict import ARGUMENTS, outcome, require

Rng = np.random.Generator
SCALARS = (None, 0, 1, -1, 2, 1.5, 3.0, float("nan"), float("inf"), -0.0, 1e308, 5e-324, 10**40, True, "1", "auto")
SCALARS += (b"x", (), [], [1], {}, object(), 1j, np.float32(1), np.int8(1), np.array(1), np.array([1.0]), slice(None))
ODD_DTYPES = ("c16", "O", "U3", "S2", "M8[s]", "m8[s]", "V4")


def arguments(rng: Rng, folder: Path) -> bool:
    m, n, k = (int(rng.integers(2, 9)) for _ in range(3))
    sound: dict[str, Any] = {
        "X": rng.standard_normal((m, n)).astype(draw.one_of(rng, ("f4", "f8"))),
        "y": np.r_[0, k - 1, rng.integers(k, size=m - 2)],
        "theta": rng.standard_normal((n, k)),
        "sample_weight": rng.random(m) + 0.1,
        "l2": 0.1,
        "label_smoothing": 0.0,
        "fit_intercept": False,
        "n_threads": 1,
        "backend": "cython",
    }
    name = draw.one_of(rng, tuple(sound))
    given = sound | {name: odd(rng, sound[name])}
    call = draw.one_of(rng, (_function, _objective, _evaluate, _minimize, _model))
    found = outcome(lambda: call(**given), (*ARGUMENTS, name))
    if not found.refused:
        require(all(np.isfinite(part).all() for part in found.answer), f"not finite: {found.answer}")
        _same_as_plain(call, given, name, found.answer)
    return found.refused


def odd(rng: Rng, value: Any) -> Any:
    """Something else than an argument that is sound."""
    if not isinstance(value, np.ndarray) or rng.random() < 0.15:
        return draw.one_of(rng, SCALARS)
    way = int(rng.integers(13))
    with np.errstate(all="ignore"):
        if way < 3:  # numbers that are not finite, or beyond the others
            out = value.astype(np.float64)
            bad = (np.nan, np.inf, -np.inf, -1.0, 0.5, 1e308, -1e308, 2.0**31, 2.0**53, 5e-324)
            out.flat[int(rng.integers(out.size))] = draw.one_of(rng, bad)
            return out
        if way == 3:
            return np.resize(value, tuple(rng.integers(0, 4, int(rng.integers(0, 4)))))
        if way == 4:
            dtype = draw.one_of(rng, ODD_DTYPES)
            return np.zeros(value.shape, dtype) if dtype in ("V4", "M8[s]", "m8[s]") else value.astype(dtype)
        if way == 5:
            return np.ma.masked_array(value, rng.random(value.shape) < 0.3)
        if way == 6:
            return value.T
        if way == 7:
            return value[..., None]
        if way == 8:
            out = value.tolist()
            out[int(rng.integers(len(out)))] = draw.one_of(rng, SCALARS)
            return out
        if way == 9:
            return np.zeros_like(value)
        if way == 10:
            return scipy.sparse.csr_array(np.atleast_2d(value))
        if way == 11:
            return value[:0]
        return value.astype(draw.one_of(rng, draw.DTYPES))


def _function(**given: Any) -> Any:
    return fastsoftmax.loss_and_grad(given.pop("X"), given.pop("y"), given.pop("theta"), **given)


def _objective(**given: Any) -> Any:
    theta = given.pop("theta")
    return Objective(**given, n_classes=None).value_and_grad(theta)


def _evaluate(**given: Any) -> Any:
    theta = given.pop("theta")
    found = Objective(**given).evaluate(theta, row_loss=True, label=True)
    return found.value, found.grad, found.row_loss, found.label


def _minimize(**given: Any) -> Any:
    theta = given.pop("theta")
    result = fastsoftmax.minimize(Objective(**given), theta0=theta, max_iter=3)
    return result.value, result.theta


def _model(**given: Any) -> Any:
    model = Model(given["theta"])
    return model.predict_proba(given["X"], backend=given["backend"], n_threads=given["n_threads"]), model.theta


def _same_as_plain(call: Any, given: dict[str, Any], name: str, answer: Any) -> None:
    """What was taken is taken as NumPy reads it: a plain array of the same numbers gives the same answer."""
    value = given[name]
    used = ("X", "theta") if call is _model else ("X", "y", "theta", "sample_weight")
    if name not in used or value is None or scipy.sparse.issparse(value):
        return
    require(not np.ma.isMaskedArray(value), f"the mask of {name} was dropped")
    plain = np.asarray(value)
    plain = plain.astype(np.float64) if plain.dtype.kind in "biu" and name != "X" else plain
    again = call(**{**given, name: plain})
    for one, other in zip(answer, again, strict=True):
        require(np.array_equal(one, other), f"{name} as a plain array gives another answer")
