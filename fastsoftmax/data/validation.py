"""Checks and converts what callers give. Only this module and `validation_sparse` do; kernels check nothing.

Every message names the argument, what was given and what is wanted.

X is not searched for NaN and infinity here, because that would cost as much as a pass of the kernels. They go through
to the loss or the gradient, and only then does `nonfinite_place` search for the first of them.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.contract import Csr
from .arrays import as_array, as_array_or_bits
from .bfloat16 import BFLOAT16, as_numbers
from .frames import frame_values, has_columns, is_frame, opened
from .validation_sparse import check_sparse, is_sparse, nonfinite_entry

# Type characters of the dtypes whose every value is exact in float32: X of them is computed as float32.
_EXACT_IN_FLOAT32 = "?bBhHe"
# Up to so many numbers `all_finite` tests each: that takes 1.5 us, and their sum 4 us with its warnings turned off.
FEW_NUMBERS = 1024


def check_X(X: Any, name: str = "X") -> np.ndarray | Csr:
    """Check X: a 2-D real array that keeps its dtype and strides (no copy), or for sparse X a `Csr` of all rows.

    Of an array of another library it is what `arrays.as_array` makes of it, of a data frame what `frames.frame_values`
    reads.

    Raises
    ------
    TypeError
        For a dtype that is not real numbers, and for masked arrays.
    ValueError
        For another number of dimensions, no rows or no columns; for sparse X see `validation_sparse.check_sparse`.
    """
    if is_frame(X):
        X = frame_values(opened(X, name), name)
    return check_sparse(X, name) if is_sparse(X) else check_dense(X, name)


def check_dense(X: ArrayLike, name: str = "X") -> np.ndarray:
    """`check_X` for X that is not sparse."""
    array = as_array_or_bits(X, name)
    if array.dtype.kind not in "fiub" and array.dtype != BFLOAT16:
        raise TypeError(f"{name} has dtype {array.dtype}; a real numeric array (float, int or bool) is wanted")
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}; a 2-D array (rows, features) is wanted")
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise ValueError(f"{name} has shape {array.shape}; at least one row and one feature are wanted")
    return array


def compute_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype that X of this dtype is computed in: float32 for float32 and what is exact in it (bool, float16,
    bfloat16, 8- and 16-bit integers), else float64."""
    dtype = np.dtype(dtype).newbyteorder("=")
    single = dtype in (np.float32, BFLOAT16) or dtype.char in _EXACT_IN_FLOAT32
    return np.dtype(np.float32 if single else np.float64)


def check_y(y: ArrayLike, m: int, n_classes: int | None = None, name: str = "y") -> tuple[np.ndarray, int]:
    """Check labels: int32 (m,), and the number of classes k (1 + the largest label unless given).

    Raises
    ------
    TypeError
        For labels that are not numbers.
    ValueError
        For a wrong shape, a fraction, a label outside 0..k-1, or fewer than two classes.
    """
    array = as_array(y, name)
    if array.dtype.kind not in "iubf":
        raise TypeError(f"{name} has dtype {array.dtype}; integer class numbers 0..k-1 are wanted")
    if array.shape != (m,):
        raise ValueError(f"{name} has shape {array.shape}; one label for each of the {m} rows of X, ({m},), is wanted")
    if array.dtype.kind == "f":
        bad = np.flatnonzero(array != np.floor(array)) if np.isfinite(array).all() else _nonfinite(array)
        if len(bad):
            raise ValueError(
                f"{name} must hold whole class numbers 0..k-1; row {bad[0]} holds {array[bad[0]].item()!r}"
            )
    smallest, largest = array.min(), array.max()
    if smallest < 0:
        row = int(np.argmin(array))
        raise ValueError(f"{name} must hold class numbers 0..k-1; row {row} holds {array[row].item()!r}")
    if n_classes is None:
        k = int(largest) + 1
        if k < 2:
            raise ValueError(f"{name} holds one class only ({smallest}); at least two classes are wanted")
    else:
        k = check_count(n_classes, "n_classes", at_least=2)
    if k >= 1 << 31:
        raise ValueError(f"{name} must hold class numbers 0..k-1 below 2^31 - 1; the largest is {largest}")
    if largest >= k:
        row = int(np.argmax(array))
        raise ValueError(f"{name} must hold class numbers 0..{k - 1}; row {row} holds {array[row].item()!r}")
    return np.ascontiguousarray(array, dtype=np.int32), k


def check_targets(
    y: ArrayLike, m: int, n_classes: int | None, dtype: np.dtype, name: str = "y"
) -> tuple[np.ndarray, int]:
    """Check targets: labels as `check_y` does or, for 2-D y, soft targets (m, k) of ``dtype`` in C order; and k.

    A frame of one column holds labels.

    Raises
    ------
    TypeError, ValueError
        As `check_y`; for soft targets of another shape, or not real, finite and at least 0.
    """
    array = _columns(y, name) if has_columns(y) else as_array(y, name)
    if array.ndim != 2:
        return check_y(array, m, n_classes, name)
    k = array.shape[1] if n_classes is None else check_count(n_classes, "n_classes", at_least=2)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}; real numbers are wanted for soft targets")
    if array.shape != (m, k) or k < 2:
        raise ValueError(f"{name} has shape {array.shape}; ({m},) labels or ({m}, {max(k, 2)}) soft targets are wanted")
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if len(bad):
        row, column = divmod(int(bad[0]), k)
        value = array[row, column].item()
        raise ValueError(f"{name} must hold finite targets of at least 0; row {row} holds {value!r}")
    return np.ascontiguousarray(array, dtype=dtype), k


