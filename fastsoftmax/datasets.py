"""Random problems from a seed, and the data sets that come with scikit-learn: for tests, benchmarks and first steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from . import _extras
from .data import validation

SAMPLES = ("digits", "iris", "wine", "breast_cancer")

# How many random numbers `make_problem` draws at a time: 32 MB in float64, so that memory beside X does not grow with
# m. Another number would make another problem from the same seed.
_CHUNK_NUMBERS = 1 << 22


class Problem(NamedTuple):
    """What `make_problem` returns: X (m, n), labels y (m,) int32 in 0..k-1, and the true theta (n, k) float64."""

    X: np.ndarray
    y: np.ndarray
    theta: np.ndarray


def make_problem(
    m: int, n: int, k: int, *, dtype: DTypeLike = np.float64, order: str = "C", signal: float = 2.0, seed: int = 0
) -> Problem:
    """A random problem of which the true parameters are known: normal X, and y drawn from a softmax model.

    X_ij ~ N(0, 1) and theta_jc ~ N(0, signal^2 / n), so that the logits have the standard deviation ``signal`` for any
    n. The label y_i is drawn with the probabilities softmax(X_i theta).

    Parameters
    ----------
    m, n, k : int
        Numbers of rows, features and classes.
    dtype : {float32, float64}
        That of X.
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
    TypeError
        For a count that is no whole number, or a signal that is no number.
    ValueError
        For counts below 1, k below 2, a negative signal, or another dtype or order.

    Examples
    --------
    >>> from fastsoftmax import datasets
    >>> X, y, theta = datasets.make_problem(1000, 20, 5, dtype="float32")
    >>> X.shape, X.dtype, y.shape, theta.shape
    ((1000, 20), dtype('float32'), (1000,), (20, 5))
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
    """One of the data sets that come with scikit-learn.

    Parameters
    ----------
    name : {"digits", "iris", "wine", "breast_cancer"}

    Returns
    -------
    X : float64 ndarray (m, n)
    y : ndarray (m,)
        Labels: the digits are integers, the others strings.
    feature_names : list of str (n,)

    Raises
    ------
    ValueError
        If ``name`` is not one of `SAMPLES`.
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> from fastsoftmax import datasets
    >>> X, y, names = datasets.load_sample("iris")
    >>> X.shape, str(y[0]), names[0]
    ((150, 4), 'setosa', 'sepal length (cm)')
    """
    if name not in SAMPLES:
        raise ValueError(f"name must be one of {', '.join(map(repr, SAMPLES))}; got {name!r}")
    bunch = getattr(_extras.load("sklearn.datasets", "a bundled sample"), f"load_{name}")()
    return (bunch.data, bunch.target_names[bunch.target], [str(feature) for feature in bunch.feature_names])


def split_rows(y: np.ndarray, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows into some to train on and some to hold out, with the same shares of the classes in each (stratified).

    Rows are sorted by class, in random order within a class, and every (1/fraction)-th is held out: the number of rows
    held out of a class is right to within one, and so is the total. One row of each class is set aside for training
    first, so that no class is in the held-out rows alone.

    Parameters
    ----------
    y : ndarray (m,)
        Labels of any type.
    fraction : float
        Share of the rows to hold out, 0 <= fraction < 1.
    seed : int
        The same arguments give the same rows.

    Returns
    -------
    train, test : int64 ndarray
        Row numbers, ascending.

    Raises
    ------
    TypeError, ValueError
        If ``fraction`` is no number, or not in [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax import datasets
    >>> train, test = datasets.split_rows(np.repeat(["cat", "dog"], 50), 0.2)
    >>> len(train), len(test)
    (80, 20)
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
    """One class for each row, drawn with the probabilities softmax(H).

    Of independent exponential variables E_c / e^H_c the smallest is that of class c with just these probabilities.
    """
    first: np.ndarray = np.argmin(np.log(rng.standard_exponential(H.shape)) - H, axis=1)
    return first
