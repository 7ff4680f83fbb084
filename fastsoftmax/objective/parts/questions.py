"""What is asked of each part: a function for each sweep, from a part and arguments to an `Answer`.

Parameters come in the dtype of the computation, which halves what has to be sent of them for float32 X, and gradients
are made in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import ColumnSums
from .answer import Answer, SomeRows
from .part import Part


def value_and_grad(part: Part, theta: np.ndarray) -> Answer:
    value, grad = part.value_and_grad(theta.astype(np.float64))
    return Answer((value, _narrow(part, grad)))


def value(part: Part, theta: np.ndarray) -> Answer:
    return Answer((part.value(theta),))


def hess_prod(part: Part, theta: np.ndarray, v: np.ndarray) -> Answer:
    return Answer((_narrow(part, part.hess_prod(theta, v.astype(np.float64))),))


def gram(part: Part) -> Answer:
    return Answer((part.gram(),))


def gram_diagonal(part: Part) -> Answer:
    return Answer(part.gram_diagonal())


def curvature_gram(part: Part, theta: np.ndarray, diagonal: bool) -> Answer:
    return Answer(part.curvature_gram(theta, diagonal=diagonal))


def margins(part: Part, direction: np.ndarray) -> Answer:
    return Answer(largest=part.margins(direction))


def targets(part: Part) -> Answer:
    """Minus the least weight, in units of all parts; which classes are present; whether any row's targets are none."""
    unit = part.share.unit
    least = part.least_weight() * unit if unit else np.inf
    return Answer(largest=(-least, part.present_classes(), not part.has_distributions()))


def sum_columns(part: Part, function: ColumnSums, numbers: np.ndarray, most: int | None) -> Answer:
    first = part.share.first_row
    return Answer(part.sum_columns(lambda X, w, start: function(X, w, first + start), numbers, most))


# A design is the token by which a part knows it again, and the arguments of `design_matrix`.


def pair_grams(part: Part, design: tuple[Any, ...], phi: np.ndarray) -> Answer:
    rows = part.design(*design)
    grams = rows.pair_grams(phi)
    return Answer((grams,), (rows.longest,))


def design_range(part: Part, design: tuple[Any, ...], phi: np.ndarray) -> Answer:
    rows = part.design(*design)
    found = rows.range(phi)
    return Answer(largest=(found, rows.longest))


def design_gram(part: Part, design: tuple[Any, ...], factor: float) -> Answer:
    rows = part.design(*design)
    gram = rows.gram(factor)
    return Answer((gram,), (rows.longest,))


def _narrow(part: Part, grad: np.ndarray) -> Any:
    """A gradient, without the rows that are 0 because sparse X has no entries in their columns, where that is less."""
    return SomeRows.of(grad, part.used_rows) if part.sparse else grad
