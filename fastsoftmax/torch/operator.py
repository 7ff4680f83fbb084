"""`fastsoftmax::linear_cross_entropy` and its backward pass as operators of PyTorch.

The forward operator returns the loss beside the gradients that are wanted, all from one pass, and autograd multiplies
these by the gradient that comes in. Losses by row cannot know it in advance: there the backward operator makes a second
pass, in which each row has its own factor. It also serves where gradients are asked for that the forward pass did not
know of, as within `torch.func.grad` of a `vmap`.

As operators of their own they are opaque to `torch.compile`, which needs to know the shapes of what they return only.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from . import arrays


def compute_forward(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
    wants_input: bool,
    wants_weight: bool,
    wants_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss in the dtype of the computation, and the gradients by input, linear_weight and linear_bias (else empty).

    ``input`` is (N, n), ``linear_weight`` (C, n), ``target`` (N,) or (N, C). No gradients with reduction "none".
    """
    wanted = (wants_input, wants_weight, wants_bias)
    by_row = reduction == "none"
    options = arrays.Options(ignore_index, label_smoothing, by_row, reduction == "mean", wanted)
    result = arrays.evaluate(input, linear_weight, target, linear_bias, weight, options)
    return (result.loss, *_filled(result.grads, (input, linear_weight, linear_bias)))


