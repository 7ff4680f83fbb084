"""`linear_cross_entropy`: PyTorch's function of that name, in one pass and without logits in memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from . import operator

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """Cross entropy of ``input linear_weight^T + linear_bias``, without these logits: a drop-in for PyTorch's.

    Loss and gradients come from one pass over the rows of CPU tensors, with a block of logits in cache at a time. The
    gradients are computed beside the loss where they are wanted, and not at all where not. With ``reduction="none"``
    the backward pass makes a second one.

    Parameters
    ----------
    input : Tensor (n,), (N, n) or (..., n)
        Rows; more leading dimensions than one, which PyTorch refuses, are those of ``target`` too.
    linear_weight : Tensor (C, n) or (C, d_1, ..., d_K, n)
        With K > 0, ``input`` is (N, n), and there is a loss for each position in d_1, ..., d_K.
    target : Tensor
        Class numbers, int64 (...) or (N, d_1, ..., d_K), or shares of the classes, (..., C) or (N, C, d_1, ..., d_K).
    linear_bias : Tensor (C,) or (C, d_1, ..., d_K), optional
    weight : Tensor (C,), optional
        A weight for each class.
    reduction : {"mean", "sum", "none"}
        A mean is divided by the weights of the targets, or with shares by the number of rows.
    ignore_index : int, optional
        A class number whose rows do not count; -100 unless given. If there are no others, the mean is NaN.
    label_smoothing : float
        eps in [0, 1]: targets t become (1 - eps) t + eps / C.
    options : torch.nn.LinearCrossEntropyOptions, optional
        How PyTorch would save memory, for which there is no need. Its ``acc_dtype`` must be that of the computation or
        less precise: float64 for float64 tensors, float32 for all others.

    Returns
    -------
    Tensor
        A scalar, or with ``reduction="none"`` a loss for each target; in the dtype of ``input``, and within autocast
        float32. All of one dtype, float32, float64, bfloat16 or float16; the last two are computed in float32.

    Raises
    ------
    NotImplementedError
        For tensors that are not on the CPU or not dense; when differentiated twice, in forward mode, or with respect
        to ``target`` or ``weight``. Of tensors on "meta" the shapes alone are worked out.
    RuntimeError
        For shapes, dtypes and options that do not fit.
    TypeError
        For what is no tensor.
    IndexError
        For a class number that there is not.

    Examples
    --------
    >>> import torch
    >>> from fastsoftmax.torch import linear_cross_entropy
    >>> hidden, head = torch.zeros(4, 8, requires_grad=True), torch.zeros(10, 8, requires_grad=True)
    >>> loss = linear_cross_entropy(hidden, head, torch.tensor([1, 2, 3, 4]))
    >>> loss.backward()
    >>> round(loss.item(), 4), head.grad.shape
    (2.3026, torch.Size([10, 8]))
    """
    check_tensors(input, linear_weight, target, linear_bias, weight)
    check_options(reduction, label_smoothing, options, input.dtype)
    positions, logits_shape = check_shapes(input, linear_weight, linear_bias, weight)
    shares = tuple(target.shape) == logits_shape
    if shares and ignore_index is not None:
        raise RuntimeError("ignore_index is for class numbers; target holds a share of each class, so None is wanted")
    rows = logits_shape[:1] if positions else logits_shape[:-1]
    if not shares and tuple(target.shape) != (*rows, *positions):
        raise RuntimeError(
            f"target has shape {tuple(target.shape)}; class numbers of shape {(*rows, *positions)} or shares of shape "
            f"{logits_shape} are wanted"
        )
    if shares != target.is_floating_point():
        kind = "shares, as floating point numbers" if shares else "class numbers, as int64"
        raise RuntimeError(f"target has dtype {target.dtype}; for its shape {tuple(target.shape)} {kind}, are wanted")
    keywords = (weight, reduction, -100 if ignore_index is None else ignore_index, float(label_smoothing))
    if positions:
        loss = by_position(input, linear_weight, target, linear_bias, positions, shares, keywords)
    else:
        flat = target.reshape(-1, len(linear_weight)) if shares else target.reshape(-1)
        loss = by_rows(input.reshape(-1, input.shape[-1]), linear_weight, flat, linear_bias, *keywords)
        loss = loss.reshape(rows) if reduction == "none" else loss
    return loss if torch.is_autocast_enabled("cpu") else loss.to(input.dtype)


def by_rows(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
) -> Tensor:
    """The loss of (N, n) and (C, n), in the dtype of the computation."""
    ahead = torch.is_grad_enabled() and reduction != "none"
    wanted = [ahead and t is not None and t.requires_grad for t in (input, linear_weight, linear_bias)]
    tensors = (input, linear_weight, target, linear_bias, weight)
    return operator.linear_cross_entropy(*tensors, reduction, ignore_index, label_smoothing, *wanted)


def by_position(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    positions: tuple[int, ...],
    shares: bool,
    keywords: tuple[Tensor | None, str, int, float],
) -> Tensor:
    """The loss of a K-dimensional target: that of each position, with a part of linear_weight of its own."""
    weight, reduction, ignore_index, label_smoothing = keywords
    W, bias = linear_weight.flatten(1, -2), None if linear_bias is None else linear_bias.flatten(1)
    y = target.flatten(2 if shares else 1)
    each = "none" if reduction == "none" else "sum"
    losses = [
        by_rows(
            input,
            W[:, d],
            y[..., d],
            None if bias is None else bias[:, d],
            weight,
            each,
            ignore_index,
            label_smoothing,
        )
        for d in range(math.prod(positions))
    ]
    if reduction == "none":
        return torch.stack(losses, 1).reshape(len(input), *positions)
    total = torch.stack(losses).sum()
    if reduction == "sum":
        return total
    if shares:
        return total / (len(input) * math.prod(positions))
    counts = y != ignore_index
    return total / (counts.sum() if weight is None else weight.to(total.dtype)[y[counts]].sum())


# ------------------------------------------------------------------------------------------ checks


def check_tensors(
    input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None, weight: Tensor | None
) -> None:
    """Tensors of the CPU, of one dtype that is known; within autocast of several."""
    tensors = {
        "input": input,
        "linear_weight": linear_weight,
        "target": target,
        "linear_bias": linear_bias,
        "weight": weight,
    }
    for name, tensor in tensors.items():
        if tensor is None and name in ("linear_bias", "weight"):
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}; a Tensor is wanted")
        if tensor.layout is not torch.strided or tensor.is_nested:
            kind = "a nested tensor" if tensor.is_nested else f"a tensor of layout {tensor.layout}"
            raise NotImplementedError(f"{name} is {kind}; a dense one is wanted, as {name}.to_dense() may be")
        if tensor.device.type not in ("cpu", "meta"):
            raise NotImplementedError(
                f"{name} is on {tensor.device}; fastsoftmax computes on the CPU: use "
                "torch.nn.functional.linear_cross_entropy for other devices"
            )
        if tensor.device != input.device:
            raise RuntimeError(f"{name} is on {tensor.device} and input on {input.device}; one device is wanted")
        if name != "target" and tensor.dtype not in DTYPES:
            raise RuntimeError(f"{name} has dtype {tensor.dtype}; float32, float64, bfloat16 or float16 is wanted")
        alike = ("linear_weight", "linear_bias", "weight")
        if name in alike and tensor.dtype != input.dtype and not torch.is_autocast_enabled("cpu"):
            raise RuntimeError(f"{name} has dtype {tensor.dtype}; that of input, {input.dtype}, is wanted")


def check_options(reduction: str, label_smoothing: float, options: Any, dtype: torch.dtype) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction must be "mean", "sum" or "none"; got {reduction!r}')
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be in [0, 1]; got {label_smoothing}")
    if options is not None and not hasattr(options, "acc_dtype"):
        raise TypeError(
            f"options is a {type(options).__name__}; a torch.nn.LinearCrossEntropyOptions or None is wanted"
        )
    asked = getattr(options, "acc_dtype", None)
    halves = (torch.bfloat16, torch.float16)
    if asked not in (None, dtype) and not (asked == torch.float32 and dtype in halves):
        raise RuntimeError(
            f"options.acc_dtype is {asked}; {dtype} input is accumulated in float64 or float32 of its own"
        )


def check_shapes(
    input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None, weight: Tensor | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The positions (d_1, ..., d_K) of a K-dimensional loss, and the shape that the logits would have."""
    shape, parameters = tuple(input.shape), tuple(linear_weight.shape)
    if len(shape) < 1 or len(parameters) < 2 or shape[-1] != parameters[-1]:
        raise RuntimeError(
            f"input has shape {shape}, linear_weight {parameters}; (..., n) and (C, n) or (C, d_1, ..., n) are wanted"
        )
    if shape[-1] == 0 or parameters[0] == 0:
        raise RuntimeError(f"linear_weight has shape {parameters}; at least one class and one feature are wanted")
    k, positions = parameters[0], parameters[1:-1]
    if positions and len(shape) != 2:
        raise RuntimeError(f"input has shape {shape}; (N, n) is wanted beside linear_weight of shape {parameters}")
    if linear_bias is not None and tuple(linear_bias.shape) != (k, *positions):
        raise RuntimeError(f"linear_bias has shape {tuple(linear_bias.shape)}; {(k, *positions)} is wanted")
    if weight is not None and tuple(weight.shape) != (k,):
        raise RuntimeError(f"weight has shape {tuple(weight.shape)}; a weight for each class, ({k},), is wanted")
    return positions, (*shape[:-1], k, *positions)
