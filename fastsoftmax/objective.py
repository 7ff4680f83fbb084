"""The objective: loss, gradient, Hessian products and Gram matrix of a data source.

It walks the source chunk by chunk, hands each chunk to the kernels, and adds what kernels do
not know: the mean, the l2 penalty and the bias row of theta.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from . import kernels, validation
from .kernels import Parameters, Rows, Sums
from .kernels.plan import default_threads, make_plan
from .sources import ArraySource


class Objective:
    r"""Softmax regression on fixed data, as a function of theta.

    .. math:: L(\theta) = \frac{1}{\sum_i w_i} \sum_i w_i (\log \sum_c e^{H_{ic}} - H_{i y_i})
              + \frac{l_2}{2} \|\theta\|^2, \qquad H = X \theta

    Parameters
    ----------
    X : array_like (m, n)
        Rows are samples. float32 and float64 are read where they are, in C order, F order or
        strided, memory maps included; other dtypes are converted by the kernels or a chunk at a time.
    y : array_like (m,)
        Class numbers 0..k-1.
    n_classes : int, optional
        k; 1 + max(y) unless given.
    fit_intercept : bool
        Whether theta has a last row, the bias, which the penalty leaves out.
    sample_weight : array_like (m,), optional
        Weights, not negative. A row with weight 0 is ignored.
    l2 : float
        Strength of the penalty on theta without the bias.
    backend : {"auto", "cython", "numba", "numpy"}
        A backend asked for by name is used, or an error says why not.
    n_threads : int, optional
        Threads; the process's cores unless given. The result does not depend on it, to the last bit.

    Attributes
    ----------
    shape : tuple of int
        Shape of theta, (n, k) or (n + 1, k).
    n_passes : int
        Passes over X so far.

    Raises
    ------
    TypeError, ValueError
        For input of a wrong type, shape or value; see `fastsoftmax.validation`.
    ImportError
        If the backend asked for cannot be loaded.
    """

    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike,
        n_classes: int | None = None,
        *,
        fit_intercept: bool = False,
        sample_weight: ArrayLike | None = None,
        l2: float = 0.0,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        array = validation.check_X(X)
        m, self.n_features = array.shape
        labels, self.n_classes = validation.check_y(y, m, n_classes)
        w, self.weight_sum = validation.check_weights(sample_weight, m)
        self.backend, self._kernels = kernels.select(backend)
        self.source = ArraySource(array, labels, w, reads=self._kernels.READS)
        self.fit_intercept = bool(fit_intercept)
        self.l2 = validation.check_real(l2, "l2")
        self.n_threads = default_threads() if n_threads is None else validation.check_count(n_threads, "n_threads")
        self.plan = make_plan(m, self.n_features, self.n_classes, self.source.dtype)
        self.shape = (self.n_features + self.fit_intercept, self.n_classes)
        self.n_passes = 0

    def value_and_grad(self, theta: ArrayLike) -> tuple[float, np.ndarray]:
        """Value and gradient, shaped and typed like theta: (n [+1], k) or flat.

        Raises
        ------
        ValueError
            If X or theta holds NaN or infinity; the row is named.
        FloatingPointError
            If the logits of finite X and theta overflow.
        """
        checked = self._check(theta)
        value, grad = self._pass(checked, want_grad=True)
        grad[: self.n_features] += self.l2 * checked[: self.n_features]
        return value, grad.astype(checked.dtype, copy=False).reshape(np.shape(theta))

    def value(self, theta: ArrayLike) -> float:
        """The value alone: half the work of `value_and_grad`."""
        return self._pass(self._check(theta), want_grad=False)[0]

    def hess_prod(self, theta: ArrayLike, v: ArrayLike) -> np.ndarray:
        """The Hessian at theta times v, shaped and typed like v. One pass over X."""
        checked = self._check(theta)
        direction = self._check(v, "v")
        params, along = self._parameters(checked), self._parameters(direction)
        sums = self._sums()
        for rows in self._chunks():
            self._kernels.dense_hess_prod(rows, params, along, self.plan, sums, self.n_threads)
        out = self._join(sums)
        self._require_finite(float(out.sum()), "Hessian product")
        out[: self.n_features] += self.l2 * direction[: self.n_features]
        return out.astype(direction.dtype, copy=False).reshape(np.shape(v))

    def gram(self) -> np.ndarray:
        """X^T diag(w) X / sum(w), float64; with the intercept's column of ones last if there is one."""
        n = self.n_features
        sums = Sums.zeros(self.plan.slabs, n, n, 1.0 / self.weight_sum)
        for rows in self._chunks():
            self._kernels.dense_gram(rows, self.plan, sums, self.n_threads)
        _, out, column_sums = sums.total()
        self._require_finite(float(out.sum()), "Gram matrix")
        if not self.fit_intercept:
            return out
        out = np.pad(out, (0, 1), constant_values=1.0)
        out[:n, n] = out[n, :n] = column_sums
        return out

    def _pass(self, theta: np.ndarray, *, want_grad: bool) -> tuple[float, np.ndarray]:
        params = self._parameters(theta)
        sums = self._sums(grad=want_grad)
        for rows in self._chunks():
            self._kernels.dense_value_and_grad(rows, params, self.plan, sums, self.n_threads)
        value = float(np.add.reduce(sums.loss))
        grad = self._join(sums) if want_grad else np.zeros(0)
        self._require_finite(value + float(grad.sum()), "loss")
        weights = theta[: self.n_features].astype(np.float64, copy=False).ravel()
        return value + 0.5 * self.l2 * float(weights @ weights), grad

    def _chunks(self) -> Iterator[Rows]:
        """The rows of one pass; kernels run between the chunks, and so does Ctrl-C."""
        self.n_passes += 1
        return self.source.chunks(self.plan.chunk)

    def _sums(self, *, grad: bool = True) -> Sums:
        return Sums.zeros(self.plan.slabs, self.n_classes, self.n_features, 1.0 / self.weight_sum, grad=grad)

    def _join(self, sums: Sums) -> np.ndarray:
        """The gradient of all slabs, float64, shaped like theta."""
        _, grad, bias = sums.total()
        return np.vstack([grad, bias]) if self.fit_intercept else np.ascontiguousarray(grad)

    def _parameters(self, theta: np.ndarray) -> Parameters:
        with np.errstate(over="ignore"):  # an overflow is found in the loss
            theta = np.ascontiguousarray(theta, dtype=self.source.dtype)
        if self.fit_intercept:
            return Parameters(theta[:-1], theta[-1])
        return Parameters(theta)

    def _check(self, theta: ArrayLike, name: str = "theta") -> np.ndarray:
        return validation.check_theta(theta, self.n_features, self.n_classes, self.fit_intercept, name)

    def _require_finite(self, value: float, what: str) -> None:
        """Raise for a non-finite result, naming the row of X that caused it if one did."""
        if not np.isfinite(value):
            explain_nonfinite(self.source, self.plan.chunk, what)


