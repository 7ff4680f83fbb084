"""Many models of the same X, minimized in passes that they share: `minimize_many`.

Models that differ in the penalty alone go along a path, the strongest first, as in `path`; those with other labels or
weights run side by side, in lock-step where that pays (see `lock_step`). So a grid of penalties for each of L folds
takes as many rounds as the grid has values, of L models each.

Where only the weights differ, as in a bootstrap, the minima lie close to each other. Then a model of the objective's
own weights is minimized first, and all others take their first steps from its minimum in the metric of its exact
Hessian, where each step reduces the error by the factor by which the Hessians differ, some hundredths.

All models share the moments of X over all rows, which set how fast they converge and the units of the gradient norm.
A model whose own second moments differ by more than `ALIKE` takes a pass for its own: with weights for a group that is
unlike the others, say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..data import validation
from ..data.arrays import as_array
from ..data.bfloat16 import as_numbers
from ..kernels.contract import Csr
from ..objective.objective import Objective
from ..objective.problem import has_hessian
from ..objective.stacked import Member, StackedObjective, shares_passes
from .geometry.centering import centered, to_centered, to_original
from .geometry.hessian import Design
from .geometry.hessian_metric import HessianMetric
from .geometry.metric import Moments
from .lock_step import run_all
from .methods import lbfgs, newton
from .methods.auto import PATIENT, predict
from .minimize import blas_for, check_options, run_solver, select
from .result import Result, Step
from .run import Run, Stop
from .warm_start import WarmStart

# Operations of a pass, about a millisecond's, from which on models run in lock-step. Five folds and five l2: digits
# (6e6) took 2.2 s in lock-step and 1.9 s one by one; 100k x 54, k = 7 (2e8), 2.6 s, and 4.4 s in separate fits.
TOGETHER = 3e7
# So many models that differ in their weights are worth a fit of the objective's own weights and its Hessian.
WORTH_A_START = 4
# Steps in that Hessian's metric; more while they make good progress.
NEAR_STEPS = 8
# Second moments of X's columns within this factor of those of all rows are taken for the same.
ALIKE = 2.0

ManyCallback = Callable[[int, Step], Any]


def minimize_many(
    obj: Objective,
    *,
    y: Sequence[ArrayLike] | ArrayLike | None = None,
    sample_weight: Sequence[ArrayLike] | ArrayLike | None = None,
    l2: float | Iterable[float] | None = None,
    theta0: Sequence[ArrayLike] | ArrayLike | None = None,
    solver: str = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    callback: ManyCallback | None = None,
) -> list[Result]:
    r"""Minimize L objectives over the same X, in passes that they share.

    Model i minimizes, over theta_i,

    .. math:: L_i(\theta) = \frac{1}{\sum_r w_{ir}} \sum_r w_{ir} (\log \sum_c e^{H_{rc}} - H_{r y_{ir}})
              + \frac{l_{2i}}{2} \|\theta\|^2, \qquad H = X \theta

    What is not given is that of ``obj`` for all models. Each converges by itself, as in `minimize`, and then takes no
    more part in the passes of the others. The results are those of fits alone, to ``tol``; the same call gives the same
    bits.

    Parameters
    ----------
    obj : Objective
        X, labels, weights, penalty and options. Its own ``l2`` is put back at the end. X may be sparse: then each model
        takes passes of its own.
    y : sequence of L arrays (m,), or array (L, m), optional
        Labels of each model, 0..k-1 with the k of ``obj``: several tasks.
    sample_weight : sequence of L arrays (m,), or array (L, m), optional
        Nonnegative weights of each model: bootstrap counts, or 0 for the rows of a fold or of other groups. They are
        kept in their own dtype, so that counts may be uint8.
    l2 : float or iterable of L floats, optional
        Strength of each model's penalty. Models that are given the same array object (or None) as ``y`` and as
        ``sample_weight`` are taken for points of one path, and warm-start each other.
    theta0 : sequence of L arrays, each of the shape of ``obj``, optional
        Where each model starts.
    solver, tol, max_iter
        As in `minimize`, for each model.
    callback : callable, optional
        Called with the number of a model and a `Step` for its start and after each of its steps, perhaps in a thread of
        that model. Raising StopIteration ends that model's run alone.

    Returns
    -------
    list of Result
        One for each model, in the order given. ``n_passes`` counts the passes that a model took part in.

    Raises
    ------
    TypeError, ValueError
        As `minimize`; where the arguments are of different lengths, where a model has no row of positive weight, and
        for soft targets or smoothed labels.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 1, 0, 1]
    >>> obj = fastsoftmax.Objective(X, y, fit_intercept=True, l2=0.1)
    >>> counts = np.array([[1, 1, 1, 1], [2, 0, 1, 1], [0, 2, 2, 0]])
    >>> [round(res.value, 3) for res in fastsoftmax.minimize_many(obj, sample_weight=counts)]
    [0.604, 0.257, 0.407]
    >>> tasks = [[0, 1, 0, 1], [0, 0, 1, 1]]
    >>> [round(res.value, 3) for res in fastsoftmax.minimize_many(obj, y=tasks, l2=[0.1, 0.01])]
    [0.604, 0.101]
    """
    check_options(solver, 0.0, tol, max_iter, None)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None; got {callback!r}")
    if not isinstance(obj, Objective):
        raise TypeError(f"obj must be an Objective; got {type(obj).__name__}")
    models = _Models(obj, y, sample_weight, l2, theta0)
    own = obj.l2
    try:
        return _Runs(obj, models, _Options(solver, tol, max_iter), callback).all()
    finally:
        obj.l2 = own


# ------------------------------------------------------------------------------------------------- what is given


class _Models:
    """The arguments of `minimize_many`, checked.

    Attributes
    ----------
    l2s : ndarray (L,)
    starts : list of ndarray or None
    data : ndarray (L,)
        The number of each model's data: labels and weights.
    labels, weights : list of arrays, one for each data; or None where all are those of the objective
    """

    def __init__(self, obj: Objective, y: Any, sample_weight: Any, l2: Any, theta0: Any) -> None:
        given = {"y": _items(y), "sample_weight": _items(sample_weight), "theta0": _items(theta0)}
        given["l2"] = [*l2] if isinstance(l2, Iterable) else None
        lengths = {name: len(items) for name, items in given.items() if items is not None}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{count} in {name}" for name, count in lengths.items())
            raise ValueError(f"as many models are wanted in each argument; got {found}")
        self.count = next(iter(lengths.values()), 1)
        if not self.count:
            raise ValueError(f"{next(iter(lengths))} is empty; at least one model is wanted")
        strengths = given["l2"] or [obj.l2 if l2 is None else l2] * self.count
        self.l2s = np.array([validation.check_real(value, "l2") for value in strengths])
        rows, k = obj.shape
        self.starts = [
            validation.check_theta(theta, obj.n_features, k, obj.fit_intercept, f"theta0[{i}]").reshape(rows, k)
            for i, theta in enumerate(given["theta0"] or ())
        ]
        both = [items for items in (given["y"], given["sample_weight"]) if items]
        ids = [tuple(id(items[i]) for items in both) for i in range(self.count)]
        first = {key: i for i, key in reversed([*enumerate(ids)])}
        order = sorted(first.values())
        self.data = np.array([order.index(first[key]) for key in ids])
        self.labels = self._of_data(order, given["y"], lambda a, name: _checked_labels(a, obj, name), "y")
        self.weights = self._of_data(
            order, given["sample_weight"], lambda a, name: _checked_weights(a, obj.n_rows, name), "sample_weight"
        )

    def _of_data(self, order: list[int], items: list[Any] | None, check: Any, name: str) -> list[np.ndarray] | None:
        return None if items is None else [check(items[i], f"{name}[{i}]") for i in order]


def _items(given: Any) -> list[Any] | None:
    """One item for each model, each kept alive by the list so that its id is its own."""
    if given is None:
        return None
    return [*given] if isinstance(given, Sequence) else [*as_array(given, "an argument with an item for each model")]


def _checked_labels(y: Any, obj: Objective, name: str) -> np.ndarray:
    return validation.check_y(y, obj.n_rows, obj.n_classes, name)[0]


def _checked_weights(w: Any, m: int, name: str) -> np.ndarray:
    """Weights in their own dtype if they are unsigned or booleans, which can only be of a wrong shape; else float64."""
    array = as_array(w, name)
    if array.dtype.kind in "ub" and array.shape == (m,):
        return array
    checked, _ = validation.check_weights(w, m, name)
    assert checked is not None
    return checked


# ------------------------------------------------------------------------------------------------------- the runs


@dataclass(frozen=True)
class _Options:
    solver: str
    tol: float
    max_iter: int


@dataclass
class _Path:
    """The models of the same data, strongest penalty first, and what their runs hand on."""

    models: list[int]
    warm_start: WarmStart = field(default_factory=WarmStart)


class _Runs:
    """The runs of all models."""

    def __init__(self, given: Objective, models: _Models, options: _Options, callback: ManyCallback | None) -> None:
        self.models, self.options, self.callback = models, options, callback
        given.l2 = float(models.l2s.max())
        obj, self.moments = centered(given)
        assert isinstance(obj, Objective)
        self.obj = obj
        count = int(models.data.max()) + 1
        same_data = models.labels is None and models.weights is None
        labels = [obj.y] if same_data and obj.y is not None else models.labels
        self.stacked = StackedObjective(obj, labels=labels, weights=models.weights)
        by_strength = np.argsort(-models.l2s, kind="stable")
        self.paths = [_Path([int(i) for i in by_strength if models.data[i] == d]) for d in range(count)]
        self.together = pays_together(obj, options.solver)
        self.results: dict[int, Result] = {}

    def all(self) -> list[Result]:
        """Round after round: the strongest penalty of each path, then the next."""
        with blas_for(self.obj):
            shared = self._limits(self.obj, moments=self.moments)
            alike = alike_moments(self.stacked, self.moments)
            for turn in range(max(len(path.models) for path in self.paths)):
                active = [d for d, path in enumerate(self.paths) if len(path.models) > turn]
                for d in active:
                    self.stacked.l2s[d] = self.models.l2s[self.paths[d].models[turn]]
                near = self._common_start(shared, active) if turn == 0 else None
                self._round(turn, active, shared, alike, near)
        return [self.results[i] for i in range(self.models.count)]

    def _round(self, turn: int, active: list[int], shared: Run, alike: np.ndarray, near: HessianMetric | None) -> None:
        def begin(member: Member) -> tuple[int, Run, np.ndarray]:
            path = self.paths[member.number]
            model = path.models[turn]
            run = self._limits(
                member,
                warm_start=path.warm_start,
                similar_run=shared if alike[member.number] and turn == 0 else None,
                callback=None if self.callback is None else _numbered(self.callback, model),
            )
            if not self.models.starts:
                return model, run, path.warm_start.start(run)
            return model, run, to_centered(self.obj, self.models.starts[model].astype(np.float64))

        def solve(member: Member) -> None:
            model, run, theta = begin(member)
            result = run_solver(run, theta, self.options.solver, finished=not self.together)
            self._end(turn, member.number, run, result)

        def approach(member: Member) -> Run:
            assert near is not None
            _, run, _ = begin(member)
            run.solver = "lbfgs"
            run.chosen = "in the metric of the Hessian of a model with other weights, from its minimum"
            with suppress(Stop):
                run.accept(near.theta)
                lbfgs.search(run, near, NEAR_STEPS, pace=newton.PACE)
            return run

        if near is None:
            run_all(self.stacked, solve, active, together=self.together)
            return
        for d, run in zip(
            active, run_all(self.stacked, approach, active, together=shares_passes(self.obj)), strict=True
        ):
            if not run.converged and not run.why:
                run.obj.answer_alone()  # type: ignore[attr-defined]
                with suppress(Stop):
                    select(self.options.solver)[1].solve(run)
            self._end(turn, d, run, run.result())

    def _end(self, turn: int, data: int, run: Run, result: Result) -> None:
        """Keep the result of a run, its theta for the caller's X."""
        path = self.paths[data]
        path.warm_start.keep(run)
        self.results[path.models[turn]] = replace(result, theta=to_original(self.obj, result.theta))

    def _limits(self, obj: Objective, **options: Any) -> Run:
        limits: Any = {"tol": self.options.tol, "max_iter": self.options.max_iter, "callback": None}
        return Run(obj, **(limits | options))

    def _common_start(self, shared: Run, active: list[int]) -> HessianMetric | None:
        """The Hessian at the minimum for the objective's own weights, if models differ from it in their weights alone,
        and that pays."""
        l2s, obj, models = self.stacked.l2s[active], self.obj, self.models
        if models.weights is None or models.labels is not None or models.starts or l2s.min() < l2s.max():
            return None
        if len(active) < WORTH_A_START or self.options.solver not in ("auto", "newton"):
            return None
        cost = predict(obj)
        if not has_hessian(obj) or cost.newton_step > PATIENT * cost.one_pass:
            return None
        obj.l2 = float(l2s[0])
        run = self._limits(self.obj, similar_run=shared)
        result = run_solver(run, np.zeros(obj.shape), self.options.solver)
        if not result.converged:
            return None
        latest = run.hessian_metric
        if latest is not None and latest.theta is run.theta and np.isfinite(latest.ridge):
            return latest
        metric = HessianMetric(obj, run.theta, Design(obj, run.metric))
        return metric if np.isfinite(metric.ridge) else None


