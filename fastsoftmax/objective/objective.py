"""`Objective`: loss, gradient, Hessian products and Gram matrix of softmax regression on fixed data.

It hands X to the kernels chunk by chunk, and adds what the kernels leave out: division by the sum of weights, the l2
penalty and the bias row of theta. What differs between dense and sparse X is in `passes`; the other sweeps that solvers
make over the rows are in `sweeps`, and `problem` lists them all.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike

from ..data import validation
from ..data.arrays import as_array
from ..data.sources.scan import Scan, require_scan_alone
from ..kernels.backends import select
from ..kernels.contract import RowOutputs, Rows, Sums
from ..kernels.machine import default_threads
from ..kernels.plan import Plan
from ..kernels.units import check_precision
from . import reduce
from .passes import SparsePasses, explain_nonfinite, passes_over, passes_over_scan, weighted_by_mass
from .sweeps.rows import Sweeps

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


@dataclass(frozen=True)
class Evaluation:
    """What `Objective.evaluate` returns; None for what was not asked for.

    Attributes
    ----------
    value : float
    grad : ndarray like theta
    dX : ndarray (m, n)
        Gradient of the value with respect to X, D theta^T.
    row_loss : ndarray (m,)
        Loss of each row: no weight, no mean, no penalty.
    label : int64 ndarray (m,)
        Class of the largest logit of each row.
    """

    value: float
    grad: np.ndarray | None = None
    dX: np.ndarray | None = None
    row_loss: np.ndarray | None = None
    label: np.ndarray | None = None


class Objective(Sweeps):
    r"""Softmax regression on fixed data, as a function of theta.

    .. math:: L(\theta) = \frac{1}{\sum_i w_i} \sum_i w_i (\log \sum_c e^{H_{ic}} - H_{i y_i})
              + \frac{l_2}{2} \|\theta\|^2, \qquad H = X \theta

    Parameters
    ----------
    X : array_like (m, n), or sparse array or matrix of SciPy
        Rows are samples. float32 and float64 are read where they are, in C order, F order or
        strided, memory maps included. float16, bfloat16 (of PyTorch, JAX or ml_dtypes), int16 and 8-bit integers are
        converted by the kernels, block by block, and other dtypes a chunk at a time.
        Sparse X is never made dense. CSR is read where it is, with int32 or int64 indices; CSC, COO and other formats
        are converted to CSR once, which copies every entry and index (12 bytes an entry in float64 with int32 indices)
        and takes the time of a few passes. CSR whose rows are not sorted by column, or repeat a column, is also
        copied once, and repeated entries are added up. All indices are checked; X itself is not changed.
        An array of another library (PyTorch, JAX, xarray, whatever has ``__array__`` or ``__dlpack__``) is read where
        it is, if that is in the CPU's memory. Of a data frame of any library, or a stream of Arrow data, with columns
        of numbers and booleans, columns of one dtype that lie one behind the other are read where they are; others are
        copied once. ``y``, ``sample_weight`` and theta may be arrays and columns of other libraries too.
        What `fastsoftmax.scan` returns is read anew in every pass, and has labels and weights of its own: class numbers
        are the places of its ``classes``.
    y : array_like (m,) or (m, k), not with a scan
        Class numbers 0..k-1, or soft targets: the nonnegative share t_ic of each class. The loss of a
        row is then sum_c t_ic (logsumexp(H_i) - H_ic).
    n_classes : int, optional
        k; 1 + max(y) unless given.
    fit_intercept : bool
        Whether theta has a last row, the bias, which the penalty leaves out.
    sample_weight : array_like (m,), optional
        Nonnegative weights. A row with weight 0 does not count, but its numbers must be finite too.
    l2 : float
        Strength of the penalty on theta without the bias.
    label_smoothing : float
        eps in [0, 1]: targets t become (1 - eps) t + eps / k.
    precision : {"exact", "bfloat16"}
        "exact": as right as the dtype of the computation is, by whichever kernels are faster. "bfloat16": of X that is
        computed in float32, values to about three digits and gradients to about two, where the processor has matrix
        units or vectors of bfloat16 that are faster (AMX, AVX512_BF16) and there are many classes, by the cython
        backend; anywhere else the same as "exact". Where that is much faster (AMX), `minimize` takes its
        first steps in this way by itself; with "bfloat16" it ends where these do.
    backend : {"auto", "cython", "numba", "numpy"}
        Which kernels to use. A backend asked for by name is used, or an error says why it cannot be.
    n_threads : int, optional
        Number of threads; the process's cores unless given. Results do not depend on it, to the last bit.

    Attributes
    ----------
    shape : tuple of int
        Shape of theta, (n, k) or (n + 1, k).
    sparse : bool
        Whether X is sparse.
    n_passes : int
        Passes over X so far.

    Raises
    ------
    TypeError, ValueError
        For input of a wrong type, shape or value; see `fastsoftmax.data.validation`.
    ImportError
        If the backend asked for cannot be loaded.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax
    >>> obj = fastsoftmax.Objective([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [0, 1, 2], l2=0.1)
    >>> obj.shape
    (2, 3)
    >>> value, grad = obj.value_and_grad(np.zeros(obj.shape))
    >>> round(value, 6), grad.shape
    (1.098612, (2, 3))
    """

    def __init__(
        self,
        X: ArrayLike | Scan,
        y: ArrayLike | None = None,
        n_classes: int | None = None,
        *,
        fit_intercept: bool = False,
        sample_weight: ArrayLike | None = None,
        l2: float = 0.0,
        label_smoothing: float = 0.0,
        precision: str = "exact",
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.precision = check_precision(precision)
        smoothing = validation.check_share(label_smoothing, "label_smoothing")
        self.backend, self._kernels = select(backend)
        if isinstance(X, Scan):
            require_scan_alone(y, sample_weight)
            self._passes, self.n_classes, self.weight_sum = passes_over_scan(X, self._kernels, n_classes, smoothing)
        else:
            array = validation.check_X(X)
            m, dtype = len(array), validation.compute_dtype(array.dtype)
            targets, self.n_classes = validation.check_targets(y, m, n_classes, dtype)  # type: ignore[arg-type]
            w, self.weight_sum = validation.check_weights(sample_weight, m)
            self._passes = passes_over(array, self._kernels, targets, w, smoothing=smoothing)
        self.source = self._passes.source
        self.n_features = self.source.shape[1]
        self.sparse = isinstance(self._passes, SparsePasses)
        self.fit_intercept = bool(fit_intercept)
        self.l2 = validation.check_real(l2, "l2")
        self.n_threads = default_threads() if n_threads is None else validation.check_count(n_threads, "n_threads")
        self.plan = self.make_plan()
        self.source.prepare(self.plan.chunk, 8 * self.plan.slabs * self.n_features * self.n_classes)
        self.shape = (self.n_features + self.fit_intercept, self.n_classes)
        self.n_passes = 0

    @contextmanager
    def in_precision(self, precision: str) -> Iterator[Self]:
        """A context in which there is the same objective with passes of another precision. In the end its passes are
        counted here."""
        other = copy.copy(self)
        other.precision = check_precision(precision)
        other.plan = other.make_plan()
        try:
            yield other
        finally:
            self.n_passes = other.n_passes

    def make_plan(self) -> Plan:
        """How every pass over this X is cut."""
        return replace(self._passes.plan(self.n_classes), precision=self.precision)

    def value_and_grad(self, theta: ArrayLike) -> tuple[float, np.ndarray]:
        """Value and gradient, shaped and typed like theta: (n [+1], k) or flat.

        Raises
        ------
        ValueError
            If X or theta holds NaN or infinity; the row is named.
        FloatingPointError
            If the logits of finite X and theta, or the results, overflow.
        """
        value, grad = self._pass(self._check(theta))
        assert grad is not None
        return value, grad.reshape(np.shape(theta))

    @property
    def has_cheap_passes(self) -> bool:
        """Whether `cheap_value_and_grad` is much faster than `exact_value_and_grad`."""
        return self._passes.are_cheaper(self.plan, self.n_classes)

    def cheap_value_and_grad(self, theta: ArrayLike) -> tuple[float, np.ndarray]:
        """`value_and_grad` with ``precision="bfloat16"``."""
        return self._value_and_grad_in(theta, "bfloat16")

    def exact_value_and_grad(self, theta: ArrayLike) -> tuple[float, np.ndarray]:
        """`value_and_grad` with ``precision="exact"``."""
        return self._value_and_grad_in(theta, "exact")

    def _value_and_grad_in(self, theta: ArrayLike, precision: str) -> tuple[float, np.ndarray]:
        value, grad = self._pass(self._check(theta), plan=replace(self.plan, precision=precision))
        assert grad is not None
        return value, grad.reshape(np.shape(theta))

    def value(self, theta: ArrayLike) -> float:
        """The value alone, for half the work of `value_and_grad`."""
        return self._pass(self._check(theta), grad=False)[0]

    def evaluate(
        self, theta: ArrayLike, *, grad: bool = True, dX: bool = False, row_loss: bool = False, label: bool = False
    ) -> Evaluation:
        """Everything that one pass over X can compute at theta: see `Evaluation`. ``dX`` needs ``grad`` and dense X.

        Errors are those of `value_and_grad`, and FloatingPointError where the loss of a row, or ``dX``, overflows.
        """
        checked = self._check(theta)
        if dX and not grad:
            raise ValueError("dX=True needs grad=True: both come from the residual")
        if dX and self.sparse:
            raise ValueError("dX=True needs dense X: the gradient with respect to sparse X is a dense (m, n) array")
        wanted = self._row_outputs(dX, row_loss, label)
        value, out = self._pass(checked, wanted, grad=grad)
        out = None if out is None else out.reshape(np.shape(theta))
        for name, array in (("row_loss", wanted.loss), ("dX", wanted.dX)):  # the mean may be finite all the same
            if array is not None and not validation.all_finite(array):
                raise FloatingPointError(f"{name} overflows {array.dtype}, the dtype of the computation")
        return Evaluation(value, out, wanted.dX, wanted.loss, wanted.label)

    def hess_prod(self, theta: ArrayLike, v: ArrayLike) -> np.ndarray:
        """The Hessian at theta times v, shaped and typed like v: ``hessp`` of SciPy's minimizers. One pass over X."""
        checked = self._check(theta)
        direction = self._check(v, "v")
        params, along = self._parameters(checked), self._parameters(direction)
        sums = self._sums()
        for rows in map(weighted_by_mass, self._chunks()):
            self._passes.hess_prod(rows, params, along, self.plan, sums, self.threads)
        return self._reduce_gradient(sums, direction, "Hessian product").reshape(np.shape(v))

    def hess_operator(self, theta: ArrayLike) -> LinearOperator:
        """The Hessian at theta as SciPy's LinearOperator on flat vectors, symmetric. A product is one pass over X."""
        from scipy.sparse.linalg import LinearOperator  # 0.08 s, which only this needs

        at = self._check(theta).copy()  # a solver may go on to change its own

        def product(v: np.ndarray) -> np.ndarray:
            return self.hess_prod(at, v.ravel())

        return LinearOperator((at.size, at.size), matvec=product, rmatvec=product, dtype=at.dtype)

    def gram(self) -> np.ndarray:
        """X^T diag(w) X / sum(w) in float64; with an intercept X has a column of ones, which is last.

        Raises
        ------
        TypeError
            For sparse X, whose Gram matrix is dense.
        """
        n = self.n_features
        out, column_sums = self._passes.gram(1.0 / self.weight_sum, self.n_threads)
        self.n_passes += 1
        self._require_finite(out, "Gram matrix")
        if not self.fit_intercept:
            return out
        joined = np.ones((n + 1, n + 1))
        joined[:n, :n] = out
        joined[:n, n] = joined[n, :n] = column_sums
        return joined

    def gram_diagonal(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted means of x_j^2 and of x_j over the rows, each float64 (n,): the diagonal of `gram`, and its last row
        with an intercept. X may be sparse."""
        self.n_passes += 1
        second, mean = self._passes.gram_diagonal(1.0 / self.weight_sum, self.n_threads)
        self._require_finite(second, "diagonal of the Gram matrix")
        return second, mean

    def _pass(
        self, theta: np.ndarray, wanted: RowOutputs | None = None, *, grad: bool = True, plan: Plan | None = None
    ) -> tuple[float, np.ndarray | None]:
        """Value and gradient at a theta that `_check` returned; what ``wanted`` asks for each row goes into it.
        ``plan``: of another precision."""
        plan = plan or self.plan
        params, sums = self._parameters(theta), self._sums(grad=grad)
        for rows in self._chunks():
            part = None if wanted is None else wanted.rows(rows.start, rows.start + len(rows.X))
            self._passes.value_and_grad(rows, params, plan, sums, self.threads, part)
        value = float(np.add.reduce(sums.loss))
        if not math.isfinite(value):
            explain_nonfinite(self.source, self.plan.chunk, "loss")
        out = self._reduce_gradient(sums, theta, "gradient") if grad else None
        return value + self._penalty(theta), out

    def _row_outputs(self, dX: bool, row_loss: bool, label: bool) -> RowOutputs:
        m, dtype = self.source.shape[0], self.source.dtype
        return RowOutputs(
            dX=np.empty(self.source.shape, dtype) if dX else None,
            loss=np.empty(m, dtype) if row_loss else None,
            label=np.empty(m, np.int64) if label else None,
        )

    def _penalty(self, theta: np.ndarray) -> float:
        if self.l2 == 0.0:
            return 0.0
        penalty = 0.5 * self.l2 * reduce.squared_norm(theta[: self.n_features])
        if not math.isfinite(penalty):
            raise FloatingPointError(f"the penalty l2/2 ||theta||^2 overflows float64 (l2 = {self.l2})")
        return penalty

    @property
    def threads(self) -> int:
        """Threads that a pass runs on: ``n_threads``, or fewer where there is too little work to be worth them."""
        return min(self.n_threads, self.plan.threads)

    def _chunks(self) -> Iterator[Rows]:
        """The rows of one pass, a chunk for each kernel call. Ctrl-C takes effect between chunks."""
        self.n_passes += 1
        return self._passes.chunks(self.plan)

    def _sums(self, *, grad: bool = True) -> Sums:
        return self._passes.sums(self.plan, self.n_classes, 1.0 / self.weight_sum, grad=grad)

    def _reduce_gradient(self, sums: Sums, theta: np.ndarray, what: str) -> np.ndarray:
        """The gradient from the sums of all slabs, scaled and with its penalty; shaped and typed like theta."""
        out, finite, stored = self._passes.gradient(sums, theta, self.l2, self.threads)
        if not finite:
            explain_nonfinite(self.source, self.plan.chunk, what)
        if not stored:
            raise FloatingPointError(f"the {what} overflows {out.dtype}, the dtype it was asked for in")
        return out


def loss_and_grad(
    X: ArrayLike,
    y: ArrayLike,
    theta: ArrayLike,
    *,
    fit_intercept: bool = False,
    sample_weight: ArrayLike | None = None,
    l2: float = 0.0,
    label_smoothing: float = 0.0,
    backend: str = "auto",
    n_threads: int | None = None,
) -> tuple[float, np.ndarray]:
    """Loss and gradient of softmax regression in one pass over X.

    value = (1/sum w) sum_i w_i (logsumexp(H_i) - H[i, y_i]) + l2/2 ||theta||^2 and
    gradient = X^T D + l2 theta with H = X theta, D = w (softmax(H) - onehot(y)) / sum(w).
    There are as many classes as theta has columns. X may be sparse. Parameters, errors and conventions are those of
    `Objective`; theta has shape (n, k), or (n + 1, k) with the bias last if ``fit_intercept``.

    Returns
    -------
    value : float
    grad : ndarray like theta

    Examples
    --------
    >>> import fastsoftmax
    >>> value, grad = fastsoftmax.loss_and_grad([[1.0], [2.0]], [0, 1], [[0.0, 0.0]])
    >>> round(value, 6)
    0.693147
    >>> grad
    array([[ 0.25, -0.25]])
    """
    theta = as_array(theta, "theta")
    if theta.ndim != 2:
        raise ValueError(f"theta has shape {theta.shape}; (features, classes) is wanted")
    obj = Objective(
        X,
        y,
        theta.shape[1],
        fit_intercept=fit_intercept,
        sample_weight=sample_weight,
        l2=l2,
        label_smoothing=label_smoothing,
        backend=backend,
        n_threads=n_threads,
    )
    return obj.value_and_grad(theta)