def explain_nonfinite(source: ArraySource, chunk: int, what: str) -> None:
    """Raise ValueError with the first NaN or infinity of X, else FloatingPointError.

    Called only after a result came out non-finite, so that sound data is never scanned.
    """
    for rows in source.chunks(chunk):
        place = validation.nonfinite_row(rows.X)
        if place is not None:
            row, column = place
            raise ValueError(
                f"X must be finite; row {rows.start + row}, column {column} holds {rows.X[row, column]}"
                " (NaN or infinity)"
            )
    raise FloatingPointError(f"the {what} overflows {source.dtype}: logits X theta must stay finite")


def loss_and_grad(
    X: ArrayLike,
    y: ArrayLike,
    theta: ArrayLike,
    *,
    fit_intercept: bool = False,
    sample_weight: ArrayLike | None = None,
    l2: float = 0.0,
    backend: str = "auto",
    n_threads: int | None = None,
) -> tuple[float, np.ndarray]:
    """Loss and gradient of softmax regression in one pass over X.

    value = (1/sum w) sum_i w_i (logsumexp(H_i) - H[i, y_i]) + l2/2 ||theta||^2 and
    gradient = X^T D + l2 theta with H = X theta, D = w (softmax(H) - onehot(y)) / sum(w).
    The number of classes is that of theta's columns. Parameters, errors and conventions as in
    `Objective`; theta has shape (n, k), or (n + 1, k) with the bias last if ``fit_intercept``.

    Returns
    -------
    value : float
    grad : ndarray like theta
    """
    theta = np.asarray(theta)
    if theta.ndim != 2:
        raise ValueError(f"theta has shape {theta.shape}; (features, classes) is wanted")
    obj = Objective(
        X,
        y,
        theta.shape[1],
        fit_intercept=fit_intercept,
        sample_weight=sample_weight,
        l2=l2,
        backend=backend,
        n_threads=n_threads,
    )
    return obj.value_and_grad(theta)
