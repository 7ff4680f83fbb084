"""`Total`, the sum of parts as one objective, which every solver takes."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ...data import validation
from ...kernels.backends import select
from .. import reduce
from ..problem import ColumnSums, CurvatureSums, RowsInOrder, State
from . import questions
from .answer import Answer, SomeRows
from .part import Whole


class Parts(Protocol):
    """Parts, wherever they are.

    Attributes
    ----------
    whole : Whole
    """

    whole: Whole

    def ask(self, question: Callable[..., Answer], *arguments: Any) -> Answer:
        """The sum, by the tree of `answer`, of what `part.ask` returns for each part."""

    def fold(self, question: Callable[..., Any], *arguments: Any, state: Any) -> Any:
        """What ``question(part, *arguments, state)`` returns for the last part, where each gets as its state what the
        part before has returned. States must not be written to: a part may be asked again."""


class Total:
    r"""Softmax regression on the rows of all parts, as a function of theta: `Objective`, for rows that are elsewhere.

    Parameters
    ----------
    parts : Parts
    l2 : float
        Strength of the penalty on theta without the bias.

    Attributes
    ----------
    shape : tuple of int
        Shape of theta, (n, k) or (n + 1, k).
    n_passes : int
        Passes over all rows so far.
    l2, fit_intercept, n_rows, n_features, n_classes, nnz, dtype, sparse, weight_sum, has_labels
        As of `problem.ProblemWithRows`.
    """

    def __init__(self, parts: Parts, *, l2: float = 0.0) -> None:
        whole, first = parts.whole, parts.whole.facts[0]
        self.parts, self.l2 = parts, validation.check_real(l2, "l2")
        self.backend = select(whole.backend)[0]
        self.fit_intercept, self.n_classes, self.weight_sum = whole.fit_intercept, whole.n_classes, whole.weight_sum
        self.n_rows, self.nnz = whole.n_rows, sum(each.nnz for each in whole.facts)
        self.n_features, self.dtype, self.sparse = first.n_features, np.dtype(first.dtype), first.sparse
        self.has_labels = first.has_labels and not whole.label_smoothing
        self.shape = (self.n_features + self.fit_intercept, self.n_classes)
        self.n_passes = 0

    def value_and_grad(self, theta: ArrayLike) -> tuple[float, np.ndarray]:
        """Value and gradient, shaped and typed like theta: (n [+1], k) or flat.

        Raises
        ------
        ValueError
            If X or theta holds NaN or infinity; the part, and the row in it, are named.
        FloatingPointError
            If the logits of finite X and theta, or the results, overflow.
        """
        checked = self._check(theta)
        value, grad = self._sweep(questions.value_and_grad, self._sent(checked)).added
        return float(value) + self._penalty(checked), self._like(grad, checked, theta)

    def value(self, theta: ArrayLike) -> float:
        """The value alone, for half the work of `value_and_grad`."""
        checked = self._check(theta)
        return float(self._sweep(questions.value, self._sent(checked)).added[0]) + self._penalty(checked)

    def hess_prod(self, theta: ArrayLike, v: ArrayLike) -> np.ndarray:
        """The Hessian at theta times v, shaped and typed like v."""
        checked, along = self._check(theta), self._check(v, "v")
        (product,) = self._sweep(questions.hess_prod, self._sent(checked), self._sent(along)).added
        return self._like(product, along, v)

    def gram(self) -> np.ndarray:
        """X^T diag(w) X / sum(w) in float64; with an intercept X has a column of ones, which is last. Dense X only."""
        out: np.ndarray = self._sweep(questions.gram).added[0]
        if self.fit_intercept:
            out[-1, -1] = 1.0  # as of each part
        return out

    def gram_diagonal(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted means of x_j^2 and of x_j over the rows, each float64 (n,)."""
        second, mean = self._sweep(questions.gram_diagonal).added
        return second, mean

    def curvature_gram(self, theta: np.ndarray, *, diagonal: bool) -> CurvatureSums:
        """As `problem.ProblemWithRows.curvature_gram`."""
        second, first, total = self._sweep(questions.curvature_gram, self._sent(self._check(theta)), diagonal).added
        return second, first, float(total)

    def margins(self, direction: np.ndarray) -> tuple[float, float]:
        """As `problem.ProblemWithRows.margins`."""
        gained, lost = self._sweep(questions.margins, direction).largest
        return float(gained), float(lost)

    def sum_columns(self, function: ColumnSums, numbers: np.ndarray, most: int | None = None) -> tuple[np.ndarray, ...]:
        """As `problem.ProblemWithRows.sum_columns`."""
        return self.parts.ask(questions.sum_columns, function, numbers, most).added

    def nearest(self, numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Of each of some columns the number, in a row of positive weight, that is nearest to a given one."""
        below, above = self.parts.ask(questions.nearest, numbers, values).largest
        found: np.ndarray = np.where(values - below <= -above - values, below, -above)
        return found

    def design_matrix(self, coordinates: Callable[[np.ndarray], np.ndarray], left_out: np.ndarray) -> TotalDesign:
        """As `problem.ProblemWithRows.design_matrix`."""
        return TotalDesign(self, coordinates, left_out)

    def fold(self, function: Callable[[RowsInOrder, State], State], state: State) -> State:
        """As `problem.ProblemInOrder.fold`."""
        self.n_passes += 1
        out: State = self.parts.fold(questions.fold, function, self.l2, state=state)
        return out

    def least_weight(self) -> float:
        """The smallest positive weight of a row."""
        return -float(self._targets[0])

    def present_classes(self) -> np.ndarray:
        """Whether each class has a row of positive weight, or a share of one: bool (k,)."""
        present: np.ndarray = self._targets[1]
        return present

    def has_distributions(self) -> bool:
        """Whether each row's targets sum to 1, up to rounding."""
        return not self._targets[2]

    @cached_property
    def _targets(self) -> tuple[Any, ...]:
        return self.parts.ask(questions.targets).largest

    def _sweep(self, question: Callable[..., Answer], *arguments: Any) -> Answer:
        self.n_passes += 1
        return self.parts.ask(question, *arguments)

    def _check(self, theta: ArrayLike, name: str = "theta") -> np.ndarray:
        return validation.check_theta(theta, self.n_features, self.n_classes, self.fit_intercept, name)

    def _sent(self, theta: np.ndarray) -> np.ndarray:
        """Parameters in the dtype of the computation, to which parts would bring them anyway."""
        with np.errstate(over="ignore"):
            out = theta.astype(self.dtype)
        if not validation.all_finite(out):
            raise FloatingPointError(f"the loss overflows {self.dtype}: logits X theta must stay finite")
        return out

    def _penalty(self, theta: np.ndarray) -> float:
        penalty = 0.5 * self.l2 * reduce.squared_norm(theta[: self.n_features]) if self.l2 else 0.0
        if not math.isfinite(penalty):
            raise FloatingPointError(f"the penalty l2/2 ||theta||^2 overflows float64 (l2 = {self.l2})")
        return penalty

    def _like(self, total: Any, along: np.ndarray, given: ArrayLike) -> np.ndarray:
        """A gradient or product of all parts, with its penalty; shaped and typed like what it was asked for."""
        out: np.ndarray = total.dense if isinstance(total, SomeRows) else total
        if self.l2:
            reduce.add(out[: self.n_features], self.l2, along[: self.n_features])
        with np.errstate(over="ignore"):
            result = out.astype(along.dtype, copy=False)
        if not validation.all_finite(result):
            raise FloatingPointError(f"the gradient overflows {result.dtype}, the dtype it was asked for in")
        return result.reshape(np.shape(given))


class TotalDesign:
    """The design matrix of all parts, each of which keeps its own: see `problem.DesignMatrix`."""

    def __init__(self, obj: Total, coordinates: Callable[[np.ndarray], np.ndarray], left_out: np.ndarray) -> None:
        self._obj, self._design = obj, (uuid.uuid4().hex, coordinates, left_out)
        self.longest = 0.0

    def pair_grams(self, phi: np.ndarray) -> np.ndarray:
        answer = self._sweep(questions.pair_grams, phi)
        grams: np.ndarray = answer.added[0]
        return grams

    def range(self, phi: np.ndarray) -> float:
        return float(self._sweep(questions.design_range, phi).largest[0])

    def gram(self, factor: float) -> np.ndarray:
        gram: np.ndarray = self._sweep(questions.design_gram, factor).added[0]
        return gram

    def _sweep(self, question: Callable[..., Answer], argument: Any) -> Answer:
        answer = self._obj._sweep(question, self._design, argument)
        self.longest = max(self.longest, float(answer.largest[-1]))
        return answer
