"""`linear_cross_entropy`: the loss of a linear layer, with its gradients computed in the forward pass.

Under ``grad`` the forward pass asks for the gradients of those arguments that are differentiated, and of no others; the
backward pass multiplies them by a number.
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

# Of the arguments of `_loss`, those that have a gradient, in its order.
DIFFERENTIABLE = 0, 1, 3, 4


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

    .. math:: \frac{1}{\sum_i s_i} \sum_i s_i (\log \sum_c e^{H_{ic}} - H_{i y_i}), \qquad H = x w + b

    It works under ``jit``, ``grad``, ``value_and_grad``, and ``vmap``, which runs one call after the other. Gradients
    with respect to x, w, b and sample_weight come from the same pass, and only those that are wanted; there are no
    second derivatives.

    Parameters
    ----------
    x : array (..., features)
        float32 or float64, on a CPU; other floating types are computed in float32.
    w : array (features, classes)
    labels : integer array (...)
        Classes 0..k-1, one for each row of x.
    b : array (classes,), optional
    sample_weight : array (...), optional
        s, nonnegative, not all zero.
    label_smoothing : float
        eps in [0, 1]: targets t become (1 - eps) t + eps / classes.
    reduction : {"mean", "sum"}
        "sum" leaves out the division by the sum of s.
    n_threads : int, optional
        Threads of the pass, all cores unless given.

    Returns
    -------
    scalar array of x's dtype

    Raises
    ------
    TypeError, ValueError
        For wrong types and shapes, when it is traced.
    jax.errors.JaxRuntimeError
        When it runs: for labels outside 0..k-1, NaN or infinity in x or w, or logits that overflow.

    Notes
    -----
    XLA calls the kernels by a library that is compiled when it is first needed, with the C++ compiler there is, and
    kept; without one Python is called back, which takes some 0.1 ms more and copies x. ``fastsoftmax info`` says which.
    """
    x, w, labels = jnp.asarray(x), jnp.asarray(w), jnp.asarray(labels)
    dtype = _dtype_of(x)
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[0]:
        raise ValueError(f"x has shape {x.shape} and w {w.shape}; (..., features) and (features, classes) are wanted")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels has dtype {labels.dtype}; integers are wanted")
    n, k = w.shape
    for name, array, shape in (("labels", labels, x.shape[:-1]), ("b", b, (k,)), ("sample_weight", sample_weight,
                                                                                  x.shape[:-1])):  # fmt: skip
        if array is not None and jnp.shape(array) != shape:
            raise ValueError(f"{name} has shape {jnp.shape(array)}; {shape} is wanted")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum'; got {reduction!r}")
    if n_threads is not None and n_threads < 1:
        raise ValueError(f"n_threads must be at least 1; got {n_threads}")
    rows = x.reshape(-1, n).astype(dtype)
    s = None if sample_weight is None else jnp.asarray(sample_weight, dtype).reshape(-1)
    loss = _loss(rows, w.astype(dtype), labels.reshape(-1).astype(jnp.int32), None if b is None else
                 jnp.asarray(b, dtype), s, float(label_smoothing), n_threads or 0)  # fmt: skip
    if reduction == "sum":
        loss = loss * (len(rows) if s is None else s.sum())
    return loss.astype(x.dtype)


def _dtype_of(x: Any) -> Any:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x has dtype {x.dtype}; a floating type is wanted")
    return jnp.float64 if x.dtype == jnp.float64 else jnp.float32


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _loss(x: Any, w: Any, labels: Any, b: Any, s: Any, label_smoothing: float, n_threads: int) -> Any:
    return _run(x, w, labels, b, s, (False,) * 4, label_smoothing, n_threads)[0]


def _forward(x: Any, w: Any, labels: Any, b: Any, s: Any, label_smoothing: float, n_threads: int) -> Any:
    """The loss, and what `_backward` multiplies; arguments come with whether they are differentiated."""
    given = x, w, labels, b, s
    wanted = tuple(given[i] is not None and given[i].perturbed for i in DIFFERENTIABLE)
    x, w, labels, b, s = (None if argument is None else argument.value for argument in given)
    loss, dx, dw, db, row_loss = _run(x, w, labels, b, s, wanted, label_smoothing, n_threads)
    # d/ds_i of sum_i s_i l_i / sum_i s_i
    ds = (row_loss - loss) / s.sum() if s is not None and wanted[3] else None
    return loss, [part if want else None for part, want in zip((dx, dw, db, ds), wanted, strict=True)]


def _backward(label_smoothing: float, n_threads: int, parts: Any, factor: Any) -> Any:
    if isinstance(factor, SymbolicZero):
        parts = [None] * 4
    dx, dw, db, ds = (None if part is None else factor * part for part in parts)
    return dx, dw, None, db, ds


_loss.defvjp(_forward, _backward, symbolic_zeros=True)


def _run(
    x: Any, w: Any, labels: Any, b: Any, s: Any, wanted: tuple[bool, ...], label_smoothing: float, n_threads: int
) -> Any:
    """(loss, dx, dw, db, row_loss), those that are not wanted without elements, as are b and s where they are None."""
    (m, n), k, none = x.shape, w.shape[1], jnp.zeros(0, x.dtype)
    shapes = [(m, n), (n, k), (k,), (m,)]
    results = [
        jax.ShapeDtypeStruct(shape if want else (0,), x.dtype) for want, shape in zip(wanted, shapes, strict=True)
    ]
    results = [jax.ShapeDtypeStruct((), x.dtype), *results]
    operands = x, w, labels, none if b is None else b, none if s is None else s
    if build.way().library is None:
        function = functools.partial(_called_back, wanted, label_smoothing, n_threads)
        return jax.pure_callback(function, results, *operands, vmap_method="sequential")
    target = build.TARGETS[str(x.dtype)]
    function = jax.ffi.ffi_call(target, results, vmap_method="sequential")
    return function(*operands, label_smoothing=np.float64(label_smoothing), n_threads=np.int32(n_threads))


def _called_back(wanted: tuple[bool, ...], label_smoothing: float, n_threads: int, *operands: Any) -> Any:
    """What `ffi.cpp` does, in Python."""
    x, w, labels, b, s = map(np.asarray, operands)
    (m, n), k = x.shape, w.shape[1]
    dx, dw, db, row_loss = (
        np.empty(shape if want else 0, x.dtype)
        for want, shape in zip(wanted, [(m, n), (n, k), (k,), (m,)], strict=True)
    )
    theta = call.joined(w, b) if b.size else w
    outputs = [out if out.size else None for out in (dw, db, dx, row_loss)]
    value = call.loss_and_grad(
        x, labels, s if s.size else None, theta, bool(b.size), 0.0, label_smoothing, n_threads, 0, *outputs
    )
    return x.dtype.type(value), dx, dw, db, row_loss
