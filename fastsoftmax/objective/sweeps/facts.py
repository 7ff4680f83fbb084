"""What an objective knows of its rows without a pass: sizes, dtypes, and what targets and weights are like."""

from __future__ import annotations

import numpy as np

from ...data.sources.memory import ArraySource, Source, SparseSource
from ...kernels.contract import Kernels
from ...kernels.plan import Plan
from ..absent import present_classes
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
        return int(getattr(self.source, "nnz", self.n_rows * self.n_features))

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
    def can_pick(self) -> bool:
        """Whether rows can be taken by their numbers: see `Sweeps.pick`."""
        return isinstance(self.source, ArraySource | SparseSource)

    @property
    def is_widened(self) -> bool:
        """Whether X is a dense array of another dtype than that of the computation."""
        return isinstance(self.source, ArraySource) and self.source.X.dtype != self.source.dtype

    def least_weight(self) -> float:
        """The smallest positive weight of a row."""
        w = self.source.w
        return 1.0 if w is None else float(np.min(w, where=w > 0, initial=np.inf))

    def present_classes(self) -> np.ndarray:
        """Whether each class has a row of positive weight, or a share of one: bool (k,)."""
        source = self.source
        if source.smoothing > 0:
            return np.ones(self.n_classes, bool)
        targets = source.soft if source.y is None else source.y
        assert targets is not None
        return present_classes(targets, source.w, self.n_classes)

    def has_distributions(self) -> bool:
        """Whether each row's targets sum to 1, up to rounding."""
        soft = self.source.soft
        if soft is None:
            return True
        mass = np.add.reduce(soft, axis=1, dtype=np.float64)
        eps = float(np.finfo(soft.dtype).eps)
        return bool(np.abs(mass - 1.0).max(initial=0.0) <= soft.shape[1] * eps)
