"""What solvers need of an objective: the page to read before writing one for data that live elsewhere.

`Objective` is for rows in memory. Any other class that provides the same methods can be minimized as well, and needs
only as much as the solvers that it is to be used with:

=====================  =============================================================================================
`Problem`              lbfgs and gradient_descent, with the metric of the Gram matrix; so "auto" and l1
`ProblemWithProducts`  newton_cg
`ProblemWithRows`      newton; the metric that follows the curvature; the last steps and their proof; tests for
                       separable classes, classes without rows, and nearly parallel columns
`ProblemInOrder`       sgd
`ProblemWithCheapPasses`  first steps of lbfgs by passes of less precision
=====================  =============================================================================================

Every sweep is one method, which counts itself in ``n_passes``, and returns what one walk over all rows can add up or
compare: numbers whose size does not go with the number of rows. So several workers can each sweep their own rows, as
the parts of a `total.Total` do. `ProblemInOrder.fold` is the exception: it goes from one to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeGuard, TypeVar

import numpy as np

from ..kernels.contract import Rows

# Sums over rows that weigh by their curvature: second and first moments, and the total of the weights.
CurvatureSums = tuple[np.ndarray, np.ndarray, float]


# What `ProblemWithRows.sum_columns` adds up. Its arguments are some rows' columns in float64, dense or as a csr_array,
# the weights of the rows, and the number of the first one.
ColumnSums = Callable[[Any, np.ndarray, int], tuple[np.ndarray, ...]]


State = TypeVar("State")


class Problem(Protocol):
    """The least that can be minimized.

    Attributes
    ----------
    shape : tuple of int
        Shape of theta, (n, k), or (n + 1, k) with the bias last.
    n_passes : int
        Passes over X so far.
    l2 : float
        Strength of the penalty; a path assigns it.
    fit_intercept : bool
        Whether theta has a row for the bias.
    """

    shape: tuple[int, int]
    n_passes: int
    l2: float
    fit_intercept: bool

    def value_and_grad(self, theta: np.ndarray, /) -> tuple[float, np.ndarray]:
        """Value and gradient at theta, with the l2 penalty."""

    def gram(self) -> np.ndarray:
        """X^T W X / sum(w), with an intercept as if X had a column of ones at its end."""


class ProblemWithProducts(Problem, Protocol):
    """A problem that multiplies its Hessian."""

    def hess_prod(self, theta: np.ndarray, v: np.ndarray, /) -> np.ndarray:
        """The Hessian at theta times v."""


class DesignMatrix(Protocol):
    """The rows in the coordinates phi of a metric, X_phi phi = X theta: what exact Hessians sweep over.

    Attributes
    ----------
    longest : float
        The largest norm of a row of positive weight, without the columns that the metric leaves out; complete once any
        sweep has been made.
    """

    longest: float

    def pair_grams(self, phi: np.ndarray) -> np.ndarray:
        """X_phi^T diag(w z_c z_d) X_phi / sum(w) for all pairs of classes c < d, in the order of `numpy.triu_indices`:
        (pairs, rows of phi, rows of phi), of which upper triangles count. Columns that are left out are 0."""

    def range(self, phi: np.ndarray) -> float:
        """The largest range over the classes, maximum minus minimum, of the logits that phi gives a row of positive
        weight."""

    def gram(self, factor: float) -> np.ndarray:
        """factor X_phi^T diag(w) X_phi / sum(w)."""


class ProblemWithRows(ProblemWithProducts, Protocol):
    """A problem that makes sweeps over its rows: see `sweeps` for how `Objective` makes them.

    Attributes
    ----------
    n_rows, n_features, n_classes : int
    nnz : int
        Numbers of X that are stored: the entries of sparse X.
    dtype : dtype
        That of the computation: float32 or float64.
    sparse : bool
        Whether X is sparse. Then there is no `design_matrix`, and `curvature_gram` gives diagonals alone.
    weight_sum : float
    has_labels : bool
        Whether each row has one class: labels, neither soft targets nor smoothed.
    """

    @property
    def n_rows(self) -> int: ...
    @property
    def n_features(self) -> int: ...
    @property
    def n_classes(self) -> int: ...
    @property
    def nnz(self) -> int: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def sparse(self) -> bool: ...
    @property
    def weight_sum(self) -> float: ...
    @property
    def has_labels(self) -> bool: ...

    def least_weight(self) -> float:
        """The smallest positive weight of a row."""

    def present_classes(self) -> np.ndarray:
        """Whether each class has a row of positive weight, or a share of one: bool (k,)."""

    def has_distributions(self) -> bool:
        """Whether each row's targets sum to 1, up to rounding."""

    def gram_diagonal(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted means of x_j^2 and of x_j over the rows."""

    def curvature_gram(self, theta: np.ndarray, *, diagonal: bool) -> CurvatureSums:
        """Sums over the rows of u x x^T (or of its diagonal), u x and u, where u is w / sum(w) times the row's mean
        curvature at theta, sum_c z_c (1 - z_c) / (k - 1)."""

    def margins(self, direction: np.ndarray) -> tuple[float, float]:
        """The most that a margin of a row gains, and the most that one loses, along a direction v of theta: margins are
        x_i^T (v_{y_i} - v_c), for rows of positive weight and all classes c. Needs labels."""

    def design_matrix(self, coordinates: Callable[[np.ndarray], np.ndarray], left_out: np.ndarray) -> DesignMatrix:
        """The rows in other coordinates: ``coordinates`` turns dense rows of X into float64 rows of X_phi, and
        ``left_out`` are the numbers of the columns of X_phi that Hessians are to leave out."""

    def sum_columns(self, function: ColumnSums, numbers: np.ndarray, most: int | None = None) -> tuple[np.ndarray, ...]:
        """The sums over all rows of what ``function`` makes of some columns, at most so many rows at a time. Where rows
        are on other machines the function goes to them, and so must be one that pickles. Counts as no pass."""


class RowsInOrder(ProblemWithRows, Protocol):
    """An objective whose rows are here, or that part of one: what `ProblemInOrder.fold` hands out."""

    def walk(self) -> Iterator[Rows]:
        """All rows in order, a chunk at a time, as one pass."""

    def gradient_on(self, rows: Rows, theta: np.ndarray) -> np.ndarray:
        """The gradient at theta of the problem that some of the rows make, in new memory. It is part of a walk, and
        counts as no pass of its own."""


class ProblemInOrder(ProblemWithRows, Protocol):
    """A problem whose rows can be walked in order, wherever they are."""

    def fold(self, function: Callable[[RowsInOrder, State], State], state: State) -> State:
        """What ``function`` makes of a state and the rows; where these are in several places, of each in turn, from the
        state that the one before has returned. Both pickle. It is for functions that walk the rows once: one pass."""


class ProblemWithCheapPasses(Problem, Protocol):
    """A problem with passes that are less precise and faster, for the first steps of a run.

    Attributes
    ----------
    has_cheap_passes : bool
        Whether they are faster here.
    """

    @property
    def has_cheap_passes(self) -> bool: ...

    def cheap_value_and_grad(self, theta: np.ndarray, /) -> tuple[float, np.ndarray]:
        """About what `value_and_grad` returns. How far off it is, the solvers measure."""


class RoughProblem(ProblemWithCheapPasses, Protocol):
    """A problem whose ``value_and_grad`` itself is cheap, ``precision`` being other than "exact"."""

    def exact_value_and_grad(self, theta: np.ndarray, /) -> tuple[float, np.ndarray]:
        """Value and gradient at theta."""


def has_cheap_passes(obj: Problem) -> TypeGuard[ProblemWithCheapPasses]:
    """Whether a problem has passes that are cheaper than those of `value_and_grad`."""
    # An objective whose passes are wrapped may compute something else.
    return bool(getattr(obj, "has_cheap_passes", False)) and "value_and_grad" not in vars(obj)


def is_rough(obj: Problem) -> TypeGuard[RoughProblem]:
    """Whether a problem is to be minimized only as far as its cheap passes go."""
    return str(getattr(obj, "precision", "exact")) != "exact"


def has_rows(obj: Problem) -> TypeGuard[ProblemWithRows]:
    """Whether a problem makes sweeps over its rows."""
    return hasattr(obj, "curvature_gram")


def has_order(obj: Problem) -> TypeGuard[ProblemInOrder]:
    """Whether the rows of a problem can be walked in order."""
    return hasattr(obj, "fold")


def is_here(obj: Problem) -> TypeGuard[RowsInOrder]:
    """Whether the rows of a problem can be walked in order by this process."""
    return hasattr(obj, "walk")


def has_products(obj: Problem) -> TypeGuard[ProblemWithProducts]:
    """Whether a problem multiplies its Hessian."""
    return hasattr(obj, "hess_prod")


def is_sparse(obj: Problem) -> bool:
    """Whether a problem's X is sparse."""
    return bool(getattr(obj, "sparse", False))


def has_hessian(obj: Problem) -> TypeGuard[ProblemWithRows]:
    """Whether a problem has exact Hessians: not with sparse X, since their Gram matrices are dense."""
    return has_rows(obj) and not is_sparse(obj)
