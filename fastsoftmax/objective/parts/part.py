"""`Part`, an objective of some of the rows whose sums are shares of the means over all rows; and what parts must know.

Weights are scaled by a power of two in each part, as `validation.check_weights` does, and so is the sum of all weights
by which a part divides: the shares of parts are right whatever the units of their weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...data import validation
from ...data.arrays import as_array
from ...data.sources.memory import SparseSource
from ...kernels.contract import Csr
from ..derived import Shifted
from ..objective import Objective
from ..sweeps.design import ChunkedDesign

# Class numbers are below this.
MOST_CLASSES = (1 << 31) - 1


@dataclass(frozen=True)
class Facts:
    """What is known of the rows of one part before there is an objective.

    Attributes
    ----------
    n_rows, n_features, nnz : int
    dtype : str
        Of the computation.
    sparse, has_labels : bool
        ``has_labels``: whether y holds class numbers, not soft targets.
    n_classes : int
        1 + the largest label, or columns of soft targets.
    weight_sum, exponent
        The weights sum to ``weight_sum`` times 2 to this power; None where all are 0.
    """

    n_rows: int
    n_features: int
    nnz: int
    dtype: str
    sparse: bool
    has_labels: bool
    n_classes: int
    weight_sum: float
    exponent: int | None


def describe(X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Facts:
    """The facts of some rows, checked as `Objective` checks them."""
    array = validation.check_X(X)
    m, n = array.shape
    dtype = validation.compute_dtype(array.dtype)
    soft = as_array(y, "y").ndim == 2 if not hasattr(y, "columns") else len(y.columns) > 1
    targets, k = validation.check_targets(y, m, None if soft else MOST_CLASSES, dtype)
    weight_sum, exponent = _weights(sample_weight, m)
    return Facts(
        n_rows=m,
        n_features=n,
        nnz=int(array.indptr[-1]) if isinstance(array, Csr) else m * n,
        dtype=dtype.name,
        sparse=isinstance(array, Csr),
        has_labels=not soft,
        n_classes=k if soft else int(targets.max()) + 1,
        weight_sum=weight_sum,
        exponent=exponent,
    )


def _weights(sample_weight: ArrayLike | None, m: int) -> tuple[float, int | None]:
    if sample_weight is None:
        return float(m), 0
    if not np.any(sample_weight):
        return 0.0, None
    _, weight_sum = validation.check_weights(sample_weight, m)
    return weight_sum, math.frexp(float(np.max(sample_weight)))[1] - 1


@dataclass(frozen=True)
class Whole:
    """What all parts have in common.

    Attributes
    ----------
    facts : tuple of Facts
        Of each part.
    n_classes : int
    weight_sum, exponent
        Of all rows, as in `Facts`.
    fit_intercept, label_smoothing, backend, n_threads
        As `Objective` takes them.
    """

    facts: tuple[Facts, ...]
    n_classes: int
    weight_sum: float
    exponent: int
    fit_intercept: bool = False
    label_smoothing: float = 0.0
    backend: str = "auto"
    n_threads: int | None = None

    @classmethod
    def of(cls, facts: Sequence[Facts], n_classes: int | None = None, **options: Any) -> Whole:
        """The parts of these facts, with options as `Objective` takes them.

        Raises
        ------
        ValueError
            For parts that do not fit together, of one class only, or without a row of positive weight.
        """
        for name, what in _ALIKE.items():
            values = [getattr(each, name) for each in facts]
            other = next((i for i, value in enumerate(values) if value != values[0]), None)
            if other is not None:
                first, second = what.format(values[0]), what.format(values[other])
                raise ValueError(f"partition 0 has {first}, partition {other} has {second}; the same in all is wanted")
        found = max(each.n_classes for each in facts)
        if n_classes is None and found < 2:
            raise ValueError("y holds one class only (0); at least two classes are wanted")
        k = found if n_classes is None else validation.check_count(n_classes, "n_classes", at_least=2)
        if k < found or (k > found and not facts[0].has_labels):
            row = next(i for i, each in enumerate(facts) if each.n_classes != k)
            raise ValueError(f"partition {row}: y has {facts[row].n_classes} classes; n_classes is {k}")
        exponents = [each.exponent for each in facts if each.exponent is not None]
        if not exponents:
            raise ValueError("sample_weight is zero in every row; at least one positive weight is wanted")
        highest = max(exponents)
        sums = (math.ldexp(f.weight_sum, f.exponent - highest) for f in facts if f.exponent is not None)
        return cls(tuple(facts), k, float(sum(sums)), highest, **options)

    @property
    def n_rows(self) -> int:
        return sum(each.n_rows for each in self.facts)

    def share(self, number: int) -> Share:
        """What part ``number`` needs to know."""
        exponent = self.facts[number].exponent
        return Share(
            number=number,
            first_row=sum(each.n_rows for each in self.facts[:number]),
            n_classes=self.n_classes,
            unit=None if exponent is None else float(np.ldexp(1.0, exponent - self.exponent)),
            weight_sum=self.weight_sum,
            fit_intercept=self.fit_intercept,
            label_smoothing=self.label_smoothing,
            backend=self.backend,
            n_threads=self.n_threads,
        )


_ALIKE = {
    "n_features": "{} columns",
    "sparse": "sparse = {}",
    "dtype": "rows that are computed in {}",
    "has_labels": "labels = {}",
}


@dataclass(frozen=True)
class Share:
    """What a part has to know beside its rows.

    Attributes
    ----------
    number, first_row : int
        Which part it is, and the number of its first row among all rows.
    unit : float or None
        That of its weights, in the unit of all weights; None where all of them are 0.
    weight_sum : float
        Of all rows.
    n_classes, fit_intercept, label_smoothing, backend, n_threads
        As `Objective` takes them.
    """

    number: int
    first_row: int
    n_classes: int
    unit: float | None
    weight_sum: float
    fit_intercept: bool
    label_smoothing: float
    backend: str
    n_threads: int | None


class Answering(Objective):
    """What `questions` need of an objective.

    Attributes
    ----------
    share : Share
    """

    share: Share
    _design: tuple[str, ChunkedDesign] | None = None

    @cached_property
    def used_rows(self) -> np.ndarray:
        """Numbers of the gradient's rows that may be other than 0: columns of sparse X with entries, and the bias."""
        assert isinstance(self.source, SparseSource)
        used = np.flatnonzero(np.diff(self.source.load))
        return np.append(used, self.n_features) if self.fit_intercept else used

    def design(self, token: str, *arguments: Any) -> ChunkedDesign:
        """The design matrix of `Sweeps.design_matrix`, kept for the next sweeps with the same ``token``."""
        if self._design is None or self._design[0] != token:
            self._design = token, self.design_matrix(*arguments)
        return self._design[1]