def _numbered(callback: ManyCallback, model: int) -> Callable[[Step], Any]:
    return lambda step: callback(model, step)


def pays_together(obj: Objective, solver: str) -> bool:
    """Whether models should run in lock-step: not by Newton's method, and not where passes are short or not shared."""
    if not shares_passes(obj):
        return False
    cost = predict(obj)
    is_newton = solver == "newton" or (solver == "auto" and cost.newton < cost.lbfgs)
    return not is_newton and cost.one_pass > TOGETHER


def alike_moments(stacked: StackedObjective, moments: Moments) -> np.ndarray:
    """Whether each model's second moments of X's columns are within `ALIKE` of those of all rows: bool (L,). One walk,
    if models have weights of their own."""
    if stacked.weights is None:
        return np.ones(len(stacked), bool)
    sums = np.zeros((len(stacked), stacked.obj.n_features))
    for rows in stacked.obj.walk():
        X, part = rows.X, slice(rows.start, rows.start + len(rows.X))
        squares: Any = X.to_scipy() if isinstance(X, Csr) else np.asarray(as_numbers(X), stacked.obj.dtype)
        squares = squares * squares
        for model, w in enumerate(stacked.weights):
            sums[model] += np.asarray(w[part], squares.dtype) @ squares
    second = sums / stacked.weight_sums[:, None]
    inside = (second <= ALIKE * moments.diagonal) & (ALIKE * second >= moments.diagonal)
    alike: np.ndarray = inside.all(axis=1)
    return alike
