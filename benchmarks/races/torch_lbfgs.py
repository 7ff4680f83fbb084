"""PyTorch's L-BFGS with its strong Wolfe line search on `cross_entropy`, as linear probes use it."""

import torch

from ..peers import MissingError


def prepare(X, y, l2, n_threads):
    if hasattr(X, "indptr"):
        raise MissingError("takes dense X")
    torch.set_num_threads(n_threads)
    rows, labels = torch.as_tensor(X), torch.as_tensor(y)
    k = int(y.max()) + 1

    def solve(tell):
        theta = torch.zeros((X.shape[1], k), dtype=rows.dtype, requires_grad=True)
        bias = torch.zeros(k, dtype=rows.dtype, requires_grad=True)
        options = {"max_iter": 100_000, "max_eval": 1_000_000, "tolerance_grad": 0.0, "tolerance_change": 0.0}
        optimizer = torch.optim.LBFGS([theta, bias], history_size=10, line_search_fn="strong_wolfe", **options)

        def closure():
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(rows @ theta + bias, labels)
            loss = loss + 0.5 * l2 * (theta * theta).sum()
            loss.backward()
            tell(torch.vstack([theta, bias]).detach().numpy())
            return loss

        optimizer.step(closure)

    return solve
