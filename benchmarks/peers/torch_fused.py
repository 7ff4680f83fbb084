"""PyTorch's `linear_cross_entropy`, on its chunked path, which never holds the m x k logits.

Without options the function computes the eager formula, as torch_eager.py does. The chunked path computes the gradients
inside the forward pass.
"""

import torch

from . import MissingError


def prepare(X, y, theta, n_threads, dx=False):
    function = getattr(torch.nn.functional, "linear_cross_entropy", None)
    options = getattr(torch.nn, "LinearCrossEntropyOptions", None)
    if function is None or options is None:
        raise MissingError(f"PyTorch {torch.__version__} has no chunked linear_cross_entropy")
    torch.set_num_threads(n_threads)
    data = torch.from_numpy(X).requires_grad_(dx)
    labels = torch.from_numpy(y)
    weight = torch.from_numpy(theta.T.copy()).requires_grad_()  # (k, n), as torch.nn.Linear keeps it
    wanted = (weight, data) if dx else (weight,)

    def run():
        loss = function(data, weight, labels, options=options())
        grad, *rest = torch.autograd.grad(loss, wanted)
        return loss.item(), grad.numpy().T, *(g.numpy() for g in rest)

    return run
