r"""Columns that are nearly multiples of each other, and how much of them a metric cannot see.

Take two columns of mean 10^8 and deviation 1, and no intercept. Both are nearly constant, but a difference of multiples
of them varies as any other column does. It is a share of 10^-8 of their size, and 10^-16 of their second moments, which
is the rounding of a Gram matrix: a metric takes it for nothing and leaves the direction out, or gives it the scale of
the columns. The gradient norm is then small wherever the other directions are at their minimum, and is no sign of
convergence: 400 x 4, k = 3, ended 4 % above the minimum. Two sparse columns with large numbers in the same rows are
another case.

The share is

.. math:: \rho = \min_c \frac{\|x_j - c\, x_i\|^2}{\|x_j\|^2}

with rows by their weights, and columns centered if there is an intercept. The Gram matrix tells which columns are
parallel, and where there is none the products of X with a few random vectors do, which are parallel if columns are.
Where these cannot tell the share, it comes from the rows, in which no digit is lost. A column that is a multiple of
another but for the rounding of its own numbers is no direction of its own, and has no share.

A diagonal metric counts the gradient along the direction as rho of what it may gain. Other metrics count it in full
down to the rounding of the Gram matrix, and below that not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...objective.problem import ProblemWithRows
from .metric import NOISE, Moments

# Roundings of its own numbers within which a column is a multiple of another one.
ROUNDINGS = 4.0
# Random vectors of a sketch. Unit vectors of so many numbers that differ by APART sqrt(rho) or less are candidates.
VECTORS, APART = 6, 8.0
# Fewer rows than this need no more pieces than one for their random numbers.
PIECE = 4096


@dataclass(frozen=True)
class Parallel:
    """Two columns, and their share rho of this file's head. With a penalty, the curvature that it gives the direction
    is added, in units of the column's own."""

    columns: tuple[int, int]
    share: float

    def __str__(self) -> str:
        first, second = self.columns
        what = f"columns {first} and {second} are multiples of each other but for so small a part that the gradient"
        return f"{what} does not tell what it may gain"


def parallel(obj: ProblemWithRows, moments: Moments, l2: float, below: float) -> Parallel | None:
    """The pair of columns with the least share, if that is smaller than ``below``; else None."""
    size = moments.variance
    held = np.divide(2.0 * l2, size, out=np.full(len(size), np.inf), where=size > moments.noise)
    columns = np.flatnonzero(held < below)
    if len(columns) < 2:
        return None
    pairs, shares = _by_gram(moments, columns) if moments.second.ndim == 2 else _by_sketch(obj, moments, columns, below)
    close = shares < below
    pairs, shares = pairs[close], shares[close]
    unsure = shares < ROUNDINGS * NOISE * moments.eps
    if unsure.any():
        shares[unsure] = _measure(obj, moments.mean is not None, pairs[unsure])
    shares += held[pairs[:, 1]]
    if not np.any(shares < below):
        return None
    least = int(np.argmin(shares))
    return Parallel((int(pairs[least, 0]), int(pairs[least, 1])), float(shares[least]))


def _by_gram(moments: Moments, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each column the most parallel one before it, and the share."""
    C = moments.second[np.ix_(columns, columns)]
    if moments.mean is not None:
        C = C - np.multiply.outer(moments.mean[columns], moments.mean[columns])
    scale = 1.0 / np.sqrt(moments.variance[columns])
    cosine = np.abs(np.tril(C * scale * scale[:, None], -1))
    nearest, own = np.argmax(cosine, axis=1), np.arange(len(C))
    shares = 1.0 - np.minimum(cosine[own, nearest], 1.0) ** 2
    return np.column_stack([columns[nearest], columns]), shares


def _by_sketch(
    obj: ProblemWithRows, moments: Moments, columns: np.ndarray, below: float
) -> tuple[np.ndarray, np.ndarray]:
    """Columns beside the nearest one by their products with random vectors; the share 0 says that it is to be
    measured."""
    from scipy.spatial import cKDTree

    sketch, total = obj.sum_columns(_sketch, columns, PIECE)
    if moments.mean is not None:
        sketch -= np.multiply.outer(moments.mean[columns], total)
    length = np.linalg.norm(sketch, axis=1)
    sketch /= np.where(length > 0, length, 1.0)[:, None] * np.where(sketch[:, :1] < 0, -1.0, 1.0)
    found: Any = cKDTree(sketch).query(sketch, k=2)
    distance, nearest = found
    # Of columns that are equal, the nearest may be the column itself in either place.
    own = np.arange(len(columns))
    other = np.where(nearest[:, 1] == own, nearest[:, 0], nearest[:, 1])
    close = distance[:, 1] < APART * np.sqrt(below)
    return np.column_stack([columns[other], columns])[close], np.zeros(int(close.sum()))


def _sketch(X: Any, w: np.ndarray, start: int) -> tuple[np.ndarray, ...]:
    """The products of some rows' columns with random vectors, and the sums of these."""
    R = w[:, None] * np.random.default_rng([0, start]).standard_normal((len(w), VECTORS))
    return X.T @ R, R.sum(axis=0)


def _measure(obj: ProblemWithRows, intercept: bool, pairs: np.ndarray) -> np.ndarray:
    """The shares of some pairs, from the rows; infinite for columns that are multiples of each other."""
    first, second = pairs.T
    ratio = np.zeros(len(pairs))
    # Twice, since the ratio that the sums of the first walk give is off by their rounding.
    for _ in range(2):
        sums, total, size = obj.sum_columns(partial(_moments_of_pairs, ratio), np.concatenate([first, second]), PIECE)
        mean_x, mean_r, xx, xr, rr = sums / total
        if intercept:
            xx, xr, rr = xx - mean_x**2, xr - mean_x * mean_r, rr - mean_r**2
        slope = np.divide(xr, xx, out=np.zeros(len(pairs)), where=xx > 0)
        left = np.maximum(rr - slope * xr, 0.0)
        ratio += slope
    share = np.divide(left * total, size, out=np.zeros(len(pairs)), where=size > 0)
    rounding = ROUNDINGS * float(np.finfo(obj.dtype).eps)
    return np.where(share > rounding**2, share, np.inf)


def _moments_of_pairs(ratio: np.ndarray, X: Any, w: np.ndarray, start: int) -> tuple[np.ndarray, ...]:
    """Sums over some rows of x, r, x x, x r and r r, where r is the pair's second column less ``ratio`` times x, its
    first; of the weights; and of the squares of the second."""
    x, other = X[:, : len(ratio)], X[:, len(ratio) :]
    r = other - (x * ratio if isinstance(x, np.ndarray) else x.multiply(ratio[None, :]).tocsr())
    sums = np.array([w @ each for each in (x, r, _product(x, x), _product(x, r), _product(r, r))])
    return sums, w.sum(), w @ _product(other, other)


def _product(A: Any, B: Any) -> Any:
    return A * B if isinstance(A, np.ndarray) else A.multiply(B)