class Part(Answering):
    """The objective of one part's rows, as shares of the means over all rows, without a penalty.

    Parameters
    ----------
    X, y, sample_weight
        As `describe` got them.
    share : Share
    """

    def __init__(self, X: Any, y: Any, sample_weight: ArrayLike | None, share: Share) -> None:
        super().__init__(
            X,
            y,
            share.n_classes,
            fit_intercept=share.fit_intercept,
            sample_weight=None if share.unit is None else sample_weight,
            label_smoothing=share.label_smoothing,
            backend=share.backend,
            n_threads=share.n_threads,
        )
        if share.unit is None:
            self.source.w = np.zeros(self.n_rows)  # type: ignore[misc]  # an attribute of every source in memory
        # The sum of all weights in the units of its own: what sums are divided by.
        self.share, self.weight_sum = share, share.weight_sum / share.unit if share.unit else math.inf
        self._shifted: tuple[str, ShiftedPart] | None = None

    def shifted(self, token: str, shift: np.ndarray, most: int) -> ShiftedPart:
        """The part over X - shift, kept for the next sweeps with the same ``token``."""
        if self._shifted is None or self._shifted[0] != token:
            self._shifted = None  # before another copy is made
            size = self.n_rows * self.n_features * self.dtype.itemsize
            self._shifted = token, ShiftedPart(self, shift, copied=self.sparse or size <= most)
        inner = self._shifted[1]
        inner.n_threads = self.n_threads
        return inner

    def __sizeof__(self) -> int:
        """Bytes of the rows: what a scheduler should know before it thinks of moving them."""
        source = self.source
        X = source.X  # type: ignore[attr-defined]  # of every source in memory
        arrays = (X.data, X.indices, X.indptr) if isinstance(X, Csr) else (X,)
        return sum(array.nbytes for array in (*arrays, source.y, source.soft, source.w) if array is not None)

    def __reduce__(self) -> Any:
        source: Any = self.source
        X = source.X.to_scipy() if isinstance(source.X, Csr) else source.X
        return Part, (X, source.soft if source.y is None else source.y, source.w, self.share)


class ShiftedPart(Shifted, Answering):
    """A part over X - shift."""

    def __init__(self, part: Part, shift: np.ndarray, *, copied: bool) -> None:
        super().__init__(part, shift, copied=copied)
        self.share = part.share


@contextmanager
def naming(number: int, rows: tuple[int, int] | None = None) -> Iterator[None]:
    """Errors that say which part they are of."""
    kinds = (TypeError, FloatingPointError, ValueError, MemoryError)
    try:
        yield
    except kinds as error:
        where = f"partition {number}" + ("" if rows is None else f" (rows {rows[0]} to {rows[1] - 1} of all)")
        kind = next(kind for kind in kinds if isinstance(error, kind))
        raise kind(f"{where}: {str(error) or 'no memory left'}") from error


def ask(part: Part, question: Any, arguments: tuple[Any, ...]) -> Any:
    """A part's answer to a question; errors name the part."""
    first = part.share.first_row
    with naming(part.share.number, (first, first + part.n_rows)):
        return question(part, *arguments)
