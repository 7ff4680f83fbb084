"""Loss and gradient of several models in one pass over dense X; each may leave out a fold of the rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .... import reference
from ...contract import Parameters, PassPlan, Rows, Sums
from .dense import add_gradient, quiet, slabs_of, targets_of


@quiet
def value_and_grad(rows: Rows, params: Parameters, plan: PassPlan, sums: Sums) -> None:
    """Loss and gradient of each model, and where `Sums.held` is there its score on the rows that it leaves out."""
    k = params.theta.shape[1] // params.models
    assert rows.y is not None
    for p, a, b, X in slabs_of(rows, plan, params.theta.shape[1]):
        y = np.broadcast_to(rows.y, (params.models, len(rows.X)))
        own = None if rows.w is None else np.broadcast_to(rows.w, (params.models, len(rows.X)))
        H = reference.logits(X, params.theta, params.bias).reshape(b - a, params.models, k)
        D = np.empty_like(H)
        for model in range(params.models):
            H1, t = H[:, model], targets_of(replace(rows, y=y[model]), a, b, k)
            weights = np.ones(b - a) if own is None else own[model, a:b]
            w, exact = weights, H1.astype(np.float64, copy=False)
            if params.left_out is not None and rows.fold is not None and params.left_out[model] >= 0:
                left = rows.fold[a:b] == params.left_out[model]
                w = np.where(left, 0.0, weights)
                if sums.held is not None:
                    held = (weights - w) * sums.scale
                    right = np.argmax(H1, axis=1) == y[model, a:b]
                    sums.held[p, model] += reference.mean_loss_to_targets(exact, t, held), held @ right
            sums.loss[p, model] += reference.mean_loss_to_targets(exact, t, w * sums.scale)
            D[:, model] = (reference.softmax(H1) - t) * w[:, None]
        if sums.grad is not None:
            add_gradient(sums, p, X, D.reshape(b - a, -1))
