"""What is asked of each part: a function for each sweep, from a part and arguments to an `Answer`.

Parameters come in the dtype of the computation, which halves what has to be sent of them for float32 X, and gradients
are made in float64.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ..problem import ColumnSums, RowsInOrder, State
from .answer import Answer, SomeRows
from .part import Answering


def value_and_grad(part: Answering, theta: np.ndarray) -> Answer:
    value, grad = part.value_and_grad(theta.astype(np.float64))
    return Answer((value, _narrow(part, grad)))


def value(part: Answering, theta: np.ndarray) -> Answer:
    return Answer((part.value(theta),))


def hess_prod(part: Answering, theta: np.ndarray, v: np.ndarray) -> Answer:
    return Answer((_narrow(part, part.hess_prod(theta, v.astype(np.float64))),))


def gram(part: Answering) -> Answer:
    return Answer((part.gram(),))


def gram_diagonal(part: Answering) -> Answer:
    return Answer(part.gram_diagonal())


def curvature_gram(part: Answering, theta: np.ndarray, diagonal: bool) -> Answer:
    return Answer(part.curvature_gram(theta, diagonal=diagonal))


def margins(part: Answering, direction: np.ndarray) -> Answer:
    return Answer(largest=part.margins(direction))


def targets(part: Answering) -> Answer:
    """Minus the least weight, in units of all parts; which classes are present; whether any row's targets are none."""
    unit = part.share.unit
    least = part.least_weight() * unit if unit else np.inf
    return Answer(largest=(-least, part.present_classes(), not part.has_distributions()))


def sum_columns(part: Answering, function: ColumnSums, numbers: np.ndarray, most: int | None) -> Answer:
    first = part.share.first_row
    return Answer(part.sum_columns(lambda X, w, start: function(X, w, first + start), numbers, most))


def nearest(part: Answering, numbers: np.ndarray, values: np.ndarray) -> Answer:
    """Of some columns, the largest number that is at most the given one, and minus the least that is at least that."""
    below, above = np.full(len(numbers), -np.inf), np.full(len(numbers), -np.inf)
    for X, w, _ in part.columns(numbers):
        counted = (X.toarray() if part.sparse else X)[w > 0]
        below = np.maximum(below, np.max(counted, axis=0, where=counted <= values, initial=-np.inf))
        above = np.maximum(above, np.max(-counted, axis=0, where=counted >= values, initial=-np.inf))
    return Answer(largest=(below, above))


def fold(part: Answering, function: Callable[[RowsInOrder, State], State], l2: float, state: State) -> State:
    """A state after the rows of this part: not an `Answer`, since the next part begins with it. The penalty is that of
    the whole, as a walk's gradients are those of all rows."""
    part.l2 = l2
    try:
        return function(part, copy.deepcopy(state))
    finally:
        part.l2 = 0.0


# A design is the token by which a part knows it again, and the arguments of `design_matrix`.


def pair_grams(part: Answering, design: tuple[Any, ...], phi: np.ndarray) -> Answer:
    rows = part.design(*design)
    grams = rows.pair_grams(phi)
    return Answer((grams,), (rows.longest,))


def design_range(part: Answering, design: tuple[Any, ...], phi: np.ndarray) -> Answer:
    rows = part.design(*design)
    found = rows.range(phi)
    return Answer(largest=(found, rows.longest))


def design_gram(part: Answering, design: tuple[Any, ...], factor: float) -> Answer:
    rows = part.design(*design)
    gram = rows.gram(factor)
    return Answer((gram,), (rows.longest,))


def _narrow(part: Answering, grad: np.ndarray) -> Any:
    """A gradient, without the rows that are 0 because sparse X has no entries in their columns, where that is less."""
    return SomeRows.of(grad, part.used_rows) if part.sparse else grad
