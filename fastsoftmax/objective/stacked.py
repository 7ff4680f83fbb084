"""Several models of the same data, evaluated in one pass over X: what cross-validation needs.

The models differ in the fold of rows that each leaves out. Their parameters lie side by side, theta (n, L k), so that
X is read, packed and transposed once for all L models. Five models cost as much as 3.6 passes of one on 60k x 784,
k = 10; 3.5 on 200k x 54, k = 7; 2.6 on digits.

The plan of the pass is always that for all L models, so that the rows are cut alike whichever models take part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from ..data.sources.source import DenseSource, Labelled
from ..kernels.contract import Parameters, Rows, Sums
from .derived import Derived
from .objective import Objective
from .passes import DensePasses


class StackedObjective:
    """Objectives of several models on the data of one objective, each without the rows of a fold.

    Parameters
    ----------
    obj : Objective
        With dense X and labels that are not smoothed. Its l2 is that of every model; set ``l2`` to change it.
    fold : int array (m,)
        Number of each row's fold.
    left_out : int array (L,)
        The fold that each model leaves out, -1 for none.

    Attributes
    ----------
    shape : tuple of int
        Shape of one model's theta.
    n_passes : int
        Passes over X so far; one counts as one, however many models it served.
    weight_sums, held_sums : ndarray (L,)
        Total weight of the rows that each model is fitted to, and of those it leaves out.

    Raises
    ------
    ValueError
        For sparse X, soft targets or smoothed labels, and for a model without rows of positive weight.
    """

    def __init__(self, obj: Objective, fold: np.ndarray, left_out: np.ndarray) -> None:
        passes = obj._passes
        if not isinstance(passes, DensePasses):
            raise ValueError("several models in one pass take dense X; this is sparse")
        if not obj.has_labels:
            raise ValueError("several models in one pass take labels, neither soft targets nor smoothed labels")
        self.obj, self.l2 = obj, obj.l2
        self.fold, self.left_out = np.ascontiguousarray(fold, np.int32), np.ascontiguousarray(left_out, np.int32)
        self.shape, self.n_passes = obj.shape, 0
        w = obj.w
        self.held_sums = np.array([np.sum(self.fold == f) if w is None else w[self.fold == f].sum() for f in left_out])
        self.weight_sums = obj.weight_sum - self.held_sums
        if not self.weight_sums.min(initial=np.inf) > 0:
            raise ValueError(f"model {int(self.weight_sums.argmin())} has no row of positive weight outside its fold")
        self.plan = passes.plan(obj.n_classes * len(self.left_out), strategy="row-parallel")

    def __len__(self) -> int:
        return len(self.left_out)

    def value_and_grads(
        self, thetas: Sequence[np.ndarray], models: Sequence[int] | None = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Values (L,) and gradients of all models, or of those that ``models`` names, at a theta for each: one pass."""
        models = range(len(self)) if models is None else models
        sums = self._pass(thetas, models, grad=True)
        share = self.obj.weight_sum / self.weight_sums[list(models)]
        values = np.add.reduce(sums.loss, axis=0) * share
        gradient, bias = sums.total()
        for what, result in (("loss", values), ("gradient", gradient), ("gradient", bias)):
            self.obj._require_finite(result, what)
        grads, (n, k) = [], (self.obj.n_features, self.obj.n_classes)
        for i, theta in enumerate(thetas):
            grad = np.empty(self.shape)
            grad[:n] = gradient[:, i * k : (i + 1) * k] * share[i] + self.l2 * theta[:n]
            grad[n:] = bias[i * k : (i + 1) * k] * share[i]
            values[i] += 0.5 * self.l2 * float(np.vdot(theta[:n], theta[:n]))
            grads.append(grad)
        return values, grads

    def ask(self, number: int, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient of one model, by a pass for it alone."""
        values, grads = self.value_and_grads([theta], [number])
        return float(values[0]), grads[0]

    def held_out(self, thetas: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean loss and accuracy of each model on the rows that it leaves out; NaN if it leaves out none."""
        sums = self._pass(thetas, range(len(self)), held=True)
        assert sums.held is not None
        total = np.add.reduce(sums.held, axis=0) * self.obj.weight_sum
        with np.errstate(invalid="ignore"):
            mean = total / self.held_sums[:, None]
        return mean[:, 0], mean[:, 1]

    def _pass(
        self, thetas: Sequence[np.ndarray], models: Sequence[int], *, grad: bool = False, held: bool = False
    ) -> Sums:
        obj, n = self.obj, self.obj.n_features
        stacked = np.hstack(thetas).astype(obj.dtype, copy=False)
        params = Parameters(
            np.ascontiguousarray(stacked[:n]),
            stacked[n] if obj.fit_intercept else None,
            len(thetas),
            np.ascontiguousarray(self.left_out[list(models)]),
        )
        scale, classes = 1.0 / obj.weight_sum, obj.n_classes * len(thetas)
        sums = Sums.zeros(self.plan.slabs, classes, n, scale, grad=grad, models=len(thetas), held=held)
        kernel, threads = obj._kernels.value_and_grad, min(obj.n_threads, self.plan.threads)
        self.n_passes += 1
        for rows in obj.source.chunks(self.plan.chunk):
            fold = self.fold[rows.start : rows.start + len(rows.X)]
            kernel(replace(rows, fold=fold), params, self.plan, sums, threads)
        return sums


class Member(Derived):
    """One model of a stacked objective as an objective of its own: all rows but those of its fold.

    Parameters
    ----------
    stacked : StackedObjective
        Its l2 is taken over as it is now.
    number : int
        Which of the models.
    ask : callable, optional
        Gets the number and a theta, and returns value and gradient; a pass for this model alone unless given.
    """

    def __init__(
        self,
        stacked: StackedObjective,
        number: int,
        ask: Callable[[int, np.ndarray], tuple[float, np.ndarray]] | None = None,
    ) -> None:
        obj, left_out = stacked.obj, int(stacked.left_out[number])
        assert isinstance(obj._passes, DensePasses)
        super().__init__(obj, DensePasses(FoldSource(obj._passes.source, stacked.fold, left_out), obj._kernels))
        self.number, self._ask, self._outer = number, stacked.ask if ask is None else ask, obj
        self.weight_sum = float(stacked.weight_sums[number])
        self.l2, self.n_passes = stacked.l2, 0

    def value_and_grad(self, theta: ArrayLike) -> tuple[float, np.ndarray]:
        self.n_passes += 1
        return self._ask(self.number, np.asarray(theta))

    def gram(self) -> np.ndarray:
        """Of all rows, the model's fold included: it only sets the metric."""
        self.n_passes += 1
        return self._outer.gram()


class FoldSource(Labelled):
    """The rows of a source, those of one fold with weight 0. Weights are made for a chunk at a time."""

    def __init__(self, source: DenseSource, fold: np.ndarray, left_out: int) -> None:
        self._source, self._fold, self._left_out = source, fold, left_out
        self.shape, self.dtype, self.layout, self.streamed = source.shape, source.dtype, source.layout, source.streamed
        self.y, self.soft, self.smoothing = source.y, source.soft, source.smoothing
        self.pick, self.place, self.prepare = source.pick, source.place, source.prepare  # type: ignore

    @property
    def is_widened(self) -> bool:
        return self._source.is_widened

    @property
    def w(self) -> np.ndarray | None:  # type: ignore[override]
        return self._weights(self._source.w, slice(None))

    def chunks(self, rows: int) -> Iterator[Rows]:
        for part in self._source.chunks(rows):
            yield replace(part, w=self._weights(part.w, slice(part.start, part.start + len(part.X))))

    def _weights(self, w: np.ndarray | None, rows: slice) -> np.ndarray:
        return np.where(self._fold[rows] == self._left_out, 0.0, 1.0 if w is None else w)
