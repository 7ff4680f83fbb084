"""`loss_and_grad` for functions that Numba compiles: what `fastsoftmax.loss_and_grad` does, in nopython mode.

Compiled code hands the addresses, shapes and strides of its arrays to a function of `kernels.api`, which makes the
arrays of them that Python would have been given. So the checks, their texts and every bit of the result are the same.
The code calls that function by a name, which is bound when it is loaded: addresses would be wrong in the next process
that takes it from Numba's cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _extras
from ..kernels.api.call import CHOICES
from ..kernels.api.functions import ADDRESSES, NONE
from ..objective import objective

numba = _extras.load("numba", "fastsoftmax.numba")
llvm = _extras.load("llvmlite.binding", "fastsoftmax.numba")

from numba import types  # noqa: E402
from numba.core.errors import TypingError  # noqa: E402
from numba.extending import overload, register_jitable  # noqa: E402
from numba.np.numpy_support import as_dtype  # noqa: E402

__all__ = ["loss_and_grad"]

for name in ("run_record", "copy_error"):
    llvm.add_symbol(f"fastsoftmax_{name}", ADDRESSES[name])
run_record = types.ExternalFunction(
    "fastsoftmax_run_record", types.int32(types.uintp, types.float64, types.float64, types.uintp)
)
copy_error = types.ExternalFunction("fastsoftmax_copy_error", types.int64(types.uintp, types.int64))
ERROR_BYTES = 512


def loss_and_grad(
    X: ArrayLike,
    y: ArrayLike,
    theta: ArrayLike,
    fit_intercept: bool = False,
    sample_weight: ArrayLike | None = None,
    l2: float = 0.0,
    label_smoothing: float = 0.0,
    backend: str = "auto",
    n_threads: int | None = None,
) -> tuple[float, np.ndarray]:
    """`fastsoftmax.loss_and_grad`, which functions compiled by Numba may call too, under ``prange`` as well.

    Parameters
    ----------
    X : ndarray (m, n)
        Of any dtype and layout that `fastsoftmax.Objective` reads; never copied.
    y : ndarray (m,)
        Class numbers 0..k-1, integers of any kind.
    theta : ndarray (n, k), or (n + 1, k) with the bias last if ``fit_intercept``
    fit_intercept, sample_weight, l2, label_smoothing, backend
        As of `fastsoftmax.loss_and_grad`. ``sample_weight`` is an array or None.
    n_threads : int, optional
        Threads of this call; all cores unless given. Give 1 in a loop that is parallel itself.

    Returns
    -------
    value : float
    grad : ndarray like theta, in C order

    Raises
    ------
    numba.core.errors.TypingError
        Where it is compiled: an argument is no array, or not of that many dimensions.
    ValueError, FloatingPointError
        Where it runs: as `fastsoftmax.loss_and_grad`; TypeError becomes ValueError, anything else RuntimeError. In
        a ``prange`` loop Numba turns an exception into a SystemError, or drops it if it comes from another thread.

    Notes
    -----
    A call takes the GIL for some 30 microseconds, in which no other call of the loop can begin.

    Examples
    --------
    >>> import numpy as np
    >>> from numba import njit
    >>> import fastsoftmax.numba
    >>> @njit
    ... def descend(X, y, theta, steps):
    ...     for _ in range(steps):
    ...         value, grad = fastsoftmax.numba.loss_and_grad(X, y, theta, l2=0.1)
    ...         theta = theta - grad
    ...     return value
    >>> round(descend(np.array([[1.0], [2.0]]), np.array([0, 1]), np.zeros((1, 2)), 100), 6)
    0.645986
    """
    return objective.loss_and_grad(
        X,
        y,
        theta,
        fit_intercept=fit_intercept,
        sample_weight=sample_weight,
        l2=l2,
        label_smoothing=label_smoothing,
        backend=backend,
        n_threads=n_threads,
    )


# Numba wants the same signature of both, annotations included.
@overload(loss_and_grad)
def compiled_loss_and_grad(  # type: ignore[no-untyped-def]
    X,
    y,
    theta,
    fit_intercept=False,
    sample_weight=None,
    l2=0.0,
    label_smoothing=0.0,
    backend="auto",
    n_threads=None,
):
    """The types of the arguments are checked here; all else is where the call arrives."""
    X_type, y_type, theta_type = _type_number(X, "X", 2), _type_number(y, "y", 1), _type_number(theta, "theta", 2)
    weighted, all_threads = not _is_none(sample_weight), _is_none(n_threads)
    w_type = _type_number(sample_weight, "sample_weight", 1) if weighted else NONE
    kept = isinstance(theta.dtype, types.Float) and theta.dtype.bitwidth >= 32
    dtype = as_dtype(theta.dtype if kept else types.float64)
    grad_type = dtype.num

    def implementation(  # type: ignore[no-untyped-def]
        X,
        y,
        theta,
        fit_intercept=False,
        sample_weight=None,
        l2=0.0,
        label_smoothing=0.0,
        backend="auto",
        n_threads=None,
    ):
        grad, value, record = np.full(theta.shape, np.nan, dtype), np.full(1, np.nan), np.empty(33, np.int64)
        _describe(record, 0, X_type, X)
        _describe_vector(record, 6, y_type, y)
        _describe(record, 12, theta_type, theta)
        record[18 + 1] = NONE
        if weighted:
            _describe_vector(record, 18, w_type, sample_weight)
        _describe(record, 24, grad_type, grad)
        record[30], record[31], record[32] = fit_intercept, _number_of(backend), NONE
        if not all_threads:
            record[32] = n_threads
        status = run_record(record.ctypes.data, l2, label_smoothing, value.ctypes.data)
        if status != 0:
            _raise(status)
        return value[0], grad

    return implementation


@register_jitable
def _describe(record: Any, at: int, kind: int, array: Any) -> None:
    record[at], record[at + 1] = array.ctypes.data, kind
    record[at + 2], record[at + 3] = array.shape
    record[at + 4], record[at + 5] = array.strides


@register_jitable
def _describe_vector(record: Any, at: int, kind: int, array: Any) -> None:
    record[at], record[at + 1], record[at + 2], record[at + 3] = array.ctypes.data, kind, array.shape[0], -1
    record[at + 4] = array.strides[0]


@register_jitable
def _number_of(backend: str) -> int:
    """The number of a backend in `kernels.api.call`; one that there is not, for a name that it does not know."""
    for number in range(len(CHOICES)):
        if CHOICES[number] == backend:
            return number
    return -1


@register_jitable
def _raise(status: int) -> None:
    """The exception of a status, with the text of this thread's last error."""
    codes = np.empty(ERROR_BYTES, np.uint8)
    text = ""
    for code in codes[: copy_error(codes.ctypes.data, ERROR_BYTES)]:
        text += chr(code)
    if status == 1:
        raise ValueError(text)
    if status == 2:
        raise FloatingPointError(text)
    if status == 3:
        raise MemoryError(text)
    raise RuntimeError(text)


def _is_none(given: Any) -> bool:
    """Whether an argument is None, given or by default."""
    given = given.value if isinstance(given, types.Omitted) else given
    return given is None or isinstance(given, types.NoneType)


def _type_number(given: Any, name: str, dimensions: int) -> int:
    """NumPy's number of the dtype of an array of so many dimensions; a TypingError if it is none."""
    if (
        isinstance(given, types.Array)
        and given.ndim == dimensions
        and isinstance(given.dtype, types.Number | types.Boolean)
    ):
        return int(as_dtype(given.dtype).num)
    raise TypingError(f"{name} is {given}; an array of {dimensions} dimension{'s'[: dimensions - 1]} is wanted")
