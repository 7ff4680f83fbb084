"""Random problems, as the objective and as kernels get them, in every memory layout a caller may hand in; models."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from fastsoftmax import Model, Objective, minimize
from fastsoftmax.data.bfloat16 import BFLOAT16, as_numbers
from fastsoftmax.data.sources.memory import ArraySource
from fastsoftmax.data.validation import compute_dtype
from fastsoftmax.kernels.contract import Parameters, Sums
from fastsoftmax.kernels.plan import BLOCK_BYTES, make_plan


@dataclass(frozen=True, eq=False)
class Problem:
    """All inputs of the objective; theta has the bias in its last row if ``fit_intercept``."""

    X: np.ndarray
    y: np.ndarray
    theta: np.ndarray
    w: np.ndarray | None = None
    fit_intercept: bool = False
    l2: float = 0.0

    @property
    def k(self):
        return self.theta.shape[1]

    @property
    def dtype(self):
        """That of the computation: float32 or float64."""
        return compute_dtype(self.X.dtype)

    @property
    def numbers(self):
        """X, also where it holds bits of bfloat16."""
        return as_numbers(self.X)

    def objective(self, backend, **options):
        return Objective(
            self.X,
            self.y,
            self.k,
            fit_intercept=self.fit_intercept,
            sample_weight=self.w,
            l2=self.l2,
            backend=backend,
            **options,
        )

    def plan(self, *, tiles=None, **overrides):
        """The default plan with some choices replaced; ``tiles`` sets the block in units of whole tiles."""
        m, n = self.X.shape
        block = None if tiles is None else tiles * BLOCK_BYTES // self.dtype.itemsize
        return make_plan(m, n, self.k, self.dtype, block=block, **overrides)

    def rows(self, module):
        """All rows as one chunk that ``module`` can read."""
        (rows,) = ArraySource(self.X, self.y, self.w, reads=module.READS).chunks(len(self.X))
        return rows

    def parameters(self, theta=None):
        """theta (or another array of its shape) as kernels get it: C order, dtype of X, bias apart."""
        theta = np.ascontiguousarray(self.theta if theta is None else theta, self.dtype)
        return Parameters(theta[:-1], theta[-1]) if self.fit_intercept else Parameters(theta)

    def sums(self, plan, *, k=None, grad=True):
        """Zeros; scaled so that their total is a weighted mean."""
        total = len(self.X) if self.w is None else self.w.sum()
        return Sums.zeros(plan.slabs, self.k if k is None else k, self.X.shape[1], 1.0 / total, grad=grad)

    def but(self, **changes):
        return replace(self, **changes)


def random_problem(m, n, k, *, dtype="f8", seed=0, weights=False, intercept=False, l2=0.0, layout="C", positive=False):
    """Standard normal X (uniform in [0, 1) if ``positive``; eight times that for integers), logits of a few units.

    ``dtype="V"`` is bfloat16.
    """
    rng = np.random.default_rng(seed)
    dtype = BFLOAT16 if dtype == "V" else np.dtype(dtype)
    X = rng.random((m, n)) if positive else rng.standard_normal((m, n))
    theta = rng.standard_normal((n + intercept, k)) * (2 / np.sqrt(n))
    if dtype.kind == "b":
        X = X > 0.5
    elif dtype.kind in "iu":
        X, theta = np.clip(8 * (abs(X) if dtype.kind == "u" else X), -128, 127), theta / 8
    X = upper_halves(X) if dtype == BFLOAT16 else X.astype(dtype)
    theta = theta.astype(compute_dtype(dtype))
    y = rng.integers(k, size=m).astype(np.int32)
    w = None
    if weights:
        w = rng.random(m) * rng.choice([0.0, 1.0, 3.0], size=m)
        w[rng.integers(m)] = 1.0
    return Problem(LAYOUTS[layout](X), y, theta, w, intercept, l2)


def upper_halves(X):
    """The bits of numbers that are cut to bfloat16."""
    return (X.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(BFLOAT16)


def random_model(n=5, k=4, bias=True, seed=0, **parts):
    rng = np.random.default_rng(seed)
    return Model(rng.standard_normal((n, k)), rng.standard_normal(k) if bias else None, **parts)


def random_rows(m=70, n=5, dtype=np.float64, seed=1):
    return np.random.default_rng(seed).standard_normal((m, n)).astype(dtype)


def _spread(X, row_step, column_step):
    """X as a view of a larger array, whose other elements would spoil any sum they entered."""
    m, n = X.shape
    spoil = np.nan if X.dtype.kind == "f" else 1
    shape = (m * abs(row_step), n * abs(column_step))
    big = upper_halves(np.full(shape, np.nan)) if X.dtype == BFLOAT16 else np.full(shape, spoil, X.dtype)
    view = big[::row_step, ::column_step]
    view[:] = X
    return view


def _read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def _unaligned(X):
    """Rows inside packed records behind one byte each: no element lies at a multiple of its size."""
    records = np.zeros(len(X), dtype=[("tag", "i1"), ("x", X.dtype, (X.shape[1],))])
    records["x"] = X
    return records["x"]


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided rows": lambda X: _spread(X, 2, 1),
    "strided columns": lambda X: _spread(X, 1, 3),
    "strided both": lambda X: _spread(X, 3, 2),
    "F strided rows": lambda X: _spread(X.T, 1, 2).T,
    "F strided columns": lambda X: _spread(X.T, 2, 1).T,
    "negative rows": lambda X: _spread(X, -1, 1),
    "negative columns": lambda X: _spread(X, 1, -1),
    "negative both": lambda X: _spread(X, -2, -2),
    "read-only": _read_only,
    "unaligned": _unaligned,
}


def random_csr(m, n, density, seed, dtype="f8"):
    """A csr_array with about that share of entries, each between 0 and 1. SciPy's own takes a Generator since 1.15."""
    rng = np.random.default_rng(seed)
    places = np.unique(rng.integers(m * n, size=round(density * m * n)))
    entries = rng.random(len(places)).astype(dtype)
    return scipy.sparse.csr_array((entries, np.divmod(places, n)), shape=(m, n))


# ------------------------------------------------------------------- the same rows in memory, in files, from functions


def lettered_problem(m=3000, n=5, k=3, dtype="f4", seed=0):
    """X (m, n) and labels "a", "b", ... that depend on it."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(m, n)).astype(dtype)
    logits = X @ rng.normal(size=(n, k)) + rng.gumbel(size=(m, k))
    return X, np.array(list("abcdefghij"))[logits.argmax(axis=1)]


def names_of(X):
    return [f"x{j}" for j in range(X.shape[1])]


def write_parquet(path, X, labels=None, *, rows=700, **more):
    """A Parquet file with columns x0, x1, ... and the labels y, in row groups of so many rows."""
    import pyarrow
    import pyarrow.parquet

    columns = {name: X[:, j] for j, name in enumerate(names_of(X))}
    table = pyarrow.table(columns | ({} if labels is None else {"y": labels}) | more)
    pyarrow.parquet.write_table(table, path, row_group_size=rows, compression="NONE", use_dictionary=["y"])
    return path


def chunks_of(*arrays, rows=700):
    """A function that yields the same rows of all arrays, so many at a time."""

    def chunks():
        for start in range(0, arrays[0].shape[0], rows):
            yield tuple(array[start : start + rows] for array in arrays)

    return chunks


def fitted(data, y=None, *, solver="lbfgs", **options):
    """theta of a fit; ``y`` are class numbers of data in memory."""
    return minimize(Objective(data, y, fit_intercept=True, l2=1e-3, **options), solver=solver).theta
