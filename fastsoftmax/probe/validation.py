r"""What a sweep measures on rows that are held out, and what it can prove about a fit that has not ended.

*The bound.* Let F be the objective of the fit, with a penalty l2 on W, theta = (W, b). It is l2-strongly convex in W,
so that a fit whose value is within ``gap`` of the minimum has

.. math:: \| W - W^* \| \le r = \sqrt{2\,\mathrm{gap} / l_2}

For any distributions alpha_i over the classes, softmax duality bounds the mean loss on the held-out rows from below,

.. math:: L(W', b') \ge \frac1m \sum_i \operatorname{Ent}(\alpha_i) + \langle A, W' \rangle
          + \Big\langle \frac1m \sum_i (\alpha_i - e_{y_i}), b' \Big\rangle, \qquad A = \frac1m X^T (\alpha - I)

With alpha = Z at the current point this is the tangent of L. The bias has no penalty, and b* may lie anywhere: its
factor must vanish, so that alpha must have the classes' shares p. As in `solvers.certificates.duality_gap`, mixing each
row with one distribution, alpha_i = (1 - t) z_i + t q, brings it there. Then for all W' within r of W

.. math:: L(W', b') \ge (1 - t) \overline{\operatorname{Ent}}(z) + t \operatorname{Ent}(q) + \langle A, W \rangle
          - r \|A\|

and so for the minimum that the fit is on its way to. It takes one pass over the held-out rows. Where the bound is above
the loss of a fit that has ended, this one cannot become the best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.bfloat16 import as_numbers
from ..kernels.contract import Csr
from ..objective.derived import taken
from ..objective.objective import Objective

# The metrics, and whether more is better.
METRICS = {"log_loss": False, "top1": True, "top5": True, "mean_per_class": True}
# Values are certain to so many roundings of the dtype of passes, relative to their size.
ROUNDINGS = 16.0


@dataclass(frozen=True)
class Measure:
    """A metric on held-out rows, and its standard error over them."""

    value: float
    error: float


@dataclass(frozen=True, eq=False)
class RowScores:
    """Of each held-out row: its loss, its label, the number of classes with a larger logit than the label's."""

    loss: np.ndarray
    label: np.ndarray
    rank: np.ndarray


def row_scores(held: Objective, theta: np.ndarray) -> RowScores:
    """The scores of all rows of an objective; one pass, and with more than five classes another product."""
    y = held.y
    assert y is not None
    found = held.evaluate(theta, grad=False, row_loss=True, label=True)
    assert found.row_loss is not None and found.label is not None
    wrong = found.label != y
    rank = wrong.astype(np.int64)
    if held.n_classes > 5:
        rank[wrong] = _ranks(held, theta, wrong)
    return RowScores(found.row_loss.astype(np.float64), y, rank)


def _ranks(held: Objective, theta: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Of some rows, the number of classes whose logit is above that of the label; at least 1 where only rounding says
    0."""
    n, out = held.n_features, []
    weights = theta[:n].astype(held.dtype)
    bias = theta[n].astype(held.dtype) if held.fit_intercept else 0.0
    for rows in held.walk():
        assert rows.y is not None
        these = np.flatnonzero(chosen[rows.start : rows.start + len(rows.X)])
        some = taken(rows.X, these)
        X: Any = some.to_scipy() if isinstance(some, Csr) else as_numbers(some).astype(held.dtype, copy=False)
        H = X @ weights + bias
        own = np.take_along_axis(H, rows.y[these, None].astype(np.int64), axis=1)
        out.append(np.maximum((H > own).sum(axis=1), 1))
    return np.concatenate(out)


def measures(scores: Sequence[RowScores]) -> dict[str, Measure]:
    """The `METRICS` of the rows of all parts together."""
    loss, label, rank = (np.concatenate([getattr(s, name) for s in scores]) for name in ("loss", "label", "rank"))
    found = {"log_loss": _mean(loss), "top1": _mean(rank == 0), "top5": _mean(rank < 5)}
    counts = np.bincount(label)
    present = counts > 0
    share = np.bincount(label, weights=rank == 0)[present] / counts[present]
    variance = share * (1.0 - share) / counts[present]
    error = math.sqrt(float(variance.sum())) / len(share)
    return found | {"mean_per_class": Measure(float(share.mean()), error)}


def _mean(values: np.ndarray) -> Measure:
    m = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(m) if m > 1 else math.inf
    return Measure(float(np.mean(values)), error)


class LossBound:
    """Lower bounds on the mean loss of held-out rows at the minimum that a fit is on its way to: this file's head.

    Parameters
    ----------
    held : Objective
        Without a penalty. A pass over it for the gradient at zero, and with an intercept one for the means.
    """

    def __init__(self, held: Objective) -> None:
        self._held, n, k = held, held.n_features, held.n_classes
        at_zero = held.value_and_grad(np.zeros(held.shape))[1]
        self._mean = held.gram_diagonal()[1] if held.fit_intercept else np.zeros(n)
        self._shares = 1.0 / k - at_zero[n] if held.fit_intercept else np.full(k, 1.0 / k)
        self._origin = self._centered(at_zero)

    def __call__(self, theta: np.ndarray, radius: float) -> float:
        """A number that the mean loss is not below at any (W', b') with W' within ``radius`` of theta's W."""
        held, n = self._held, self._held.n_features
        value, grad = held.value_and_grad(theta)
        slack = ROUNDINGS * float(np.finfo(held.dtype).eps) * max(1.0, value)
        entropy = value - float(np.vdot(theta, grad))
        A, t = self._centered(grad), 0.0
        if held.fit_intercept:
            t, of_mix = self._mix(grad[n])
            entropy = (1.0 - t) * entropy + t * of_mix
            A = (1.0 - t) * A + t * self._origin
        return entropy + float(np.vdot(A, theta[:n])) - radius * float(np.linalg.norm(A)) - slack

    def _centered(self, grad: np.ndarray) -> np.ndarray:
        """The gradient for W of centered columns: the bias takes up their means."""
        n = self._held.n_features
        centered: np.ndarray = grad[:n] - np.outer(self._mean, grad[n]) if len(grad) > n else grad
        return centered

    def _mix(self, slope: np.ndarray) -> tuple[float, float]:
        """t, and the entropy of q; ``slope`` is the gradient for the bias."""
        p, given = self._shares, self._shares + slope
        positive = given > 0
        t = float(np.clip(np.max(slope[positive] / given[positive], initial=0.0), 0.0, 1.0))
        if t == 0.0:
            return 0.0, 0.0
        q = np.maximum(p - (1.0 - t) * given, 0.0) / t
        return t, -float(np.sum(q * np.log(q, out=np.zeros_like(q), where=q > 0)))
