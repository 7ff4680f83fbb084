"""The walk along a grid of penalties: fit, measure on rows that are held out, and keep what is done.

The strongest penalty comes first, and each fit goes on from those before it, as in `solvers.path`: from where the
optima point to, with the curvature met so far. With folds, a model without each fold is fitted at every value, in
lock-step where that pays (`solvers.lock_step`), so that one pass over X serves all of them.

While a fit runs, a lower bound on its final loss on the held-out rows is worked out from time to time
(`validation.LossBound`). Above the best loss so far, the fit has lost and is ended. It only does so where the best is
looked for by the loss, and with one set of held-out rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..objective.objective import Objective
from ..objective.stacked import Member, StackedObjective
from ..solvers.lock_step import run_all
from ..solvers.many import pays_together
from ..solvers.minimize import blas_for, run_solver
from ..solvers.result import Result, Step
from ..solvers.run import Run
from ..solvers.warm_start import WarmStart
from .checkpoint import Checkpoint
from .features import Coordinates
from .grid import Grid
from .validation import METRICS, LossBound, Measure, RowScores, measures, row_scores

# The bound is worked out again once the gap has fallen by this factor: it takes a pass over the held-out rows.
FALLEN = 0.25
# A fit whose value falls by no more than so many roundings of itself in so many steps is ended. In float32 rounding may
# keep the gradient norm somewhat above tol: at the weak end of a grid of 48,000 x 784, k = 10, it stayed at 1.3e-5 for
# 1,000 steps. Within `NEAR` times tol such a fit counts as converged.
SETTLED, SETTLED_STEPS, NEAR, SETTLED_WORDS = 1.0, 25, 10.0, "its value fell by less than"
# So many optima are measured anew, with a pass each, where a sweep goes on from its checkpoint.
RESUMED = 3


@dataclass(frozen=True)
class SweepOptions:
    """How each fit is made, and which value is looked for."""

    solver: str = "auto"
    tol: float = 1e-5
    max_iter: int = 300
    scoring: str = "log_loss"
    one_se: bool = False
    early: bool = True


@dataclass(frozen=True, eq=False)
class Value:
    """The outcome at one strength of the grid.

    Attributes
    ----------
    l2, C : float
    metrics : dict of str to Measure, or None
        None for a fit that was ended early.
    lower_bound : float or None
        Of a fit that was ended early: its loss on the held-out rows would not have been below this.
    iterations, passes, seconds : number
        Steps of the longest fit, passes over X for values and gradients, and wall time of fit and measurement.
    converged : bool
        Whether every fit reached ``tol``, or came within ten times of it where only rounding was left.
    message : str
        How the fit ended; with folds, the first that did not converge.
    thetas : ndarray (fits, n [+ 1], k)
        Of each fit: one, or one for each fold.
    """

    l2: float
    C: float
    metrics: dict[str, Measure] | None
    lower_bound: float | None
    iterations: int
    passes: int
    seconds: float
    converged: bool
    message: str
    thetas: np.ndarray = field(repr=False)

    def facts(self) -> dict[str, Any]:
        """All but theta, as JSON has it."""
        return {name: value for name, value in asdict(self).items() if name != "thetas"}

    @classmethod
    def from_facts(cls, facts: dict[str, Any], thetas: np.ndarray) -> Value:
        """The inverse of `facts`."""
        found = facts["metrics"]
        metrics = None if found is None else {name: Measure(**measure) for name, measure in found.items()}
        return cls(**(facts | {"metrics": metrics}), thetas=thetas)


class Sweep:
    """The walk of this file's head.

    Parameters
    ----------
    rows : Coordinates
        All rows that are fitted, or held out as folds.
    held : sequence of Objective
        The rows to measure on: one objective, or that of each fold. Without penalties.
    fold : int32 ndarray (m,), optional
        The fold of each row, -1 for none; each fit leaves one out. Else all rows are fitted.
    grid : Grid
    options : SweepOptions
    checkpoint : Checkpoint, optional
    """

    def __init__(
        self,
        rows: Coordinates,
        held: Sequence[Objective],
        fold: np.ndarray | None,
        grid: Grid,
        options: SweepOptions,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.rows, self.held, self.grid, self.options = rows, held, grid, options
        self._checkpoint, self._warm_starts = checkpoint, [WarmStart() for _ in held]
        self._stacked = None if fold is None else StackedObjective(rows.obj, fold, np.arange(len(held)))
        self._fitted = [rows.obj] if self._stacked is None else [Member(self._stacked, f) for f in range(len(held))]
        weights = np.array([obj.weight_sum for obj in self._fitted])
        self._l2s = np.array([grid.l2s(weight) for weight in weights])
        self._weight = float(weights.mean())
        self._bound: LossBound | None = None
        self._lost_at: float | None = None
        self.best = math.inf

    def run(self) -> Iterator[Value]:
        """The values of the grid, the strongest first, each as soon as it is done."""
        done = self._done()
        for value in done:
            self._note(value)
            yield value
        if done:
            self._resume(done)
        for number in range(len(done), len(self.grid)):
            value = self._value(number)
            if self._checkpoint is not None:
                self._checkpoint.save(number, value.facts(), value.thetas)
            self._note(value)
            yield value

    def _done(self) -> list[Value]:
        """What the checkpoint has, up to the first value that is not done."""
        done: list[Value] = []
        while self._checkpoint is not None and len(done) < len(self.grid):
            found = self._checkpoint.load(len(done))
            if found is None:
                break
            done.append(Value.from_facts(*found))
        return done

    def _resume(self, done: list[Value]) -> None:
        """Give the warm starts the latest optima."""
        if self._stacked is not None:
            self._stacked.l2s[:] = 0.0
        for f, (obj, warm_start) in enumerate(zip(self._fitted, self._warm_starts, strict=True)):
            obj.l2 = 0.0
            for value in done[-RESUMED:]:
                warm_start.points.append((value.thetas[f], *obj.value_and_grad(value.thetas[f])))

    def _note(self, value: Value) -> None:
        if value.metrics is not None:
            self.best = min(self.best, value.metrics["log_loss"].value)

    def _value(self, number: int) -> Value:
        began, self._lost_at = time.perf_counter(), None
        shared = 0 if self._stacked is None else self._stacked.n_passes
        with blas_for(self.rows.obj):
            fits = self._fit(self._l2s[:, number])
        scores = [] if self._lost_at is not None else self._scores(fits)
        wrong = [fit for fit in fits if not is_settled(fit, self.options.tol)]
        return Value(
            l2=float(self.grid.l2s(self._weight)[number]),
            C=float(self.grid.Cs(self._weight)[number]),
            metrics=measures(scores) if scores else None,
            lower_bound=self._lost_at,
            iterations=max(fit.n_iter for fit in fits),
            passes=fits[0].n_passes if self._stacked is None else self._stacked.n_passes - shared,
            seconds=time.perf_counter() - began,
            converged=not wrong,
            message=(wrong or fits)[0].message,
            thetas=np.array([fit.theta for fit in fits]),
        )

    def _scores(self, fits: Sequence[Result]) -> list[RowScores]:
        return [row_scores(held, self.rows.held_theta(fit.theta)) for held, fit in zip(self.held, fits, strict=True)]

    # --------------------------------------------------------------------------------------------------- the fits

    def _fit(self, l2s: np.ndarray) -> list[Result]:
        """The fits at one value of the grid."""
        if self._stacked is not None:
            self._stacked.l2s[:] = l2s
        if self._stacked is None or len(self._fitted) == 1:
            self._fitted[0].l2 = float(l2s[0])
            return [self._minimize(self._fitted[0], 0)]
        together = pays_together(self.rows.obj, self.options.solver)
        numbers = range(len(self._fitted))
        fits: list[Result] = run_all(self._stacked, self._minimize_member, numbers, together=together)
        return fits

    def _minimize_member(self, member: Member) -> Result:
        return self._minimize(member, member.number)

    def _minimize(self, obj: Objective, number: int) -> Result:
        warm_start, options = self._warm_starts[number], self.options
        run = Run(
            obj,
            tol=options.tol,
            max_iter=options.max_iter,
            callback=None,
            warm_start=warm_start,
            moments=self.rows.moments if warm_start.last is None else None,
        )
        run.callback = self._watch(run)
        result = run_solver(run, warm_start.start(run), options.solver, finished=False)
        warm_start.keep(run)
        return result

    def _watch(self, run: Run) -> Callable[[Step], None]:
        """What ends a run before it has converged."""
        options, tried = self.options, math.inf
        may_lose = options.early and options.scoring == "log_loss" and len(self._fitted) == 1
        may_lose = may_lose and math.isfinite(self.best)
        values: list[float] = []
        least = SETTLED * float(np.finfo(self.rows.obj.dtype).eps)

        def watch(step: Step) -> None:
            nonlocal tried
            values.append(step.value)
            if len(values) > SETTLED_STEPS and values[-1 - SETTLED_STEPS] - step.value <= least * step.value:
                raise StopIteration(f"{SETTLED_WORDS} {least:.1g} of itself in {SETTLED_STEPS} steps")
            bound = step.gap_bound
            if not may_lose or bound is None or bound > FALLEN * tried or bound <= options.tol:
                return
            tried = bound
            lowest = self._lowest(run, math.sqrt(2.0 * bound * step.value / run.obj.l2))
            if lowest > self.best:
                self._lost_at = lowest
                raise StopIteration(f"its loss on the rows held out is at least {lowest:.6g}, the best {self.best:.6g}")

        return watch

    def _lowest(self, run: Run, radius: float) -> float:
        """A lower bound on the loss that a run can end at."""
        if self._bound is None:
            self._bound = LossBound(self.held[0])
        return self._bound(self.rows.held_theta(run.theta), radius)


def is_settled(fit: Result, tol: float) -> bool:
    """Whether a fit has converged, or ended so near that only rounding is left."""
    rounding = any(words in fit.message for words in (SETTLED_WORDS, "because rounding hides"))
    return fit.converged or (fit.grad_norm <= NEAR * tol and rounding)


def choose(values: Sequence[Value], options: SweepOptions) -> int:
    """The number of the best value, the strongest of equals; or of the strongest within a standard error of it."""
    more, name = METRICS[options.scoring], options.scoring
    scored = [(i, value.metrics[name]) for i, value in enumerate(values) if value.metrics is not None]
    sign = -1.0 if more else 1.0
    best, measure = min(scored, key=lambda pair: (sign * pair[1].value, pair[0]))
    if not options.one_se:
        return best
    within = sign * measure.value + measure.error
    return next(i for i, found in scored if sign * found.value <= within)
