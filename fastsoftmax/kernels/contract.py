"""The kernel contract, the table of backends and `select`.

A backend is a module with ``READS``, the type characters of the dtypes of X that it reads as they are
(float32, float64 and perhaps narrower ones, converted in registers), ``STRATEGIES``, those of `plan` that
it has, ``COLUMN_BYTES``, how much of each column of F-order X a block should hold, ``BYTE_COLUMNS``, up to how many
features bytes are treated so in any order, ``FLOAT32_SUMS``, ``isa()`` and ``threading()``, two short texts, and the
functions below. Each gets one chunk of rows, **adds** into the `Sums` its caller owns, allocates nothing proportional
to the number of rows, runs without the GIL and checks nothing: `fastsoftmax.validation` has done that.

``dense_value_and_grad(rows, params, plan, sums, n_threads, outputs=None)``
    sums.loss[p] += sums.scale * sum of w_i (logsumexp(H_i) - H[i, y_i]) over the rows of slab p,
    sums.grad[p] += (D^T X) and sums.bias[p] += column sums of D, with D = w (Z - I) not yet
    divided by sum(w). ``sums.grad is None`` asks for the loss alone. With soft targets t of total S, or
    with smoothed labels, D = w (S Z - t) and the loss is sum_c t_c (logsumexp(H_i) - H_ic). ``outputs`` asks for
    values of each row besides. For L models side by side (`Parameters.models`) the sums are by model: sums.loss
    (slabs, L), sums.grad (slabs, L k, n), and sums.held if wanted.
``dense_hess_prod(rows, params, direction, plan, sums, n_threads)``
    The same with D = w Z (U - sum_c Z U), U = X direction; sums.loss stays as it is.
``dense_gram(rows, plan, sums, n_threads)``
    sums.grad[p] += X^T diag(w) X (n, n) and sums.bias[p] += X^T w (n,).
``dense_hessian(rows, params, plan, sums, n_threads)``
    The exact Hessian by pairs of classes: sums.grad (slabs, pairs * n, n) has a matrix for each of the k (k - 1) / 2
    pairs c < d, in the order of `numpy.triu_indices`; it += X^T diag(w z_c z_d) X. Only what is on or above
    the diagonal counts. Block (c, d) of the Hessian is minus that; block (c, c) is the sum over the pairs that c is
    in, for the rows of diag(z) - z z^T add up to zero. sums.bias is None: a column of ones in X is the bias's.
``dense_gradient(sums, theta, l2, out)``
    out = sums.scale * (sum of the slabs of sums.grad, transposed; sums.bias below it, if out has one row more)
    + l2 * theta, the penalty for sums.grad's rows alone; all float64, theta (None for no penalty) and out in C order,
    small enough for cache. Returns whether the scaled sums are finite. The sums are used up.
``sparse_value_and_grad``, ``sparse_hess_prod``
    The same for rows whose X is a `Csr`, with a plan of `plan.make_sparse_plan`. Their sums.grad is (slabs, n, k):
    theta's own order, since an entry of X reads a row of theta and writes a row of the gradient. No dX. Of float32 X
    it is float32, with `Hot` columns, in backends whose ``FLOAT32_SUMS`` is True; else float64.
``sparse_gradient(sums, theta, l2, out, n_threads)``
    out = sums.scale * (sum of the slabs of sums.grad) + l2 * theta, all (n, k) in C order, ``theta`` (None for no
    penalty) of ``out``'s dtype, formed in float64. Returns whether the scaled sums are finite, and whether ``out`` is,
    which may be float32. ``out`` may be the memory of the only slab. Hot columns are up to the caller.
``sparse_gram_diagonal(rows, plan, sums, n_threads)``
    sums.grad[p, :, 0] += sum_i w_i x_ij^2 and sums.grad[p, :, 1] += sum_i w_i x_ij (slabs, n, 2); sums.bias stays.
``predict(rows, params, plan, kind, out, sums, n_threads)``
    X dense or a `Csr`. Writes one of the `PREDICTIONS` for each row into ``out``: int64 (rows,) for labels, else
    (rows, k) of the dtype of the computation, in C order. sums.loss[p] becomes NaN where a logit is not finite.

Precision policy
----------------
==================  =======================================================================
losses              summed in float64, always
float64 X           products and sums in float64
float32 X           products in float32, summed in float32 over ``plan.flush_rows`` rows at most, then
                    added to the float64 slabs: the error does not grow with the number of rows;
                    sparse X likewise, see `Hot`
narrow X            float16, 8- and 16-bit integers: exact in float32, computed as float32
parameters          converted to the dtype of the computation before the pass
weights             float64; scaled by a power of two so that the largest is in [1, 2)
==================  =======================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

# Bytes of a chunk where a source has to convert its rows, which takes memory beside X.
CONVERTED_BYTES = 32 << 20

PREDICTIONS = ("label", "logits", "proba", "log_proba")


@dataclass(frozen=True)
class Csr:
    """A chunk of the rows of a sparse X: row i holds data[e] in column indices[e], indptr[i] <= e < indptr[i + 1].

    Attributes
    ----------
    indptr : int64 ndarray (rows + 1,), beginning with 0
    indices : int32 or int64 ndarray (entries,)
        In each row ascending and without repetition, all in 0..n-1. Contiguous, as the others are.
    data : float32 or float64 ndarray (entries,)
    n : int
        Columns.
    load : int64 ndarray (n + 1,) or None
        load[j]: the cost of columns 0..j-1 of the whole X, by which feature-parallel passes divide the columns.
    """

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    n: int
    load: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.n

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    def to_scipy(self, a: int = 0, b: int | None = None) -> Any:
        """Rows a..b-1 (all unless given) as a csr_array over the same entries.

        Its attributes are set one by one: the constructor reads all indices to choose a type for them.
        """
        from scipy.sparse import csr_array

        b = len(self) if b is None else b
        first, last = int(self.indptr[a]), int(self.indptr[b])
        out = csr_array((b - a, self.n), dtype=self.dtype)
        few = last - first <= np.iinfo(self.indices.dtype).max
        out.indptr = (self.indptr[a : b + 1] - first).astype(self.indices.dtype if few else np.int64)
        out.indices, out.data = self.indices[first:last], self.data[first:last]
        return out


@dataclass(frozen=True)
class Rows:
    """A chunk of samples.

    Attributes
    ----------
    X : ndarray (rows, n) of a dtype in the backend's ``READS``, aligned, any strides; or `Csr`
    y : int32 ndarray (rows,) or None (predictions need none)
    w : float64 ndarray (rows,) or None for all ones
    start : int
        Number of the first row in the whole data set.
    soft : ndarray (rows, k) of the dtype of the computation, in C order, or None
        Targets in place of y.
    smoothing : float
        eps: targets t become (1 - eps) t + eps / k.
    fold : int32 ndarray (rows,) or None
        See `Parameters.left_out`.
    """

    X: np.ndarray | Csr
    y: np.ndarray | None = None
    w: np.ndarray | None = None
    start: int = 0
    soft: np.ndarray | None = None
    smoothing: float = 0.0
    fold: np.ndarray | None = None


@dataclass(slots=True)
class Parameters:
    """Those of one model, or of several side by side.

    Attributes
    ----------
    theta : ndarray (n, k) in C order, of the dtype of the computation
        For L models (n, L k).
    bias : ndarray (k,) or (L k,), or None
    models : int
        L; above 1 for `dense_value_and_grad` towards labels alone, without outputs by row.
    left_out : int32 ndarray (L,) or None
        The fold whose rows weigh nothing in each model, -1 for none.
    """

    theta: np.ndarray
    bias: np.ndarray | None = None
    models: int = 1
    left_out: np.ndarray | None = None


@dataclass(frozen=True)
class RowOutputs:
    """Values of each row of a chunk, written in the same pass; None for what is not wanted.

    Attributes
    ----------
    dX : ndarray (rows, n) of the dtype of the computation, in C order
        The loss's gradient with respect to X, scale * D theta^T. Needs ``sums.grad``.
    loss : ndarray (rows,) of the dtype of the computation
        Each row's loss, not weighted.
    label : int64 ndarray (rows,)
        The class of the largest logit.
    """

    dX: np.ndarray | None = None
    loss: np.ndarray | None = None
    label: np.ndarray | None = None

    def rows(self, start: int, end: int) -> RowOutputs:
        """The part of each that belongs to these rows."""
        part = [None if a is None else a[start:end] for a in (self.dX, self.loss, self.label)]
        return RowOutputs(*part)


@dataclass(frozen=True)
class Hot:
    """The columns of sparse float32 X that have too many entries to be summed in float32 to the end.

    Those of level l are ``columns[starts[l]:starts[l + 1]]``. After each 2^l blocks of rows of a slab (`Plan.block`,
    counted from the first row of the slab in the chunk) their sums move from `Sums.grad` to ``grad``: see
    `plan.hot_columns`.

    Attributes
    ----------
    columns : int64 ndarray (h,)
        In each level ascending.
    starts : int64 ndarray (levels + 1,)
    grad : float64 ndarray (slabs, h, k)
    """

    columns: np.ndarray
    starts: np.ndarray
    grad: np.ndarray


@dataclass(slots=True)
class Sums:
    """What a pass adds into, one entry for each slab.

    All float64, but for the gradient of sparse float32 X and the one gradient of a class-parallel pass over few rows
    of float32 X: `zeros_by_feature` and `zeros` know.

    Attributes
    ----------
    loss : ndarray (slabs,), or (slabs, L) for L models
    grad : ndarray (slabs, k, n) or None
        The transpose of theta's gradient: features are contiguous, as the kernel writes them. Sparse kernels write
        (slabs, n, k).
    bias : ndarray (slabs, k) or None
    scale : float
        1 / sum(w). Losses are scaled as they are added, so that a mean of huge ones cannot
        overflow on the way; gradients are scaled once, in `total` or by who takes them otherwise.
    by_feature : bool
        Whether ``grad`` is (slabs, n, k).
    room : ndarray (n + 1, k) or None
        Memory whose first rows are the one slab of ``grad``, so that the bias joins them without a copy of them.
    held : ndarray (slabs, L, 2) or None
        Of the rows that each model leaves out: loss, scaled, and weight of those classified rightly, scaled too.
    hot : Hot or None
        Beside a float32 ``grad`` of sparse X.
    scratch : ndarray or None
        Memory a backend leaves to its next call with these sums.
    """

    loss: np.ndarray
    grad: np.ndarray | None
    bias: np.ndarray | None
    scale: float
    by_feature: bool = False
    room: np.ndarray | None = None
    held: np.ndarray | None = None
    hot: Hot | None = None
    scratch: np.ndarray | None = None

    @classmethod
    def zeros(
        cls,
        slabs: int,
        k: int,
        n: int,
        scale: float,
        *,
        grad: bool = True,
        dtype: DTypeLike = np.float64,
        models: int = 0,
        held: bool = False,
    ) -> Sums:
        """``models`` above 0 for sums by model, k being the classes of all together."""
        return cls(
            loss=np.zeros((slabs, models) if models else slabs),
            grad=np.zeros((slabs, k, n), dtype) if grad else None,
            bias=np.zeros((slabs, k)) if grad else None,
            scale=scale,
            held=np.zeros((slabs, models, 2)) if held else None,
        )

    @classmethod
    def zeros_by_feature(
        cls,
        slabs: int,
        k: int,
        n: int,
        scale: float,
        *,
        grad: bool = True,
        hot: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Sums:
        """What a pass over sparse X adds into: float32 gradients with these hot columns (`plan.hot_columns`), or
        float64 ones."""
        if not grad:
            return cls(np.zeros(slabs), None, None, scale, by_feature=True)
        dtype = np.float64 if hot is None else np.float32
        room = np.zeros((n + 1, k), dtype) if slabs == 1 else None
        out = np.zeros((slabs, n, k), dtype) if room is None else room[None, :n]
        moved = None if hot is None else Hot(*hot, np.zeros((slabs, len(hot[0]), k)))
        return cls(np.zeros(slabs), out, np.zeros((slabs, k)), scale, by_feature=True, room=room, hot=moved)

    def clear(self, scale: float) -> None:
        """Zeros again, of dense X, for a pass with another scale."""
        for array in (self.loss, self.grad, self.bias):
            if array is not None:
                array.fill(0)
        self.scale = scale

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """Gradient (n, k) and bias gradient (k,): the slabs added in the order of their numbers.

        The gradient is scaled in place where there is one slab: call once.
        """
        grad, bias = self._added()
        grad *= self.scale
        return grad, bias * self.scale

    def joined(self, with_bias: bool) -> np.ndarray:
        """The same, not yet scaled, as one array (n [+ 1], k) that is the caller's from now on."""
        grad, bias = self._added()
        if not with_bias:
            return grad
        n, k = grad.shape
        dtype = np.promote_types(grad.dtype, bias.dtype)
        # In the order that the gradient is in.
        out = np.empty((n + 1, k), dtype) if self.by_feature else np.empty((k, n + 1), dtype).T
        out[:n], out[n] = grad, bias
        return out

    def hot_total(self) -> np.ndarray:
        """Sums of the hot columns, (h, k) float64, not yet scaled."""
        assert self.hot is not None and self.grad is not None
        out: np.ndarray = np.add.reduce(self.grad[:, self.hot.columns], axis=0, dtype=np.float64)
        out += np.add.reduce(self.hot.grad, axis=0)
        return out

    def _added(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.grad is not None and self.bias is not None
        grad = self.grad[0] if len(self.grad) == 1 else np.add.reduce(self.grad, axis=0)
        return grad if self.by_feature else grad.T, np.add.reduce(self.bias, axis=0)
