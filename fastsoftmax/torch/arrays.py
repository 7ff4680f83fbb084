"""One pass over a batch of tensors: what they hold, checked and in the form of `objective.batch`, and back.

The loss of row i is sum_c t_ic (logsumexp(H_i) - H_ic), with H = input linear_weight^T + linear_bias and the targets t
that PyTorch's cross entropy has. With class weights v, label smoothing eps and k classes these are

    index y          t_ic = (1 - eps) v_y [c = y] + eps / k v_c      mean: divided by the sum of v_y
    probabilities p  t_ic = v_c ((1 - eps) p_ic + eps / k)           mean: divided by the number of rows

A row whose index is ``ignore_index`` has the weight 0. Without class weights or without smoothing the weight of a row
says it all, and no array of rows x classes is made; else the targets are made a chunk of rows at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.bfloat16 import as_numbers, bits_of
from ..data.sources.made import MakeTargets
from ..objective import batch


@dataclass(frozen=True)
class Options:
    """What is asked for beside tensors.

    Attributes
    ----------
    ignore_index : int
    label_smoothing : float
    by_row : bool
        Whether the losses of the rows are wanted rather than their sum.
    mean : bool
        Whether the sum is divided as PyTorch's "mean" is.
    wanted : tuple of bool
        Which gradients of the sum are wanted: by input, linear_weight, linear_bias.
    """

    ignore_index: int
    label_smoothing: float
    by_row: bool
    mean: bool
    wanted: tuple[bool, bool, bool]


@dataclass(frozen=True)
class Result:
    """The loss, a scalar or (N,), of the dtype of the computation, and the gradients asked for, of their own dtypes."""

    loss: Tensor
    grads: tuple[Tensor | None, Tensor | None, Tensor | None]


def compute_dtype(input: Tensor, linear_weight: Tensor) -> torch.dtype:
    """float64 if one of them is, else float32."""
    return torch.float64 if torch.float64 in (input.dtype, linear_weight.dtype) else torch.float32


def evaluate(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    weight: Tensor | None,
    options: Options,
    row_factors: Tensor | None = None,
) -> Result:
    """Loss and gradients in one pass.

    ``input`` is (N, n), ``linear_weight`` (C, n), ``target`` (N,) or (N, C). Each row's part of the gradients is
    multiplied by its number in ``row_factors``.
    """
    dtype = _numpy_dtype(compute_dtype(input, linear_weight))
    N, k = len(input), len(linear_weight)
    targets, counted, w, total = _targets(target, weight, k, dtype, options)
    if row_factors is not None:
        w = w * _array(row_factors, np.dtype(np.float64))
    given, wanted = (input, linear_weight, linear_bias), options.wanted
    if not total and not counted.any():
        return _without_rows(given, N, dtype, options)
    X, W = _array(input), _array(linear_weight, dtype)
    if X.dtype != dtype and dtype == np.float64:  # float32 rows beside float64 parameters
        X = X.astype(dtype)
    bias = None if linear_bias is None else np.ascontiguousarray(_array(linear_bias, dtype))
    smoothing = 0.0 if callable(targets) else options.label_smoothing
    factors = _mean_factors(counted, w, total) if options.mean else w
    found = batch.evaluate(
        batch.Batch(X, W, bias, targets, factors, smoothing),
        dX=wanted[0],
        grad=any(wanted),
        row_loss=options.by_row,
        n_threads=torch.get_num_threads(),
    )
    loss = found.value if found.row_loss is None else np.where(w != 0, found.row_loss * w, 0.0)
    arrays = found.dX, found.dW, found.db
    grads = tuple(map(_gradient, arrays, given, wanted))
    return Result(torch.from_numpy(np.asarray(loss, dtype)), grads)  # type: ignore[arg-type]


def _targets(
    target: Tensor, weight: Tensor | None, k: int, dtype: np.dtype, options: Options
) -> tuple[np.ndarray | MakeTargets, np.ndarray, np.ndarray, float]:
    """Targets as `batch.Batch` has them; for each row whether it counts, 0 or 1, and its weight; a mean's divisor."""
    eps = options.label_smoothing
    v = None if weight is None else _array(weight, np.dtype(np.float64))
    if target.ndim == 2:
        shares, ones, N = _array(target, dtype), np.ones(len(target)), float(len(target))
        if v is None:
            return np.ascontiguousarray(shares), ones, ones, N
        return (lambda a, b: (v * ((1 - eps) * shares[a:b] + eps / k)).astype(dtype)), ones, ones, N
    labels, counted, rows = _labels(target.numpy(), k, options.ignore_index)
    if v is None:
        return labels, counted, counted, float(rows)
    w = counted * v[labels]
    total = float(w.sum())
    if eps == 0.0:
        return labels, counted, w, total

    def make(a: int, b: int) -> np.ndarray:
        out = np.tile((eps / k * v).astype(dtype), (b - a, 1))
        out[np.arange(b - a), labels[a:b]] += (1 - eps) * v[labels[a:b]]
        return out

    return make, counted, counted, total


def _mean_factors(counted: np.ndarray, w: np.ndarray, total: float) -> np.ndarray:
    """w / total; NaN, as 0 / 0 is, for rows that count where the classes of all of them have the weight 0."""
    return w / total if total else np.where(counted != 0, np.nan, 0.0)


def _labels(y: np.ndarray, k: int, ignore_index: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Class numbers as int32, 0 where they are to be ignored; the weight of each row, 0 or 1; and their sum."""
    # As unsigned numbers negative ones are large, so that one look at all is enough.
    if len(y) and not 0 <= ignore_index < k and y.dtype == np.int64 and y.view(np.uint64).max() < k:
        return y.astype(np.int32), np.ones(len(y)), len(y)
    ignored = y == ignore_index
    labels = np.where(ignored, 0, y)
    wrong = labels[(labels < 0) | (labels >= k)]
    if len(wrong):
        raise IndexError(f"target must hold class numbers 0..{k - 1} or ignore_index={ignore_index}; got {wrong[0]}")
    return labels.astype(np.int32), (~ignored).astype(np.float64), int(np.count_nonzero(~ignored))


def _without_rows(given: tuple[Tensor, Tensor, Tensor | None], N: int, dtype: np.dtype, options: Options) -> Result:
    """The result where no row counts: gradients of 0, and a mean of none."""
    loss = np.zeros(N, dtype) if options.by_row else np.asarray(np.nan if options.mean else 0.0, dtype)
    grads = [
        None if tensor is None or not wanted else torch.zeros_like(tensor)
        for tensor, wanted in zip(given, options.wanted, strict=True)
    ]
    return Result(torch.from_numpy(loss), (grads[0], grads[1], grads[2]))


def _array(tensor: Tensor, dtype: np.dtype | None = None) -> np.ndarray:
    """The tensor's memory as an array; converted to a dtype if one is given. bfloat16 comes as its bits."""
    if tensor.dtype != torch.bfloat16:
        array: np.ndarray = tensor.detach().resolve_neg().numpy()
        return array if dtype is None else array.astype(dtype, copy=False)
    bits = bits_of(tensor.detach())
    return bits if dtype is None else as_numbers(bits).astype(dtype, copy=False)


def _gradient(array: np.ndarray | None, given: Tensor | None, wanted: bool) -> Tensor | None:
    """A gradient as a tensor of the dtype of what it belongs to."""
    if array is None or given is None or not wanted:
        return None
    return torch.from_numpy(array).to(given.dtype)


def _numpy_dtype(dtype: torch.dtype) -> np.dtype:
    return np.dtype(np.float64 if dtype == torch.float64 else np.float32)
