"""What the functions of ``fastsoftmax.h`` do, on arrays over their callers' memory.

Nothing is computed here: a call makes an `Objective` or a `Prediction`, which check the arguments, and writes what they
return where the caller wants it. What costs most in making one is its plan, so plans are kept, by shape and layout.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ...data.sources.memory import ArraySource
from ...data.sources.source import Source
from ...data.validation import check_dense, check_theta
from ...kernels.backends import BACKENDS
from ...kernels.contract import RowOutputs
from ...kernels.machine import default_threads
from ...kernels.plan import Plan, kept_plan
from ...model.prediction import Prediction
from ...objective import batch
from ...objective.objective import Objective

# What a number stands for in C.
CHOICES = ("auto", *BACKENDS)
KINDS = {-1: "label", 1: "logits", 2: "proba", 3: "log_proba"}
STATUS: dict[type[BaseException], int] = {
    ValueError: 1,
    TypeError: 1,
    FloatingPointError: 2,
    MemoryError: 3,
    KeyboardInterrupt: 4,
    BaseException: 5,
}


def key_of(source: Source, k: int, kind: str) -> Hashable:
    """What decides a plan: the shape of X and how it lies in memory, the classes, the wing."""
    assert isinstance(source, ArraySource)
    return kind, k, source.shape, source.dtype.char, source.layout


class _Objective(Objective):
    """An objective for one call."""

    def make_plan(self) -> Plan:
        return kept_plan(key_of(self.source, self.n_classes, self.backend), super().make_plan)

    def fill(
        self,
        theta: np.ndarray,
        grad: np.ndarray | None,
        grad_bias: np.ndarray | None,
        dX: np.ndarray | None,
        row_loss: np.ndarray | None,
    ) -> float:
        """The value; the rest goes where it is wanted."""
        wanted = grad is not None or grad_bias is not None or dX is not None
        value, out = self._pass(self._check(theta), RowOutputs(dX=dX, loss=row_loss), grad=wanted)
        if out is not None:
            write(out, grad, grad_bias)
        return value


class _Prediction(Prediction):
    """A prediction for one call."""

    def make_plan(self) -> Plan:
        return kept_plan(key_of(self.source, self.k, f"{self.kernels.WING}, prediction"), super().make_plan)


def loss_and_grad(
    X: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    theta: np.ndarray,
    fit_intercept: bool,
    l2: float,
    label_smoothing: float,
    n_threads: int,
    backend: int,
    grad: np.ndarray | None,
    grad_bias: np.ndarray | None,
    dX: np.ndarray | None,
    row_loss: np.ndarray | None,
) -> float:
    """`Objective.value_and_grad` and what else the pass can write."""
    obj = _Objective(
        X,
        y,
        theta.shape[1],
        fit_intercept=fit_intercept,
        sample_weight=sample_weight,
        l2=l2,
        label_smoothing=label_smoothing,
        backend=CHOICES[backend],
        n_threads=n_threads or None,
    )
    return obj.fill(theta, grad, grad_bias, dX, row_loss)


def loss_and_grad_like_python(
    X: np.ndarray,
    y: np.ndarray,
    theta: np.ndarray,
    sample_weight: np.ndarray | None,
    grad: np.ndarray,
    fit_intercept: bool,
    backend: int,
    n_threads: int | None,
    l2: float,
    label_smoothing: float,
) -> float:
    """`fastsoftmax.loss_and_grad` for compiled code, which has allocated ``grad``."""
    obj = _Objective(
        X,
        y,
        theta.shape[1],
        fit_intercept=fit_intercept,
        sample_weight=sample_weight,
        l2=l2,
        label_smoothing=label_smoothing,
        backend=CHOICES[backend] if backend >= 0 else "",
        n_threads=n_threads,
    )
    value, grad[...] = obj.value_and_grad(theta)
    return value


def batch_loss(
    X: np.ndarray,
    targets: np.ndarray,
    w: np.ndarray,
    theta: np.ndarray,
    bias: np.ndarray | None,
    label_smoothing: float,
    n_threads: int,
    grad: np.ndarray | None,
    grad_bias: np.ndarray | None,
    dX: np.ndarray | None,
    row_loss: np.ndarray | None,
) -> float:
    """sum_i w_i loss_i and its gradients for a layer of a network, of labels or soft targets.

    Weights may have any values, and NaN and infinity come out as they do of the formulas; labels must be in 0..k-1.
    """
    k = theta.shape[1]
    if targets.ndim == 1 and targets.view(np.uint32).max() >= k:
        row = int(np.argmax(targets.view(np.uint32) >= k))
        raise ValueError(f"labels must be in 0..{k - 1}; row {row} holds {targets[row]}")
    found = batch.evaluate(
        batch.Batch(X, theta.T, bias, targets, w, label_smoothing),
        dX=False if dX is None else dX,
        grad=grad is not None or grad_bias is not None or dX is not None,
        row_loss=row_loss is not None,
        n_threads=n_threads or default_threads(),
    )
    if grad is not None:
        grad[...] = found.dW.T  # type: ignore[union-attr]
    if grad_bias is not None:
        grad_bias[...] = found.db
    if row_loss is not None:
        row_loss[...] = found.row_loss
    return found.value


def hess_prod(
    X: np.ndarray,
    sample_weight: np.ndarray | None,
    theta: np.ndarray,
    v: np.ndarray,
    fit_intercept: bool,
    l2: float,
    n_threads: int,
    backend: int,
    product: np.ndarray,
    product_bias: np.ndarray | None,
) -> None:
    """`Objective.hess_prod`. It does not depend on labels, but an objective has them."""
    obj = _Objective(
        X,
        np.zeros(len(X), np.int32),
        theta.shape[1],
        fit_intercept=fit_intercept,
        sample_weight=sample_weight,
        l2=l2,
        backend=CHOICES[backend],
        n_threads=n_threads or None,
    )
    write(obj.hess_prod(theta, v), product, product_bias)


def predict(
    X: np.ndarray, theta: np.ndarray, fit_intercept: bool, n_threads: int, backend: int, what: int, out: np.ndarray
) -> None:
    """A prediction, by its number."""
    if what not in KINDS:
        raise ValueError(f"what must be FASTSOFTMAX_LOGITS (1), _PROBA (2) or _LOG_PROBA (3); got {what}")
    n, k = X.shape[1], theta.shape[1]
    checked = check_theta(theta, n, k, fit_intercept)
    bias = checked[n] if fit_intercept else None
    work = _Prediction(check_dense(X), checked[:n], bias, CHOICES[backend], n_threads or None)
    work.whole(KINDS[what], out)


def joined(theta: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Parameters and bias (k,) in one array (n + 1, k), as `Objective` takes them."""
    return np.concatenate((theta, bias[None]))


def write(out: np.ndarray, features: np.ndarray | None, bias: np.ndarray | None) -> None:
    """The rows of ``out`` to where its features and its bias are wanted."""
    rows = len(out) if bias is None else len(out) - 1
    if features is not None:
        features[...] = out[: len(features)]
    if bias is not None:
        bias[...] = out[rows]


def status_of(error: BaseException) -> int:
    """The number of an error in C."""
    return next(number for kind, number in STATUS.items() if isinstance(error, kind))