def check_weights(w: ArrayLike | None, m: int, name: str = "sample_weight") -> tuple[np.ndarray | None, float]:
    """Check weights: float64 (m,), scaled by a power of two so that the largest is in [1, 2), and their sum.

    The scale cancels in every weighted mean. It brings weights such as 1e300 into the range of float32. None and m are
    returned for no weights; one number is a weight for every row.

    Raises
    ------
    TypeError, ValueError
        For weights that are not real numbers, of another shape, negative, not finite, or zero in every row.
    """
    if w is None:
        return None, float(m)
    array = as_array(w, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}; real numbers are wanted")
    if array.ndim == 0:
        array = np.full(m, array)
    if array.shape != (m,):
        raise ValueError(f"{name} has shape {array.shape}; one weight for each of the {m} rows, ({m},), is wanted")
    array = np.ascontiguousarray(array, dtype=np.float64)
    bad = _nonfinite(array)
    if len(bad):
        raise ValueError(f"{name} must be finite; row {bad[0]} holds {array[bad[0]]}")
    if array.min() < 0:
        row = int(np.argmin(array))
        raise ValueError(f"{name} must not be negative; row {row} holds {array[row]}")
    largest = array.max()
    if largest == 0:
        raise ValueError(f"{name} is zero in every row; at least one positive weight is wanted")
    array = np.ldexp(array, 1 - math.frexp(largest)[1])
    return array, float(array.sum())


def check_theta(theta: ArrayLike, n: int, k: int, fit_intercept: bool, name: str = "theta") -> np.ndarray:
    """Check parameters: float32 or float64 of shape (n, k), or (n + 1, k) with the bias; flat ones are reshaped.

    Raises
    ------
    TypeError, ValueError
        For parameters that are not real numbers, of another shape, or not finite.
    """
    array = as_array(theta, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}; real numbers are wanted")
    rows = n + bool(fit_intercept)
    if array.shape != (rows, k) and array.shape != (rows * k,):
        bias = " (the last row is the bias)" if fit_intercept else ""
        raise ValueError(f"{name} has shape {array.shape}; ({rows}, {k}){bias} or ({rows * k},) is wanted")
    if not all_finite(array):
        bad = _nonfinite(array)
        row, column = divmod(int(bad[0]), k)
        raise ValueError(f"{name} must be finite; row {row}, column {column} holds {array.ravel()[bad[0]]}")
    if array.dtype.char not in "fd":
        array = array.astype(np.float64)
    return array.reshape(rows, k)


def check_count(value: Any, name: str, *, at_least: int = 1) -> int:
    """Check a whole number: TypeError unless it is one, ValueError if it is below ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number; got {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}; got {value}")
    return int(value)


def check_real(value: Any, name: str, *, positive: bool = False) -> float:
    """Check a real number: TypeError unless it is one, ValueError if not finite, negative, or 0 where ``positive``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number; got {value!r}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} must be finite and {'above' if positive else 'at least'} 0; got {value}")
    return float(value)


def check_share(value: Any, name: str) -> float:
    """Check a number in [0, 1], as `check_real`."""
    share = check_real(value, name)
    if share > 1:
        raise ValueError(f"{name} must be in [0, 1]; got {value}")
    return share


def nonfinite_place(X: np.ndarray | Csr) -> tuple[int, int, float] | None:
    """Row, column and value of the first NaN or infinity of X, or None."""
    if isinstance(X, Csr):
        return nonfinite_entry(X)
    place = nonfinite_row(X)
    return None if place is None else (*place, float(as_numbers(X[place])))


def nonfinite_row(X: np.ndarray) -> tuple[int, int] | None:
    """Row and column of the first NaN or infinity of dense X, or None; about a million numbers at a time."""
    if X.dtype.kind != "f" and X.dtype != BFLOAT16:
        return None
    step = max(1, (1 << 20) // X.shape[1])
    for start in range(0, len(X), step):
        bad = _nonfinite(as_numbers(X[start : start + step]))
        if len(bad):
            row, column = divmod(int(bad[0]), X.shape[1])
            return start + row, column
    return None


def all_finite(result: float | np.ndarray) -> bool:
    """Whether no number is NaN or infinite. A finite sum proves it without a temporary; only else is each tested."""
    if np.size(result) <= FEW_NUMBERS:
        return bool(np.logical_and.reduce(np.isfinite(result), axis=None))
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(np.add.reduce(result, axis=None)) or bool(np.isfinite(result).all())


def _columns(y: Any, name: str) -> np.ndarray:
    """The numbers of a frame, (m,) if it has one column."""
    values = frame_values(opened(y, name), name)
    array: np.ndarray = values if isinstance(values, np.ndarray) else values.toarray()
    return array[:, 0] if array.shape[1] == 1 else array


def _nonfinite(array: np.ndarray) -> np.ndarray:
    """Indices, in the flattened array, of the values that are NaN or infinite."""
    return np.flatnonzero(~np.isfinite(array))
