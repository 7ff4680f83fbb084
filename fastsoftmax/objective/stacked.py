"""Several models of the same X, evaluated in one pass over it.

The models differ in their labels, in their weights, or in the fold of rows that each leaves out. Their parameters lie
side by side, theta (n, L k), so that X is read, packed and transposed once for all L models. Five models cost as much
as 3.6 passes of one on 60k x 784, k = 10; 3.5 on 200k x 54, k = 7; 2.6 on digits.

The plan of a pass is always that for all of its models, so that the rows are cut alike whichever of them take part.

With sparse X, or with more than `MOST_CLASSES`, each model takes passes of its own, as `Member`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..data.sources.memory import RelabelledSource
from ..kernels.contract import Parameters, Rows, Sums
from .derived import Derived, Scaled
from .objective import Objective
from .passes import DensePasses, passes_of

# Beyond so many classes models do not share passes: their products fill registers and caches by themselves. Time of a
# pass of L models over L passes of one, Zen 5, one thread: 50k x 50, k = 5: 0.49 with 8, 0.43 with 50; 30k x 784,
# k = 10: 0.72 with 10, which is 80 % of the peak; 20k x 512, k = 100: 0.95 with 5, and 1.05 with two threads; 3,000 x
# 768, k = 1000: 1.24 with 2.
MOST_CLASSES = 64


class StackedObjective:
    """Objectives of several models on the X of one objective.

    Parameters
    ----------
    obj : Objective
        With labels that are not smoothed. Its l2 is that of every model; set ``l2`` or ``l2s`` to change it.
    fold : int array (m,), optional
        Number of each row's fold.
    left_out : int array (L,), optional
        The fold that each model leaves out, -1 for none.
    labels : sequence of int32 arrays (m,), optional
        Those of each model, in place of the objective's: 0..k-1.
    weights : sequence of arrays (m,), optional
        Those of each model, in place of the objective's, of any real dtype; checked by the caller.

    Attributes
    ----------
    shape : tuple of int
        Shape of one model's theta.
    n_passes : int
        Passes over X so far; one counts as one, however many models it served.
    l2s : ndarray (L,)
        Strength of each model's penalty.
    weight_sums, held_sums : ndarray (L,)
        Total weight of the rows that each model is fitted to, and of those it leaves out.

    Raises
    ------
    ValueError
        For soft targets or smoothed labels, and for a model without rows of positive weight.
    """

    def __init__(
        self,
        obj: Objective,
        fold: np.ndarray | None = None,
        left_out: np.ndarray | None = None,
        *,
        labels: Sequence[np.ndarray] | None = None,
        weights: Sequence[np.ndarray] | None = None,
    ) -> None:
        if not obj.has_labels:
            raise ValueError("several models in one pass take labels, neither soft targets nor smoothed labels")
        self.obj, self.labels, self.weights = obj, labels, weights
        self._count = next(len(given) for given in (left_out, labels, weights) if given is not None)
        self.fold = None if fold is None else np.ascontiguousarray(fold, np.int32)
        self.left_out = np.full(self._count, -1, np.int32) if left_out is None else np.asarray(left_out, np.int32)
        self.l2s = np.full(self._count, float(obj.l2))
        self.shape, self.n_passes = obj.shape, 0
        self._kept: dict[str, np.ndarray] = {}
        self.held_sums = np.array([self._weight_of(i, f) for i, f in enumerate(self.left_out.tolist())])
        self.weight_sums = np.array([self._weight_of(i) for i in range(self._count)]) - self.held_sums
        if not self.weight_sums.min(initial=np.inf) > 0:
            outside = "" if fold is None else " outside its fold"
            raise ValueError(f"model {int(self.weight_sums.argmin())} has no row of positive weight{outside}")
        # Scaled columns are those of the objective inside with scaled parameters: no row is made anew.
        inner: Objective = obj.outer if isinstance(obj, Scaled) else obj
        self._factors: np.ndarray | None = obj.factors[:, None] if isinstance(obj, Scaled) else None
        self.plan, self._source = obj.plan, inner.source
        if isinstance(inner._passes, DensePasses):
            self.plan = inner._passes.plan(obj.n_classes * self._count, strategy="row-parallel")

    def __len__(self) -> int:
        return self._count

    @property
    def l2(self) -> float:
        """The largest strength of a penalty."""
        return float(self.l2s.max())

    @l2.setter
    def l2(self, value: float) -> None:
        self.l2s[:] = value

    def value_and_grads(
        self, thetas: Sequence[np.ndarray], models: Sequence[int] | None = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Values (L,) and gradients of all models, or of those that ``models`` names, at a theta for each: one pass."""
        models = range(len(self)) if models is None else models
        sums = self._pass(thetas, models, grad=True)
        share = self.obj.weight_sum / self.weight_sums[list(models)]
        values = np.add.reduce(sums.loss, axis=0) * share
        gradient, bias = sums.total()
        if self._factors is not None:
            gradient *= self._factors
        for what, result in (("loss", values), ("gradient", gradient), ("gradient", bias)):
            self.obj._require_finite(result, what)
        grads, (n, k) = [], (self.obj.n_features, self.obj.n_classes)
        for i, (model, theta) in enumerate(zip(models, thetas, strict=True)):
            grad, l2 = np.empty(self.shape), float(self.l2s[model])
            grad[:n] = gradient[:, i * k : (i + 1) * k] * share[i] + l2 * theta[:n]
            grad[n:] = bias[i * k : (i + 1) * k] * share[i]
            values[i] += 0.5 * l2 * float(np.vdot(theta[:n], theta[:n]))
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

    def labels_of(self, model: int) -> np.ndarray:
        """Labels of all rows in a model."""
        y = self.obj.y if self.labels is None else self.labels[model]
        assert y is not None
        return y

    def weights_of(self, model: int) -> np.ndarray | None:
        """Weights of all rows in a model, but for the fold that it leaves out; None for all ones."""
        return self.obj.w if self.weights is None else self.weights[model]

    def _weight_of(self, model: int, fold: int | None = None) -> float:
        """The total weight of the rows of a fold, of all rows for None, and of none for -1."""
        if fold == -1:
            return 0.0
        w = self.weights_of(model)
        if fold is None:
            return float(self.obj.n_rows if w is None else w.sum(dtype=np.float64))
        rows = self.fold == fold
        return float(np.count_nonzero(rows) if w is None else w[rows].sum(dtype=np.float64))

    def _pass(
        self, thetas: Sequence[np.ndarray], models: Sequence[int], *, grad: bool = False, held: bool = False
    ) -> Sums:
        obj, n = self.obj, self.obj.n_features
        stacked = np.hstack(thetas).astype(obj.dtype, copy=False)
        weights = stacked[:n] if self._factors is None else (stacked[:n] * self._factors).astype(obj.dtype)
        params = Parameters(
            np.ascontiguousarray(weights),
            stacked[n] if obj.fit_intercept else None,
            len(thetas),
            None if self.fold is None else np.ascontiguousarray(self.left_out[list(models)]),
        )
        scale, classes = 1.0 / obj.weight_sum, obj.n_classes * len(thetas)
        sums = Sums.zeros(self.plan.slabs, classes, n, scale, grad=grad, models=len(thetas), held=held)
        kernel, threads = obj._kernels.value_and_grad, min(obj.n_threads, self.plan.threads)
        self.n_passes += 1
        for rows in self._source.chunks(self.plan.chunk):
            kernel(self._rows_of(rows, models), params, self.plan, sums, threads)
        return sums

    def _rows_of(self, rows: Rows, models: Sequence[int]) -> Rows:
        """A chunk with the labels, weights and folds of some models."""
        part = slice(rows.start, rows.start + len(rows.X))
        fold = None if self.fold is None else self.fold[part]
        y = None if self.labels is None else [self.labels[i][part] for i in models]
        w = None if self.weights is None else [self.weights[i][part] for i in models]
        return replace(
            rows,
            fold=fold,
            y=rows.y if y is None else self._of_models(y, np.dtype(np.int32)),
            w=rows.w if w is None else self._of_models(w, np.dtype(np.float64)),
        )

    def _of_models(self, parts: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
        """Numbers of the rows of a chunk, (L, rows), or (rows,) of a single model: in memory that the next chunk uses
        again, since new pages for 200 models of 100,000 rows take longer than what is written to them."""
        if len(parts) == 1:
            return np.ascontiguousarray(parts[0], dtype)
        size = len(parts) * len(parts[0])
        kept = self._kept.get(dtype.char)
        if kept is None or kept.size < size:
            kept = self._kept[dtype.char] = np.empty(size, dtype)
        out = kept[:size].reshape(len(parts), -1)
        for row, part in zip(out, parts, strict=True):
            row[:] = part
        return out


def shares_passes(obj: Objective) -> bool:
    """Whether models of an objective's X share passes."""
    return not obj.sparse and obj.n_classes <= MOST_CLASSES


class Member(Derived):
    """One model of a stacked objective as an objective of its own.

    Parameters
    ----------
    stacked : StackedObjective
        The model's l2 is taken over as it is now.
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
        obj = stacked.obj
        of_rows = stacked.labels_of(number), stacked.weights_of(number), stacked.fold, int(stacked.left_out[number])
        super().__init__(obj, passes_of(MemberSource(obj.source, *of_rows), obj._kernels))
        self.number, self._ask, self._outer = number, stacked.ask if ask is None else ask, obj
        self._stacked = stacked
        self._shares_gram = stacked.weights is None
        self.weight_sum = float(stacked.weight_sums[number])
        self.l2, self.n_passes = float(stacked.l2s[number]), 0

    def value_and_grad(self, theta: ArrayLike) -> tuple[float, np.ndarray]:
        if not shares_passes(self):
            return super().value_and_grad(theta)
        self.n_passes += 1
        return self._ask(self.number, np.asarray(theta))

    def answer_alone(self) -> None:
        """Take passes of its own from now on."""
        self._ask = self._stacked.ask

    def gram(self) -> np.ndarray:
        """Of all rows, a fold that is left out included: it only sets the metric. With weights of the model's own it is
        that of its rows."""
        if not self._shares_gram:
            return super().gram()
        self.n_passes += 1
        return self._outer.gram()


class MemberSource(RelabelledSource):
    """The rows of a source with other labels and weights, those of one fold with weight 0. Weights are made for a
    chunk at a time.

    Parameters
    ----------
    source : Source
    y : int32 ndarray (m,)
    w : ndarray (m,) or None
    fold : int32 ndarray (m,), optional
    left_out : int
        The fold that is left out, if there are any.
    """

    def __init__(
        self,
        source: Any,
        y: np.ndarray | None,
        w: np.ndarray | None,
        fold: np.ndarray | None = None,
        left_out: int = -1,
    ) -> None:
        self.y, self.soft, self.smoothing = y, None, 0.0
        self._w, self._fold, self._left_out = w, fold, left_out
        self._over(source)

    @property
    def w(self) -> np.ndarray | None:  # type: ignore[override]
        return self._weights(slice(None))

    def chunks(self, rows: int) -> Iterator[Rows]:
        for part in self._source.chunks(rows):
            these = slice(part.start, part.start + len(part.X))
            y = None if self.y is None else self.y[these]
            yield replace(part, y=y, soft=None, smoothing=0.0, w=self._weights(these))

    def _weights(self, rows: slice) -> np.ndarray | None:
        w = None if self._w is None else np.asarray(self._w[rows], np.float64)
        if self._fold is None or self._left_out < 0:
            return w
        return np.where(self._fold[rows] == self._left_out, 0.0, 1.0 if w is None else w)
