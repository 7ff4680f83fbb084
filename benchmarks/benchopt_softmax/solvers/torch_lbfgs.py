"""PyTorch's L-BFGS with its strong Wolfe line search on `cross_entropy`."""

from contextlib import suppress

import numpy as np
import torch
from benchopt import BaseSolver


class Solver(BaseSolver):
    name = "torch"
    requirements = ["pip::torch"]
    sampling_strategy = "callback"

    def set_objective(self, X, y, l2):
        self.X, self.y, self.l2 = torch.as_tensor(X), torch.as_tensor(y), l2
        self.shape = X.shape[1], int(y.max()) + 1

    def run(self, callback):
        self.weights = torch.zeros(self.shape, dtype=self.X.dtype, requires_grad=True)
        self.bias = torch.zeros(self.shape[1], dtype=self.X.dtype, requires_grad=True)
        options = {"max_iter": 100_000, "max_eval": 1_000_000, "tolerance_grad": 0.0, "tolerance_change": 0.0}
        parameters = [self.weights, self.bias]
        optimizer = torch.optim.LBFGS(parameters, history_size=10, line_search_fn="strong_wolfe", **options)

        def closure():
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.X @ self.weights + self.bias, self.y)
            loss = loss + 0.5 * self.l2 * (self.weights * self.weights).sum()
            loss.backward()
            if not callback():
                raise StopIteration
            return loss

        with suppress(StopIteration):
            optimizer.step(closure)

    def get_result(self):
        theta = torch.vstack([self.weights, self.bias]).detach().numpy()
        return {"theta": theta.astype(np.float64)}
