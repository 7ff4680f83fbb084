"""Arrays of every dtype, layout and size of numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from problems import LAYOUTS, Problem

from fastsoftmax.data.validation import compute_dtype

Rng = np.random.Generator
FLOATS = ("f8", "f4", "f2", "g")
DTYPES = (*FLOATS, "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
# Sizes of numbers, and how often they are drawn.
SIZES = {"normal": 0.4, "scale": 0.15, "spread": 0.15, "tiny": 0.1, "huge": 0.05, "few": 0.1, "zeros": 0.05}
# Products of longdouble of the truth: more of them take more than a second.
MOST_PRODUCTS = 3_000_000


def one_of(rng: Rng, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def shape(rng: Rng) -> tuple[int, int, int]:
    """m, n, k up to 300, most of them small."""
    while True:
        m, n, k = (int(rng.integers(1, 1 + one_of(rng, (3, 8, 8, 20, 40, 300)))) for _ in range(3))
        if m * n * (k + 1) <= MOST_PRODUCTS:
            return m, n, k + 1


def numbers(rng: Rng, size: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Numbers of a dtype, of one size or of all that it holds; finite."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(size) < one_of(rng, (0.0, 0.1, 0.5, 1.0))
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        if rng.random() < 0.6:
            return rng.integers(max(info.min, -9), 10, size).astype(dtype)
        return rng.integers(info.min, info.max, size, dtype, endpoint=True)
    info = np.finfo("f8" if dtype.char == "g" else dtype)
    kind = rng.choice(list(SIZES), p=list(SIZES.values()))
    x = rng.standard_normal(size)
    low, high = np.log10(float(info.smallest_subnormal)), np.log10(float(info.max)) - 1
    if kind == "scale":
        x *= 10.0 ** rng.uniform(low, high)
    elif kind == "spread":
        x *= 10.0 ** rng.uniform(low / 2, high / 2, size)
    elif kind == "tiny":
        x *= float(info.tiny)
    elif kind == "huge":
        x = rng.choice([-1.0, 1.0], size) * float(info.max) * rng.uniform(0.5, 1)
    elif kind == "few":
        x = rng.choice([0.0, -0.0, 1.0, -1.0, 0.5, float(info.eps), float(info.tiny)], size)
    elif kind == "zeros":
        x[...] = 0.0
    with np.errstate(all="ignore"):
        return np.clip(x, float(info.min), float(info.max)).astype(dtype)


class Own(np.ndarray):
    """A subclass that has opinions about arithmetic, which must not matter."""

    def __array_ufunc__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("arithmetic on a subclass")


def _zero_rows(X: np.ndarray) -> np.ndarray:
    return np.broadcast_to(X[:1], X.shape)


def _zero_columns(X: np.ndarray) -> np.ndarray:
    return np.broadcast_to(X[:, :1], X.shape)


def _overlapping(X: np.ndarray) -> np.ndarray:
    """Rows that begin one number behind each other, in the same memory."""
    m, n = X.shape
    flat = np.resize(X.ravel(), m + n - 1)
    return np.lib.stride_tricks.as_strided(flat, (m, n), (flat.itemsize, flat.itemsize))


WAYS = {
    **LAYOUTS,
    "stride 0 of rows": _zero_rows,
    "stride 0 of columns": _zero_columns,
    "overlapping": _overlapping,
    "subclass": lambda X: X.view(Own),
    "swapped": lambda X: X.astype(X.dtype.newbyteorder()),
    "matrix": lambda X: _matrix(X),
    "nested lists": lambda X: X.tolist(),
}


def _matrix(X: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.matrix(X)


def layout(rng: Rng, X: np.ndarray) -> Any:
    """X in one of the ways to hold it. The values of some are other ones than those of X."""
    names = list(WAYS) if X.dtype.char not in "g" else [name for name in WAYS if name != "nested lists"]
    return WAYS[one_of(rng, names)](X)


def values_of(given: Any) -> np.ndarray:
    """What a way of holding X holds, as a plain array."""
    return np.array(given, copy=True, subok=False) if not isinstance(given, Own) else np.array(given.view(np.ndarray))


def vector(rng: Rng, array: np.ndarray) -> Any:
    """A 1-D array in one of the ways to hold it, the values unchanged."""
    way = int(rng.integers(7))
    if way == 0:
        return array[::-1].copy()[::-1]
    if way == 1:
        return np.repeat(array, 2)[::2]
    if way == 2:
        return array.astype(array.dtype.newbyteorder())
    if way == 3:
        return array.tolist()
    if way == 4:
        array = array.copy()
        array.flags.writeable = False
    return array


def weights(rng: Rng, m: int) -> np.ndarray | None:
    """None, or weights of which at least one is positive."""
    kind = int(rng.integers(6))
    if kind < 2:
        return None
    w = rng.random(m)
    if kind == 2:
        w = 10.0 ** rng.uniform(-300, 300, m)
    elif kind == 3:
        w *= 10.0 ** rng.uniform(-300, 300)
    elif kind == 4:
        w = rng.choice([0.0, 1.0, 3.0], m)
    w[rng.integers(m)] = max(w.max(), 1e-300)
    return w.astype("f4") if kind == 5 else w


def labels(rng: Rng, m: int, k: int) -> np.ndarray:
    """Class numbers; some classes may have no row."""
    among = k if rng.random() < 0.7 else int(rng.integers(1, k + 1))
    return rng.integers(among, size=m).astype(one_of(rng, ("i4", "i8", "u2", "f8", "i8")))


def problem(rng: Rng) -> tuple[Problem, dict[str, Any]]:
    """A problem with plain arrays, and the same as a caller hands it in."""
    m, n, k = shape(rng)
    X = layout(rng, numbers(rng, (m, n), one_of(rng, DTYPES)))
    plain, intercept = values_of(X), bool(rng.integers(2))
    if isinstance(X, list):
        plain = np.asarray(X)
    theta = numbers(rng, (n + intercept, k), one_of(rng, ("f8", "f4", "f8", "f4", "i4", "f2")))
    if rng.random() < 0.6 and theta.dtype.kind == "f":
        theta = rng.standard_normal(theta.shape).astype(theta.dtype)
    y, w, l2 = labels(rng, m, k), weights(rng, m), one_of(rng, (0.0, 0.0, 0.1, 10.0 ** rng.uniform(-30, 30)))
    p = Problem(plain, y.astype(np.int64), theta, w, intercept, float(l2))
    given = {"X": X, "y": vector(rng, y), "w": None if w is None else vector(rng, w), "theta": theta}
    if rng.random() < 0.5:
        given["theta"] = layout(rng, theta)
        p = p.but(theta=values_of(given["theta"]))
    return p, given


def largest(*arrays: np.ndarray) -> float:
    return max(1.0, *(float(abs(a.astype(np.longdouble)).max(initial=0.0)) for a in arrays))


def is_tame(p: Problem, *more: np.ndarray) -> bool:
    """Whether nothing that a pass computes, or is asked for, can overflow: a bound on all of it."""
    smallest = min(np.finfo(dtype).max for dtype in (compute_dtype(p.X.dtype), *asked_for(p.theta, *more)))
    x, t = largest(p.X), largest(p.theta, *more)
    bound = np.longdouble(x) ** 2 * t * len(p.X) * p.X.shape[1] * p.k + np.longdouble(p.l2) * t * t * p.theta.size
    return bool(bound < smallest / 16)


def asked_for(*arrays: np.ndarray) -> list[np.dtype]:
    """The dtypes in which results like these arrays come."""
    return [np.dtype(np.float32 if a.dtype.newbyteorder("=") == np.float32 else np.float64) for a in arrays]