def compute_backward(
    factor: Tensor,
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
    wants_input: bool,
    wants_weight: bool,
    wants_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients times ``factor``, a scalar or, with reduction "none", a number for each row."""
    wanted = (wants_input, wants_weight, wants_bias)
    options = arrays.Options(ignore_index, label_smoothing, False, reduction == "mean", wanted)
    factors = factor.expand(len(input))
    result = arrays.evaluate(input, linear_weight, target, linear_bias, weight, options, factors)
    return _filled(result.grads, (input, linear_weight, linear_bias))


forward = torch.library.custom_op(
    "fastsoftmax::linear_cross_entropy", compute_forward, mutates_args=(), device_types="cpu"
)
backward = torch.library.custom_op(
    "fastsoftmax::linear_cross_entropy_backward", compute_backward, mutates_args=(), device_types="cpu"
)


# Autograd asks for the signature in every call; finding it anew takes 60 us.
vars(compute_forward)["__signature__"] = inspect.signature(compute_forward)
vars(compute_backward)["__signature__"] = inspect.signature(compute_backward)


def _filled(
    grads: tuple[Tensor | None, ...], given: tuple[Tensor, Tensor, Tensor | None]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients, and an empty tensor for each that there is not."""
    like = (given[0], given[1], given[0] if given[2] is None else given[2])
    filled = [other.new_empty(0) if grad is None else grad for grad, other in zip(grads, like, strict=True)]
    return filled[0], filled[1], filled[2]


# ------------------------------------------------------------------------------------ shapes alone


def _fake_gradients(
    input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None, wanted: tuple[bool, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    given = (input, linear_weight, linear_bias)
    empty = [
        torch.empty(t.shape, dtype=t.dtype, device=t.device) if is_wanted and t is not None else None
        for t, is_wanted in zip(given, wanted, strict=True)
    ]
    return _filled(tuple(empty), given)


@forward.register_fake
def _(input, linear_weight, target, linear_bias, weight, reduction, *rest):  # type: ignore[no-untyped-def]
    shape = input.shape[:1] if reduction == "none" else ()
    loss = torch.empty(shape, dtype=arrays.compute_dtype(input, linear_weight), device=input.device)
    return (loss, *_fake_gradients(input, linear_weight, linear_bias, rest[2:]))


@backward.register_fake
def _(factor, input, linear_weight, target, linear_bias, *rest):  # type: ignore[no-untyped-def]
    return _fake_gradients(input, linear_weight, linear_bias, rest[4:])


# -------------------------------------------------------------------------------------- autograd


def save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Keeps what `differentiate` needs."""
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])
    ctx.options, ctx.found = inputs[5:8], inputs[8:]
    grads = [grad if found else None for grad, found in zip(output[1:], ctx.found, strict=True)]
    ctx.save_for_backward(*inputs[:5], *grads)


def differentiate(ctx: Any, factor: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    """Gradients of the forward operator: those that it returned, times ``factor``, or those of a second pass."""
    needs, result = ctx.needs_input_grad, [None] * 11
    refuse_target_gradients(needs)
    if factor is None:
        return tuple(result)
    *tensors, dX, dW, db = ctx.saved_tensors
    grads: list[Tensor | None] = [dX, dW, db]
    wanted = [needs[0], needs[1], needs[3]]
    missing = [is_wanted and not found for is_wanted, found in zip(wanted, ctx.found, strict=True)]
    if any(missing):
        args = factor, *tensors, *ctx.options, *missing
        again = Backward.apply(*args) if _is_plain(args) else backward(*args)  # type: ignore[no-untyped-call]
        grads = [second if is_missing else None for second, is_missing in zip(again, missing, strict=True)]
        factor = None
    differentiable = torch.is_grad_enabled()
    for place, grad in zip((0, 1, 3), grads, strict=True):
        if grad is None or not needs[place]:
            continue
        if differentiable and factor is not None:
            grad = Once.apply(grad, factor, *tensors)
        elif factor is not None:
            grad = scaled(grad, factor)
        result[place] = grad  # type: ignore[call-overload]
    return tuple(result)


def scaled(grad: Tensor, factor: Tensor) -> Tensor:
    """The gradient times a scalar: in its own memory where nothing can ask for it again."""
    traced = type(grad) is not Tensor or grad.is_meta  # as by torch.compile, which does not know the numbers
    if traced or _is_kept():
        return grad * factor.to(grad.dtype)
    number = float(factor)
    return grad if number == 1.0 else grad.mul_(number)


def _is_kept() -> bool:
    """Whether this graph may be walked again (``retain_graph=True``)."""
    try:
        return bool(torch._C._autograd._get_current_graph_task_keep_graph())
    except (AttributeError, RuntimeError):  # not there in this version of PyTorch, or no graph is walked
        return True


def refuse_other_derivatives(*_: Any) -> Any:
    raise NotImplementedError(
        "fastsoftmax.torch.linear_cross_entropy has first derivatives only, in reverse mode; for a Hessian product use "
        "fastsoftmax.Objective.hess_prod, for second derivatives by autograd torch.nn.functional.linear_cross_entropy"
    )


def refuse_target_gradients(needs: tuple[bool, ...]) -> None:
    if needs[2] or needs[4]:
        name = "target" if needs[2] else "weight"
        raise NotImplementedError(
            f"fastsoftmax.torch.linear_cross_entropy has no gradient with respect to {name}: give {name}.detach(), or "
            "use torch.nn.functional.linear_cross_entropy"
        )


# ------------------------------------------------------------------------------------------ vmap


def one_by_one(call: Any, info: Any, in_dims: Any, args: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Calls for each member of a batch and stacks what comes back: a rule for `torch.vmap`."""
    members = [
        call(*[arg if dim is None else arg.select(dim, i) for arg, dim in zip(args, in_dims, strict=True)])
        for i in range(info.batch_size)
    ]
    stacked = tuple(torch.stack(parts) for parts in zip(*members, strict=True))
    return stacked, (0,) * len(stacked)


# ---------------------------------------------------------------------------- without the dispatcher
#
# An operator's way through the dispatcher takes longer than the kernels need for 512 rows of 784 features and 10
# classes, and does not serve `torch.func`. So plain tensors and `torch.func` go by functions of autograd, which
# call what the operators do; only a compiler sees the operators.


class Plain(torch.autograd.Function):
    """The forward operator, for autograd alone: without the binding of arguments, which takes others 25 us."""

    jvp = staticmethod(refuse_other_derivatives)
    backward = staticmethod(differentiate)

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        output = compute_forward(*args)
        save(ctx, args, output)
        return output


class Forward(torch.autograd.Function):
    """The forward operator, for autograd and `torch.func`."""

    jvp = staticmethod(refuse_other_derivatives)
    forward = staticmethod(compute_forward)
    setup_context = staticmethod(save)
    backward = staticmethod(differentiate)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        return one_by_one(Forward.apply, info, in_dims, args)


class Backward(torch.autograd.Function):
    """The backward operator; its derivatives are an error."""

    jvp = staticmethod(refuse_other_derivatives)
    forward = staticmethod(compute_backward)
    backward = staticmethod(refuse_other_derivatives)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        return one_by_one(Backward.apply, info, in_dims, args)


class Once(torch.autograd.Function):
    """A gradient times a scalar; its derivatives, which depend on the other tensors too, are an error."""

    jvp = staticmethod(refuse_other_derivatives)
    generate_vmap_rule = True
    backward = staticmethod(refuse_other_derivatives)

    @staticmethod
    def forward(grad: Tensor, factor: Tensor, *tensors: Tensor | None) -> Tensor:
        return grad * factor.to(grad.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass


def _is_plain(args: tuple[Any, ...]) -> bool:
    """Whether tensors are no others than PyTorch's own, with numbers that are known."""
    tensors = (arg for arg in args if isinstance(arg, Tensor))
    plain = all(type(arg) in (Tensor, torch.nn.Parameter) and not arg.is_meta for arg in tensors)
    return plain and not torch.compiler.is_compiling()


# Whether a transform of `torch.func` is at work; where this version of PyTorch does not tell, there may be one.
_is_transforming = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


def linear_cross_entropy(*args: Any) -> Tensor:
    """The loss; arguments are those of the forward operator."""
    if not _is_plain(args):
        loss: Tensor = forward(*args)[0]
        return loss
    function = Forward if _is_transforming() else Plain
    loss = function.apply(*args)[0]  # type: ignore[no-untyped-call]
    return loss


forward.register_autograd(differentiate, setup_context=save)
forward.register_vmap(lambda info, in_dims, *args: one_by_one(forward, info, in_dims, args))
backward.register_autograd(refuse_other_derivatives, setup_context=lambda ctx, inputs, output: None)
backward.register_vmap(lambda info, in_dims, *args: one_by_one(backward, info, in_dims, args))
