"""What a backend must have, get, add and return: the page to read before writing one.

A backend is a module with everything that the protocol `Kernels` names, and a row of the table in `backends`; that row
is enough for the tests and the benchmarks to run it. The package has three: ``numpy`` (the plain formulas), ``cython``
and ``numba``. Their folders and files have the same names, and ``passes/dense`` is the file to begin with.

Rules for every function of `Kernels`:

- It gets one chunk of rows and **adds** to the `Sums` of its caller, who clears them before the first chunk.
- It allocates nothing in proportion to the number of rows, and runs without the GIL. (``numpy`` is excused from both.)
- It checks no argument: `fastsoftmax.data.validation` has done so. It raises nothing: NaN or infinity goes through to
  the sums, where the caller finds it and looks for its cause.
- What it adds does not depend on ``n_threads``, to the last bit: threads take slabs, and the slabs are added up in the
  order of their numbers.

How the rows of a pass are divided, from the outside in (`plan` chooses the sizes and has a drawing):

=========  ====================================================================================
chunk      rows that Python hands to one kernel call; Ctrl-C is served between two of them
slab       rows of a chunk whose loss and gradient have sums of their own
claim      neighbouring slabs that a thread takes at once
block      rows of a slab that go through the cache together
tile       the part of a product of a block that is held in registers
=========  ====================================================================================

Symbols: X (rows, n) is the chunk, theta (n, k) and bias (k,) are a model of k classes. Row i has the logits H_i = X_i
theta + bias, the probabilities Z_i = softmax(H_i), the label y_i and the weight w_i. D (rows, k) is the residual.

Precision, by the dtype of X. The dtype of the computation is float32 or float64:

==================  =======================================================================
losses              summed in float64, always
float64 X           products and sums in float64
float32 X           products in float32, summed in float32 over ``plan.flush_rows`` rows at most, then
                    added to the float64 sums of the slab: the error does not grow with the number of rows.
                    Of sparse X each column has a limit of its own: see `Hot`
narrow X            float16, bfloat16, 8- and 16-bit integers: exact in float32, and computed as float32.
                    Of bfloat16 kernels get the bits, two bytes of dtype V2
parameters          converted to the dtype of the computation before the pass
weights             float64, scaled by a power of two so that the largest is in [1, 2)
==================  =======================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .sums import Hot, Sums

__all__ = [
    "CONVERTED_BYTES",
    "PREDICTIONS",
    "Csr",
    "Hot",
    "Kernels",
    "Parameters",
    "PassPlan",
    "RowOutputs",
    "Rows",
    "Sums",
]

# Bytes of a chunk of X whose dtype no kernel reads: a source converts it, in memory beside X.
CONVERTED_BYTES = 32 << 20

PREDICTIONS = ("label", "logits", "proba", "log_proba")


class Kernels(Protocol):
    """A backend module.

    Attributes
    ----------
    READS : str
        Type characters (`numpy.dtype.char`) of the dtypes of dense X that the kernels read as they are: "f" and "d",
        and the narrow ones that they convert themselves. Sources convert any other.
    STRATEGIES : tuple of str
        Those of `plan.Plan.strategy` that it has.
    WING : str
        Its name in `tuning.Tuning.wings`.
    FLOAT32_SUMS : bool
        Whether the gradient of sparse float32 X is summed in float32, with `Hot` columns; else in float64.
    """

    READS: str
    STRATEGIES: tuple[str, ...]
    WING: str
    FLOAT32_SUMS: bool

    def isa(self) -> str:
        """The instruction set in use, for people: "x86-64-v4, 512-bit vectors"."""

    def threading(self) -> str:
        """What the threads are, for people: "OpenMP"."""

    def products(
        self, shape: tuple[int, int], strides: tuple[int, ...], dtype: np.dtype, plan: Any, outputs: int
    ) -> object:
        """How `value_and_grad` makes the products of dense X of that shape, strides and dtype, with so many classes.

        A `strategy.Products`, or anything else whose text tells people.
        """

    def value_and_grad(
        self,
        rows: Rows,
        params: Parameters,
        plan: PassPlan,
        sums: Sums,
        n_threads: int,
        outputs: RowOutputs | None = None,
    ) -> None:
        """Loss and gradient.

        For the rows i of slab p: sums.loss[p] += sums.scale * sum_i w_i (logsumexp(H_i) - H[i, y_i]);
        sums.grad[p] += D^T X; sums.bias[p] += sum_i D_i, with D = w (Z - onehot(y)). With soft or smoothed targets t of
        total S the loss of a row is sum_c t_c (logsumexp(H_i) - H_ic), and D = w (S Z - t).

        ``sums.grad is None`` asks for the loss alone, ``outputs`` for values of each row besides. For L models
        (`Parameters.models`) sums.loss is (slabs, L), sums.grad (slabs, L k, n), and sums.held is filled unless None.

        Of X that is a `Csr`, with a plan of `plan.make_sparse_plan`, sums.grad is (slabs, n, k), the order of theta: an
        entry of X reads a row of theta and writes a row of the gradient. One model only then, and no `RowOutputs.dX`.
        """

    def hess_prod(
        self, rows: Rows, params: Parameters, direction: Parameters, plan: PassPlan, sums: Sums, n_threads: int
    ) -> None:
        """The Hessian times a direction: the gradient with D = w Z (U - sum_c Z U), where U = X direction.

        sums.loss stays as it is.
        """

    def gram(self, rows: Rows, plan: PassPlan, sums: Sums, n_threads: int) -> None:
        """The Gram matrix of dense X: sums.grad[p] += X^T diag(w) X, (n, n), and sums.bias[p] += X^T w, (n,).

        Of sparse X its diagonal, beside the sums of the columns: sums.grad[p, j] += sum_i w_i (x_ij^2, x_ij), the two
        in one array (slabs, n, 2); sums.bias stays as it is.
        """

    def hessian(self, rows: Rows, params: Parameters, plan: PassPlan, sums: Sums, n_threads: int) -> None:
        """The exact Hessian over dense X, as a Gram matrix X^T diag(w z_c z_d) X for each pair of classes c < d.

        sums.grad is (slabs, pairs * n, n), the k (k - 1) / 2 pairs in the order of `numpy.triu_indices`; only what is
        on or above the diagonal of each matrix counts. Block (c, d) of the Hessian is minus the pair's matrix; block
        (c, c) is the sum of the matrices of all pairs that c is in, because the rows of diag(z) - z z^T sum to zero.
        sums.bias is None: the bias has a column of ones in X.
        """

    def gradient(
        self, sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray, n_threads: int
    ) -> tuple[bool, bool]:
        """The gradient from the sums of all slabs: out[:n] = sums.scale * (sum of the slabs of sums.grad) + l2 * theta.

        theta (None for no penalty) and ``out`` are in C order, in one dtype; the result is formed in float64. Sums of
        dense X are transposed, must be small enough for the cache, and are used up; there all is float64, and out[n],
        where ``out`` has n + 1 rows, is sums.scale * (sum of the slabs of sums.bias). Of sparse X the caller adds bias
        and `Hot` columns, and ``out`` may be the memory of the only slab. Returns whether the sums are finite once
        scaled, and whether what is stored in ``out`` is.
        """

    def predict(
        self, rows: Rows, params: Parameters, plan: PassPlan, kind: str, out: np.ndarray, sums: Sums, n_threads: int
    ) -> None:
        """One of the `PREDICTIONS` for each row of dense or sparse X, written to ``out`` in C order.

        Labels are int64 (rows,), the others (rows, k) of the dtype of the computation. sums.loss[p] becomes NaN where a
        logit of slab p is not finite.
        """


class PassPlan(Protocol):
    """What a kernel reads of `plan.Plan`, whose docstring says what each number is for."""

    @property
    def block(self) -> int: ...
    @property
    def slabs(self) -> int: ...
    @property
    def flush_rows(self) -> int: ...
    @property
    def strategy(self) -> str: ...
    @property
    def phase_rows(self) -> int: ...
    @property
    def precision(self) -> str: ...
    @property
    def chosen(self) -> dict[Any, Any]: ...

    def slab_ranges(self, rows: int) -> list[tuple[int, int, int]]:
        """(slab, first row, end row) of the slabs of a dense chunk that have rows."""

    def sparse_slabs(self, indptr: np.ndarray) -> np.ndarray:
        """The row where each slab of a sparse chunk begins, and the end of the chunk: int64 (slabs + 1,)."""


@dataclass(frozen=True)
class Layout:
    """How the dense X of a source lies in memory.

    Attributes
    ----------
    by_column : bool
        Whether columns are contiguous and rows are not (F order).
    itemsize : int
        Bytes of a number of X as kernels read it.
    converted : bool
        Whether chunks are copies, because no kernel reads X as it is.
    chunk_bytes : int or None
        The most that a chunk may take, where a source makes chunks within a budget of memory.
    """

    by_column: bool = False
    itemsize: int = 8
    converted: bool = False
    chunk_bytes: int | None = None


AS_ROWS = Layout()


@dataclass(frozen=True)
class Csr:
    """Rows of a sparse X, compressed: row i has data[e] in column indices[e], for indptr[i] <= e < indptr[i + 1].

    Attributes
    ----------
    indptr : int64 ndarray (rows + 1,), beginning with 0
    indices : int32 or int64 ndarray (entries,)
        Ascending in each row and without repetition, all in 0..n-1. Contiguous, as the other two are.
    data : float32 or float64 ndarray (entries,)
    n : int
        Number of columns.
    load : int64 ndarray (n + 1,) or None
        load[j] is the number of entries in columns 0..j-1 of the whole X: feature-parallel passes give each thread
        columns with as many entries as the others'.
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

        Its attributes are set one by one, because the constructor would read all indices to choose a type for them.
        """
        from scipy.sparse import csr_array

        b = len(self) if b is None else b
        first, last = int(self.indptr[a]), int(self.indptr[b])
        out = csr_array((b - a, self.n), dtype=self.dtype)
        fits = last - first <= np.iinfo(self.indices.dtype).max
        out.indptr = (self.indptr[a : b + 1] - first).astype(self.indices.dtype if fits else np.int64)
        out.indices, out.data = self.indices[first:last], self.data[first:last]
        return out


@dataclass(frozen=True)
class Rows:
    """A chunk of samples.

    Attributes
    ----------
    X : ndarray (rows, n) of a dtype in the backend's ``READS``, aligned, any strides; or `Csr`
    y : int32 ndarray (rows,) or None
        Labels 0..k-1; predictions need none. In C order (L, rows) where each of L models has its own.
    w : float64 ndarray (rows,) or None for all ones
        In C order (L, rows) where each of L models has its own.
    start : int
        Number of the first row in the whole data set.
    soft : ndarray (rows, k) of the dtype of the computation, in C order, or None
        Soft targets t in place of y.
    smoothing : float
        eps: the targets t become (1 - eps) t + eps / k.
    fold : int32 ndarray (rows,) or None
        Number of the fold that each row belongs to, for `Parameters.left_out`.
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
    """The parameters of one model, or of L models of k classes side by side.

    Attributes
    ----------
    theta : ndarray (n, L k) in C order, of the dtype of the computation
        `Kernels.value_and_grad` of a class-parallel plan takes F order too, as layers of neural networks have it.
    bias : ndarray (L k,), or None
    models : int
        L. Above 1 only for `Kernels.value_and_grad` with labels, and without outputs by row.
    left_out : int32 ndarray (L,) or None
        The fold whose rows have weight 0 in each model, -1 for none.
    """

    theta: np.ndarray
    bias: np.ndarray | None = None
    models: int = 1
    left_out: np.ndarray | None = None


@dataclass(frozen=True)
class RowOutputs:
    """Values of each row that `Kernels.value_and_grad` writes in the same pass; None for what is not wanted.

    Attributes
    ----------
    dX : ndarray (rows, n) of the dtype of the computation, in C order
        The gradient of the loss with respect to X, scale * D theta^T. Needs ``sums.grad``.
    loss : ndarray (rows,) of the dtype of the computation
        The loss of each row, without its weight.
    label : int64 ndarray (rows,)
        The class with the largest logit.
    """

    dX: np.ndarray | None = None
    loss: np.ndarray | None = None
    label: np.ndarray | None = None

    def rows(self, start: int, end: int) -> RowOutputs:
        """Views of rows start..end-1."""
        views = [None if a is None else a[start:end] for a in (self.dX, self.loss, self.label)]
        return RowOutputs(*views)
