"""Seeded problems and the samples that come with scikit-learn; for tests, benchmarks and first steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from . import _extras
from .data import validation

SAMPLES = ("digits", "iris", "wine", "breast_cancer")

# Numbers drawn at a time: 32 MB in float64, so that memory beside X stays small at any m. Part of
# the definition of a problem: another size draws other numbers from the same seed.
_CHUNK_NUMBERS = 1 << 22


class Problem(NamedTuple):
    """X (m, n), labels y (m,) int32 in 0..k-1, and the theta (n, k) float64 that y was drawn from."""

    X: np.ndarray
    y: np.ndarray
    theta: np.ndarray


def make_problem(
    m: int, n: int, k: int, *, dtype: DTypeLike = np.float64, order: str = "C", signal: float = 2.0, seed: int = 0
) -> Problem:
    """Normal X, and y drawn from a softmax model of it.

    X_ij ~ N(0, 1) and theta_jc ~ N(0, signal^2 / n), so that each logit has a standard deviation
    of ``signal`` whatever n is; y_i is drawn with the probabilities softmax(X_i theta).

    Parameters
    ----------
    m, n, k : int
        Rows, features, classes.
    dtype : float32 or float64
    order : {"C", "F"}
        Memory order of X. The numbers are the same in both.
    signal : float
        0 makes y independent of X; large values make the classes nearly separable.
    seed : int
        The same arguments give the same problem.

    Returns
    -------
    Problem
        X, y and theta. The memory used beside X and y does not depend on m.

    Raises
    ------
    TypeError, ValueError
        For counts below 1, k below 2, or another dtype or order.
    """
    m, n, k = (validation.check_count(value, name) for value, name in ((m, "m"), (n, "n"), (k, "k")))
    validation.check_count(k, "k", at_least=2)
    signal = validation.check_real(signal, "signal")
    dtype = np.dtype(dtype)
    if dtype.char not in "fd":
        raise ValueError(f"dtype must be float32 or float64; got {dtype}")
    if order not in ("C", "F"):
        raise ValueError(f"order must be 'C' or 'F'; got {order!r}")
    rng = np.random.default_rng(seed)
    theta = rng.normal(scale=signal / np.sqrt(n), size=(n, k))
    X = np.empty((m, n), dtype, order="F" if order == "F" else "C")
    y = np.empty(m, np.int32)
    step = max(1, _CHUNK_NUMBERS // max(n, k))
    for start in range(0, m, step):
        rows = slice(start, min(start + step, m))
        X[rows] = rng.standard_normal((rows.stop - start, n))
        y[rows] = _draw(X[rows] @ theta, rng)
    return Problem(X, y, theta)


def load_sample(name: str = "digits") -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One of scikit-learn's bundled data sets: X (m, n) float64, labels (m,), names of the features.

    Raises
    ------
    ValueError
        If ``name`` is not one of `SAMPLES`.
    ImportError
        If scikit-learn is not installed.
    """
    if name not in SAMPLES:
        raise ValueError(f"name must be one of {', '.join(map(repr, SAMPLES))}; got {name!r}")
    bunch = getattr(_extras.load("sklearn.datasets", "a bundled sample"), f"load_{name}")()
    return (bunch.data, bunch.target_names[bunch.target], [str(feature) for feature in bunch.feature_names])


def split_rows(y: np.ndarray, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to train on and to hold out, both sorted; every class keeps its share in each.

    Rows are put in order by class, shuffled within a class, and every (1/fraction)-th is held out: a
    class's share is then right to within one row, and so is the total. One row of each class is
    set aside for training first, so that no class is only ever seen when it is too late to learn it.

    Parameters
    ----------
    y : ndarray (m,)
        Labels of any type.
    fraction : float
        Share of the rows to hold out, 0 <= fraction < 1.

    Returns
    -------
    train, test : int64 ndarray
    """
    fraction = validation.check_real(fraction, "fraction")
    if fraction >= 1:
        raise ValueError(f"fraction must be below 1; got {fraction}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    first_of_class = np.append(True, y[order][1:] != y[order][:-1])
    spare = order[~first_of_class]
    wanted = min(round(fraction * len(y)), len(spare))
    test = np.zeros(len(y), bool)
    if wanted:
        test[spare[((np.arange(wanted) + rng.random()) * (len(spare) / wanted)).astype(np.int64)]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)


def _draw(H: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One class per row with probabilities softmax(H): of exponential clocks with rates e^H, the first to ring."""
    first: np.ndarray = np.argmin(np.log(rng.standard_exponential(H.shape)) - H, axis=1)
    return first
