"""A linear layer and its cross entropy in PyTorch, forward and backward: its own ways, and `fastsoftmax.torch`."""

import shutil

import torch
from torch.nn import functional

from .. import MissingError


def eager(data, weight, labels):
    return functional.cross_entropy(functional.linear(data, weight), labels)


def fused(data, weight, labels):
    return functional.linear_cross_entropy(data, weight, labels)


def chunked(data, weight, labels):
    return functional.linear_cross_entropy(data, weight, labels, options=torch.nn.LinearCrossEntropyOptions())


def loss_of(way):
    """The loss that is differentiated, by the name of a way."""
    if way == "ours":
        from fastsoftmax.torch import linear_cross_entropy

        return linear_cross_entropy
    if way != "eager" and not hasattr(functional, "linear_cross_entropy"):
        raise MissingError(f"PyTorch {torch.__version__} has no linear_cross_entropy")
    if way == "compiled" and shutil.which("c++") is None:
        raise MissingError("torch.compile needs a C++ compiler")
    return torch.compile(eager) if way == "compiled" else {"eager": eager, "fused": fused, "chunked": chunked}[way]


def prepare(X, y, theta, n_threads, way, dx=False):
    torch.set_num_threads(n_threads)
    loss_function, labels = loss_of(way), torch.from_numpy(y)
    data = torch.from_numpy(X).requires_grad_(dx)
    weight = torch.from_numpy(theta.T.copy()).requires_grad_()  # (k, n), as torch.nn.Linear keeps it
    wanted = (weight, data) if dx else (weight,)

    def run():
        loss = loss_function(data, weight, labels)
        grad, *rest = torch.autograd.grad(loss, wanted)
        return loss.item(), grad.numpy().T, *(g.numpy() for g in rest)

    return run
