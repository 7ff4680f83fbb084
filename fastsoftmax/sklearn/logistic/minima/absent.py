r"""Classes that no row of positive weight has, where there is an intercept: theirs would fall for ever.

The model is fitted to the other classes. The coefficients of an absent class are 0, as its penalty wants, and its
intercept is so low that it adds no more than `SHARE` to the loss: lower than what a solver leaves which ends at tol.

Two classes that are left are a softmax still, whose rows +W/2 and -W/2 are penalized by (1-p)/4 |W|^2 + p |W|_1, and
not two of scikit-learn's, with (1-p)/2 |W|^2 + p |W|_1. It is (1+p)/2 times the problem of two that has 2C/(1+p) and
2p/(1+p) in the places of C and p.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ....data.sources.source import present_classes
from ....objective.absent import renumbered
from ..call import Call
from ..objective import Data

# The loss that absent classes add, as a share of that of the others, and the least loss that is taken a share of.
SHARE, LEAST = 1e-7, 1e-9


def present_of(call: Call, rows: Data) -> np.ndarray:
    """Whether each class has a row of positive weight; all of them where that makes no difference."""
    if not rows.bias or call.has_callbacks:  # which would be told of models that lack classes
        return np.ones(rows.k, bool)
    return present_classes(rows.codes, rows.w, rows.k)


def of_present(call: Call, rows: Data, Cs: np.ndarray, present: np.ndarray) -> Call:
    """The call for the classes that are present, from zero."""
    k, p = int(present.sum()), call.l1_share
    if k == 2 and p:
        call = replace(call, penalty="elasticnet", l1_ratio=2.0 * p / (1.0 + p))
    return replace(
        call,
        y=renumbered(rows.codes, present),
        classes=np.arange(k),
        Cs=2.0 * Cs / (1.0 + p) if k == 2 else Cs,
        coef=None,
        class_weight=None,
        sample_weight=rows.w,
        pos_class=None,
    )


def with_absent(coefs: np.ndarray, rows: Data, present: np.ndarray) -> np.ndarray:
    """Coefficients of all classes as scikit-learn has them, (Cs, n + 1) or (Cs, k, n + 1), from those of the classes
    that are present: (Cs, n + 1) of two, else (Cs, classes, n + 1)."""
    if coefs.ndim == 2:
        coefs = np.stack([-0.5 * coefs, 0.5 * coefs], axis=1)
    out = np.zeros((len(coefs), len(present), coefs.shape[2]), coefs.dtype)
    out[:, present] = coefs
    for coef, of_all in zip(coefs, out, strict=True):
        of_all[~present, -1] = _low(coef, rows, present)
        of_all[:, -1] -= of_all[:, -1].mean()
    return out[:, 1] - out[:, 0] if rows.k == 2 else out


def _low(coef: np.ndarray, rows: Data, present: np.ndarray) -> float:
    """The intercept of an absent class."""
    H = rows.X @ coef[:, :-1].T + coef[:, -1]
    total = np.logaddexp.reduce(H, axis=1)
    own = np.take_along_axis(H, renumbered(rows.codes, present)[:, None], axis=1)[:, 0]
    loss = float(np.average(total - own, weights=rows.w))
    return float(total.min() + np.log(SHARE * max(loss, LEAST) / (~present).sum()))
