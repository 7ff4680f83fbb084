"""What an objective knows of its rows without a pass: sizes, dtypes, and what targets and weights are like."""

from __future__ import annotations

import numpy as np

from ...data.sources.source import Source
from ...kernels.contract import Kernels
from ...kernels.plan import Plan
from ..passes import Passes


class Facts:
    """The base of `Objective`, which sets the attributes.

    Attributes
    ----------
    source : Source
    plan : Plan
        Of the passes for value and gradient.
    """

    source: Source
    plan: Plan
    shape: tuple[int, int]
    n_features: int
    n_classes: int
    n_threads: int
    n_passes: int
    l2: float
    fit_intercept: bool
    sparse: bool
    weight_sum: float
    _passes: Passes
    _kernels: Kernels

    @property
    def n_rows(self) -> int:
        return self.source.shape[0]

    @property
    def dtype(self) -> np.dtype:
        """That of the computation."""
        return self.source.dtype

    @property
    def nnz(self) -> int:
        """Numbers of X that are stored: the entries of sparse X."""
        return self.source.nnz

    @property
    def cut(self) -> str:
        """What the last bits of a pass depend on beside the numbers: how the rows are cut, and how X lies in memory."""
        return f"{self.plan!r}, {getattr(self.source, 'layout', '')}"

    @property
    def y(self) -> np.ndarray | None:
        """Labels 0..k-1 of all rows; None for soft targets."""
        return self.source.y

    @property
    def w(self) -> np.ndarray | None:
        """Weights of all rows; None for all ones."""
        return self.source.w

    @property
    def smoothing(self) -> float:
        """Label smoothing."""
        return self.source.smoothing

    @property
    def has_labels(self) -> bool:
        """Whether each row has one class: labels, neither soft targets nor smoothed."""
        return self.source.y is not None and not self.source.smoothing

    @property
    def is_widened(self) -> bool:
        """Whether X is a dense array of another dtype than that of the computation."""
        return self.source.is_widened

    @property
    def streamed(self) -> bool:
        """Whether the rows are not in memory: then nothing may be made that is as large as X."""
        return self.source.streamed

    def least_weight(self) -> float:
        """The smallest positive weight of a row."""
        return self.source.least_weight()

    def present_classes(self) -> np.ndarray:
        """Whether each class has a row of positive weight, or a share of one: bool (k,)."""
        return self.source.present_classes(self.n_classes)

    def has_distributions(self) -> bool:
        """Whether each row's targets sum to 1, up to rounding."""
        return self.source.has_distributions()
