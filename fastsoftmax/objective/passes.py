"""What differs between passes over dense and over sparse rows: the plan, the sums, the kernels.

`DensePasses` and `SparsePasses` have the same methods, so that `Objective` and `Model` need not tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..data.bfloat16 import as_numbers
from ..data.sources.memory import ArraySource, ShiftedSource, SparseSource
from ..data.sources.scan import Scan
from ..data.sources.source import DenseSource, Source, SparseRows
from ..data.validation import all_finite, check_count, nonfinite_place
from ..kernels.contract import Csr, Kernels, Rows, Sums
from ..kernels.plan import FLUSH_ROWS, SLAB_BYTES, Plan, hot_columns, make_plan, make_sparse_plan
from ..kernels.units import UNITS
from . import reduce

# Gradient sums of at least this size are kept for the next pass; malloc itself keeps smaller ones. 20k x 1024, k =
# 1000: a pass takes 3 % longer if the system has to map and clear 64 MB of pages each time. Filling kept ones with
# zeros takes half the time of that.
KEPT_BYTES = 32 << 20
# Up to so many numbers the backend turns the sums into the gradient in one call. The ten NumPy calls of
# `reduce.scale_and_penalize` were a quarter of the Python time of a pass.
SMALL = 1 << 15
# Cheap passes are at least so many times as fast as exact ones, or the exact passes by which solvers measure the errors
# of the cheap ones would cost more than these save.
CHEAP = 2.0


class DensePasses:
    """Passes over dense rows by the kernels of a backend."""

    def __init__(self, source: DenseSource, kernels: Kernels) -> None:
        self.source, self._kernels = source, kernels
        self.value_and_grad, self.hess_prod = kernels.value_and_grad, kernels.hess_prod
        self._kept: list[Sums] = []  # at most one, unless several threads call at once

    def shifted(self, shift: np.ndarray, *, copied: bool) -> DensePasses:
        """Passes over X - shift: a copy of X if ``copied``, else shifted a chunk at a time in every pass."""
        source, kernels = self.source, self._kernels
        if not copied:
            return DensePasses(ShiftedSource(source, shift), kernels)
        assert isinstance(source, ArraySource)
        X = np.subtract(as_numbers(source.X), shift, dtype=source.dtype)
        options: Any = {"reads": kernels.READS, "smoothing": source.smoothing}
        return DensePasses(ArraySource(X, source.targets, source.w, **options), kernels)

    def plan(self, k: int, *, gradient: bool = True, strategy: str | None = None) -> Plan:
        if "class-parallel" not in self._kernels.STRATEGIES:
            strategy = "row-parallel"
        (m, n), dtype, layout = self.source.shape, self.source.dtype, self.source.layout
        wing = self._kernels.WING
        return make_plan(m, n, k, dtype, layout=layout, wing=wing, strategy=strategy, gradient=gradient)

    def are_cheaper(self, plan: Plan, k: int) -> bool:
        """Whether passes with ``precision="bfloat16"`` are much faster than those with this plan."""
        source = self.source
        if type(source) is not ArraySource or source.layout.converted:
            return False
        X, plan = source.X[: plan.chunk], replace(plan, precision="bfloat16")
        chosen: Any = self._kernels.products(X.shape, X.strides, X.dtype, plan, k)
        return getattr(chosen, "forward_parts", 0) == 1 and UNITS[chosen.units].speed >= CHEAP

    def sums(self, plan: Plan, k: int, scale: float, *, grad: bool = True) -> Sums:
        # Sums of a class-parallel pass may be float32 if there are no more rows than float32 sums may run over.
        shared = plan.strategy == "class-parallel" and "class-parallel" in self._kernels.STRATEGIES
        few = shared and self.source.shape[0] <= FLUSH_ROWS
        dtype = self.source.dtype if few else np.float64
        kept = self._take(plan.slabs, k) if grad else None
        if kept is None:
            return Sums.zeros(plan.slabs, k, self.source.shape[1], scale, grad=grad, dtype=dtype)
        kept.clear(scale)
        return kept

    def _take(self, slabs: int, k: int) -> Sums | None:
        """The sums that `_keep` kept, if they have this size."""
        try:
            kept = self._kept.pop()
        except IndexError:
            return None
        fits = kept.grad is not None and kept.grad.shape[:2] == (slabs, k)
        return kept if fits else None

    def _keep(self, sums: Sums) -> None:
        """Keep sums for the next pass, if they are large. (A single slab is the caller's result.)"""
        assert sums.grad is not None
        if not self._kept and len(sums.grad) > 1 and KEPT_BYTES <= sums.grad.nbytes <= SLAB_BYTES:
            self._kept.append(sums)

    def chunks(self, plan: Plan) -> Iterator[Rows]:
        return self.source.chunks(plan.chunk)

    def gradient(self, sums: Sums, theta: np.ndarray, l2: float, n_threads: int) -> tuple[np.ndarray, bool, bool]:
        """The gradient from the sums of a pass.

        Returns scale * (total of all slabs) + l2 theta (without the bias), shaped and typed like theta; whether the
        scaled total is finite; and whether the returned array is. The sums' memory may become the result: they must not
        be used again.
        """
        n = self.source.shape[1]
        assert sums.grad is not None
        if theta.size <= SMALL and sums.grad.dtype == np.float64:
            out = np.empty(theta.shape)
            penalized = np.ascontiguousarray(theta, np.float64) if l2 else None
            finite, stored = self._kernels.gradient(sums, penalized, l2, out, n_threads)
            if theta.dtype == np.float64:
                return out, finite, stored
            with np.errstate(over="ignore"):
                out = out.astype(theta.dtype)
        else:
            out, finite = reduce.scale_and_penalize(sums.joined(len(theta) > n), sums.scale, l2, theta, n)
            self._keep(sums)
        return out, finite, (l2 == 0.0 and out.dtype == np.float64) or all_finite(out)

    def gram(self, scale: float, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """scale * X^T diag(w) X and scale * X^T w."""
        n = self.source.shape[1]
        plan = self.plan(n, strategy="row-parallel")
        sums = Sums.zeros(plan.slabs, n, n, scale)
        for rows in self.source.chunks(plan.chunk):
            self._kernels.gram(rows, plan, sums, min(n_threads, plan.threads))
        sums.scratch = None
        return sums.total()

    def gram_diagonal(self, scale: float, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """The diagonal of `gram`'s matrix, and its vector, summed in float64 without a copy of a chunk."""
        second, first = np.zeros(self.source.shape[1]), np.zeros(self.source.shape[1])
        options: Any = {"dtype": np.float64, "casting": "safe"}
        for rows in self.source.chunks(self.plan(2).chunk):
            w = np.ones(len(rows.X)) if rows.w is None else rows.w
            X = as_numbers(rows.X)
            second += np.einsum("i,ij,ij->j", w, X, X, **options)
            first += np.einsum("i,ij->j", w, X, **options)
        return second * scale, first * scale


class SparsePasses:
    """Passes over sparse rows by the sparse kernels of a backend."""

    def __init__(self, source: SparseRows, kernels: Kernels) -> None:
        self.source, self._kernels = source, kernels
        self.value_and_grad, self.hess_prod = kernels.value_and_grad, kernels.hess_prod
        self._single = kernels.FLOAT32_SUMS and source.dtype == np.float32
        self._hot: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def plan(self, k: int, *, gradient: bool = True) -> Plan:
        m, n = self.source.shape
        return make_sparse_plan(m, n, k, self.source.nnz, self.source.dtype, gradient=gradient)

    def sums(self, plan: Plan, k: int, scale: float, *, grad: bool = True) -> Sums:
        hot = self._hot_columns(plan) if grad and self._single else None
        return Sums.zeros_by_feature(plan.slabs, k, self.source.shape[1], scale, grad=grad, hot=hot)

    def are_cheaper(self, plan: Plan, k: int) -> bool:
        """As `DensePasses.are_cheaper`: none are."""
        return False

    def _hot_columns(self, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
        """`plan.hot_columns` for this plan, computed once."""
        key = plan.block, plan.slabs
        if key not in self._hot:
            self._hot[key] = hot_columns(self.source.load, self.source.shape[0], plan)
        return self._hot[key]

    def gradient(self, sums: Sums, theta: np.ndarray, l2: float, n_threads: int) -> tuple[np.ndarray, bool, bool]:
        """As `DensePasses.gradient`; in the memory of the sums if they are a single slab of theta's dtype."""
        n, joint = self.source.shape[1], sums.joint
        if joint is None or joint.dtype != theta.dtype:
            joint = np.empty(theta.shape, theta.dtype)
        out = joint[: len(theta)]
        hot = None if sums.hot is None else sums.hot_total()
        penalized = np.ascontiguousarray(theta[:n]) if l2 else None
        finite, stored = self._kernels.gradient(sums, penalized, l2, out[:n], n_threads)
        with np.errstate(over="ignore", invalid="ignore"):
            if hot is not None and sums.hot is not None:
                hot *= sums.scale
                finite &= all_finite(hot)
                out[sums.hot.columns] = hot + l2 * theta[sums.hot.columns].astype(np.float64, copy=False)
                stored &= all_finite(out[sums.hot.columns])
            if len(theta) > n:
                assert sums.bias is not None
                bias = np.add.reduce(sums.bias, axis=0) * sums.scale
                finite &= all_finite(bias)
                out[n] = bias
                stored &= all_finite(out[n])
        return out, finite, stored

    def chunks(self, plan: Plan) -> Iterator[Rows]:
        for rows in self.source.chunks(plan.chunk):
            if plan.strategy == "feature-parallel":
                assert isinstance(rows.X, Csr)
                rows = replace(rows, X=replace(rows.X, load=self.source.load))
            yield rows

    def gram(self, scale: float, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        n = self.source.shape[1]
        raise TypeError(f"gram() needs dense X: of sparse X it would be a dense {n} x {n} matrix; use gram_diagonal()")

    def gram_diagonal(self, scale: float, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """As `DensePasses.gram_diagonal`."""
        return self.weighted_diagonal(self.plan(2), scale, n_threads, lambda rows: rows)

    def weighted_diagonal(
        self, plan: Plan, scale: float, n_threads: int, weighted: Callable[[Rows], Rows]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of rows whose weights ``weighted`` changes, a chunk of a plan for two classes at a time."""
        sums = Sums.zeros_by_feature(plan.slabs, 2, self.source.shape[1], scale)
        for rows in self.chunks(plan):
            self._kernels.gram(weighted(rows), plan, sums, min(n_threads, plan.threads))
        both, _ = sums.total()
        return both[:, 0].copy(), both[:, 1].copy()


Passes = DensePasses | SparsePasses


def describe_plan(m: int, n: int, k: int, dtype: np.dtype, order: str, kernels: Kernels) -> str:
    """One line that says how loss and gradient of such an X are computed, for people.

    Parameters
    ----------
    m, n, k : int
        Rows, features and classes.
    dtype : dtype
        Of X.
    order : {"C", "F"}
        How X lies in memory.
    kernels : backend module
    """
    # Arrays without memory: nothing reads their numbers.
    X = as_strided(np.empty(1, dtype), (m, n), _strides(m, n, dtype.itemsize, order))
    source = ArraySource(X, reads=kernels.READS)
    plan = DensePasses(source, kernels).plan(k)
    shape, strides, read = (min(m, plan.chunk), n), X.strides, source.X.dtype
    if source.layout.converted:  # a chunk is a copy
        read = source.dtype
        strides = _strides(*shape, read.itemsize, "F" if source.layout.by_column else "C")
    return f"{kernels.products(shape, strides, read, plan, k)}; {plan}"


def _strides(m: int, n: int, itemsize: int, order: str) -> tuple[int, int]:
    return (itemsize, m * itemsize) if order == "F" else (n * itemsize, itemsize)


def passes_over(
    X: np.ndarray | Csr,
    kernels: Kernels,
    targets: np.ndarray | None = None,
    w: np.ndarray | None = None,
    *,
    smoothing: float = 0.0,
) -> Passes:
    """The passes over an X that `validation.check_X` returned, with its targets and weights."""
    if isinstance(X, Csr):
        return SparsePasses(SparseSource(X, targets, w, smoothing=smoothing), kernels)
    return DensePasses(ArraySource(X, targets, w, smoothing=smoothing, reads=kernels.READS), kernels)


def passes_over_scan(
    scan: Scan, kernels: Kernels, n_classes: int | None, smoothing: float
) -> tuple[Passes, int, float]:
    """The passes over the rows of a scan, the number of classes, and the sum of the weights."""
    targets = scan.targets
    found = len(targets.classes)
    k = found if n_classes is None else check_count(n_classes, "n_classes", at_least=2)
    if found > k or k < 2:
        raise ValueError(f"{scan.name} has {found} classes in column {scan.target!r}; {max(k, 2)} are wanted")
    return passes_of(scan.source(smoothing=smoothing, reads=kernels.READS), kernels), k, targets.weight_sum


def passes_of(source: Any, kernels: Kernels) -> Passes:
    """The passes over a source, of dense rows or of sparse ones."""
    return SparsePasses(source, kernels) if source.sparse else DensePasses(source, kernels)


def weighted_by_mass(rows: Rows) -> Rows:
    """Rows for a Hessian product, which depends on soft targets only through their sum: here a factor on the weight."""
    if rows.soft is None:
        return replace(rows, smoothing=0.0) if rows.smoothing else rows
    mass = (1 - rows.smoothing) * rows.soft.sum(axis=1, dtype=np.float64) + rows.smoothing
    return replace(rows, soft=None, smoothing=0.0, w=mass if rows.w is None else rows.w * mass)


def explain_nonfinite(source: Source, chunk: int, what: str) -> NoReturn:
    """Raise ValueError that names the first NaN or infinity of X, or FloatingPointError if there is none.

    Called only after a result was not finite, so that valid data is never scanned.
    """
    for rows in source.chunks(chunk):
        place = nonfinite_place(rows.X)
        if place is not None:
            row, column, value = place
            too = "" if rows.w is None or rows.w[row] else ", and rows with weight 0, as this one, must be finite too"
            where = source.place(rows.start + row, column)
            raise ValueError(f"X must be finite; {where} holds {value} (NaN or infinity){too}")
    raise FloatingPointError(f"the {what} overflows {source.dtype}: logits X theta must stay finite")
