"""`linear_cross_entropy`: the loss of a linear layer, with its gradients computed in the forward pass.

Under ``grad`` the forward pass asks for the gradients of those arguments that are differentiated, and of no others; the
backward pass multiplies them by a number. Losses of the rows, with ``reduction="none"``, cannot know in advance what
comes back for each: there the backward pass makes a second pass, in which each row has its own factor.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import _extras
from ..kernels.api import call
from . import build

jax = _extras.load("jax", "fastsoftmax.jax")
jnp = _extras.load("jax.numpy", "fastsoftmax.jax")
SymbolicZero = _extras.load("jax.custom_derivatives", "fastsoftmax.jax").SymbolicZero


def linear_cross_entropy(
    x: Any,
    w: Any,
    labels: Any,
    b: Any = None,
    *,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    n_threads: int | None = None,
) -> Any:
    r"""Cross entropy of the logits x w + b, in one pass over x, without an array of rows times classes.

    .. math:: \frac{1}{\sum_i s_i} \sum_i s_i \sum_c t_{ic} (\log \sum_d e^{H_{id}} - H_{ic}), \qquad H = x w + b

    where t is one at the label of a row and zero elsewhere, or what ``labels`` gives for each class.

    It works under ``jit``, ``grad``, ``value_and_grad``, and ``vmap``, which runs one call after the other. Gradients
    with respect to x, w, b and sample_weight come from the same pass, and only those that are wanted; with
    ``reduction="none"`` they take a second one. There are no second derivatives and no forward mode.

    Parameters
    ----------
    x : array (..., features)
        float32 or float64, on a CPU; other floating types are computed in float32.
    w : array (features, classes)
    labels : integer array (...), or floating array (..., classes)
        Classes 0..k-1, one for each row of x; or soft targets, of any values, which have no gradient.
    b : array (classes,), optional
    sample_weight : array (...), optional
        s, of any values.
    label_smoothing : float
        eps in [0, 1]: targets t become (1 - eps) t + eps / classes.
    reduction : {"mean", "sum", "none"}
        "sum" leaves out the division by the sum of s. With "none" the result has the loss of each row, times its s.
    n_threads : int, optional
        Threads of the pass, all cores unless given.

    Returns
    -------
    scalar array of x's dtype, or with "none" an array (...)
        NaN or infinity where x or w hold them, or logits overflow. A mean of no rows is NaN, their sum 0.

    Raises
    ------
    TypeError, ValueError
        For wrong types and shapes, when it is traced.
    NotImplementedError
        When differentiated twice, in forward mode, or with respect to soft targets.
    jax.errors.JaxRuntimeError
        When it runs: for labels outside 0..k-1.

    Notes
    -----
    XLA calls the kernels by a library that is compiled when it is first needed, with the C++ compiler there is, and
    kept; without one Python is called back, which takes some 0.1 ms more and copies x. ``fastsoftmax info`` says which.
    """
    x, w, labels = jnp.asarray(x), jnp.asarray(w), jnp.asarray(labels)
    dtype = _dtype_of(x)
    _check(x, w, labels, b, sample_weight, label_smoothing, reduction, n_threads)
    k, rows = w.shape[1], x.reshape(-1, x.shape[-1]).astype(dtype)
    s = jnp.ones(len(rows), dtype) if sample_weight is None else jnp.asarray(sample_weight, dtype).reshape(-1)
    if not len(rows):
        loss = s if reduction == "none" else jnp.asarray(np.nan if reduction == "mean" else 0.0, dtype)
    else:
        soft = labels.ndim == x.ndim
        targets = labels.reshape(-1, k).astype(dtype) if soft else labels.reshape(-1).astype(jnp.int32)
        arguments = rows, w.astype(dtype), targets, None if b is None else jnp.asarray(b, dtype)
        options = float(label_smoothing), n_threads or 0
        if reduction == "none":
            loss = s * _losses(*arguments, *options)
        else:
            loss = _total(*arguments, s / s.sum() if reduction == "mean" else s, *options)
    return loss.reshape(x.shape[:-1] if reduction == "none" else ()).astype(x.dtype)


def _dtype_of(x: Any) -> Any:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x has dtype {x.dtype}; a floating type is wanted")
    return jnp.float64 if x.dtype == jnp.float64 else jnp.float32


def _check(
    x: Any, w: Any, labels: Any, b: Any, s: Any, label_smoothing: float, reduction: str, n_threads: int | None
) -> None:
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[0]:
        raise ValueError(f"x has shape {x.shape} and w {w.shape}; (..., features) and (features, classes) are wanted")
    n, k = w.shape
    if not n or not k:
        raise ValueError(f"w has shape {w.shape}; at least one feature and one class are wanted")
    soft = labels.shape == (*x.shape[:-1], k) and not jnp.issubdtype(labels.dtype, jnp.integer)
    if not soft and not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"labels has dtype {labels.dtype} and shape {labels.shape}; integers of shape {x.shape[:-1]}, or soft "
            f"targets of shape {(*x.shape[:-1], k)}, are wanted"
        )
    shapes = {"labels": (labels, x.shape[:-1]), "b": (b, (k,)), "sample_weight": (s, x.shape[:-1])}
    for name, (array, shape) in shapes.items():
        if array is not None and jnp.shape(array) != shape and not (soft and name == "labels"):
            raise ValueError(f"{name} has shape {jnp.shape(array)}; {shape} is wanted")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1]; got {label_smoothing}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none'; got {reduction!r}")
    if n_threads is not None and n_threads < 1:
        raise ValueError(f"n_threads must be at least 1; got {n_threads}")


# ------------------------------------------------------------------------------------------ gradients


def _given(arguments: Any) -> tuple[Any, list[bool]]:
    """Arguments of a forward pass, and which of them are differentiated; soft targets must not be."""
    wanted = [argument is not None and argument.perturbed for argument in arguments]
    if wanted[2] and jnp.issubdtype(arguments[2].value.dtype, jnp.floating):
        raise NotImplementedError(
            "fastsoftmax.jax.linear_cross_entropy has no gradient with respect to soft targets: give "
            "jax.lax.stop_gradient(labels)"
        )
    return [None if argument is None else argument.value for argument in arguments], wanted


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _total(x: Any, w: Any, targets: Any, b: Any, factors: Any, label_smoothing: float, n_threads: int) -> Any:
    """The losses of the rows times their factors, added up."""
    return _run(x, w, targets, b, factors, (False,) * 4, label_smoothing, n_threads)[0]


def _total_forward(
    x: Any, w: Any, targets: Any, b: Any, factors: Any, label_smoothing: float, n_threads: int
) -> tuple[Any, Any]:
    """The loss, and what `_total_backward` multiplies; arguments come with whether they are differentiated."""
    (x, w, targets, b, factors), (of_x, of_w, _, of_b, of_factors) = _given((x, w, targets, b, factors))
    wanted = of_x, of_w, of_b, of_factors
    loss, *parts = _run(x, w, targets, b, factors, wanted, label_smoothing, n_threads)
    return loss, [part if want else None for part, want in zip(parts, wanted, strict=True)]


def _total_backward(label_smoothing: float, n_threads: int, parts: Any, factor: Any) -> Any:
    if isinstance(factor, SymbolicZero):
        parts = [None] * 4
    dx, dw, db, row_loss = (None if part is None else factor * part for part in parts)
    return dx, dw, None, db, row_loss


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _losses(x: Any, w: Any, targets: Any, b: Any, label_smoothing: float, n_threads: int) -> Any:
    """The loss of each row."""
    factors = jnp.ones(len(x), x.dtype)
    return _run(x, w, targets, b, factors, (False, False, False, True), label_smoothing, n_threads)[4]


def _losses_forward(x: Any, w: Any, targets: Any, b: Any, label_smoothing: float, n_threads: int) -> tuple[Any, Any]:
    """The losses, and what `_losses_backward` needs: the arguments themselves."""
    given, (of_x, of_w, _, of_b) = _given((x, w, targets, b))
    return _losses(*given, label_smoothing, n_threads), (given, _Wanted((of_x, of_w, of_b, False)))


def _losses_backward(label_smoothing: float, n_threads: int, kept: Any, factors: Any) -> Any:
    (x, w, targets, b), wanted = kept
    if isinstance(factors, SymbolicZero):
        return (None,) * 4
    _, *parts = _run(x, w, targets, b, factors, wanted.which, label_smoothing, n_threads)
    dx, dw, db, _ = (part if want else None for part, want in zip(parts, wanted.which, strict=True))
    return dx, dw, None, db


_total.defvjp(_total_forward, _total_backward, symbolic_zeros=True)
_losses.defvjp(_losses_forward, _losses_backward, symbolic_zeros=True)


@jax.tree_util.register_static
class _Wanted:
    """Which gradients a backward pass is to compute: known when it is traced, no array."""

    def __init__(self, which: tuple[bool, ...]) -> None:
        self.which = which

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wanted) and self.which == other.which

    def __hash__(self) -> int:
        return hash(self.which)


# ------------------------------------------------------------------------------------------- the call


def _run(
    x: Any, w: Any, targets: Any, b: Any, factors: Any, wanted: tuple[bool, ...], label_smoothing: float, n_threads: int
) -> Any:
    """(total, dx, dw, db, row_loss), those that are not wanted without elements."""
    none = jnp.zeros(0, x.dtype)
    soft = jnp.issubdtype(targets.dtype, jnp.floating)
    labels = jnp.zeros(0, jnp.int32) if soft else targets
    operands = x, w, labels, targets if soft else none, none if b is None else b, factors
    return _once(wanted, label_smoothing, n_threads, *operands)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _once(wanted: tuple[bool, ...], label_smoothing: float, n_threads: int, *operands: Any) -> Any:
    """What has a gradient of its own nowhere, and so can be differentiated once only."""
    x, w = operands[:2]
    (m, n), k = x.shape, w.shape[1]
    shapes = [(m, n), (n, k), (k,), (m,)]
    results = [
        jax.ShapeDtypeStruct(shape if want else (0,), x.dtype) for want, shape in zip(wanted, shapes, strict=True)
    ]
    results = [jax.ShapeDtypeStruct((), x.dtype), *results]
    if build.way().library is None:
        function = functools.partial(_called_back, wanted, label_smoothing, n_threads)
        return jax.pure_callback(function, results, *operands, vmap_method="sequential")
    target = build.TARGETS[str(x.dtype)]
    function = jax.ffi.ffi_call(target, results, vmap_method="sequential")
    return function(*operands, label_smoothing=np.float64(label_smoothing), n_threads=np.int32(n_threads))


@_once.defjvp
def _refuse(*_: Any) -> Any:
    raise NotImplementedError(
        "fastsoftmax.jax.linear_cross_entropy has first derivatives in reverse mode only; for a Hessian product use "
        "fastsoftmax.Objective.hess_prod, for other derivatives a loss of jax.nn.log_softmax"
    )


def _called_back(wanted: tuple[bool, ...], label_smoothing: float, n_threads: int, *operands: Any) -> Any:
    """What `ffi.cpp` does, in Python."""
    x, w, labels, soft, b, factors = map(np.asarray, operands)
    (m, n), k = x.shape, w.shape[1]
    dx, dw, db, row_loss = (
        np.empty(shape if want else 0, x.dtype)
        for want, shape in zip(wanted, [(m, n), (n, k), (k,), (m,)], strict=True)
    )
    targets, bias = labels if labels.size else soft, b if b.size else None
    outputs = [out if out.size else None for out in (dw, db, dx, row_loss)]
    weights = factors.astype(np.float64)
    total = call.batch_loss(x, targets, weights, w, bias, label_smoothing, n_threads, *outputs)
    return x.dtype.type(total), dx, dw, db, row_loss
