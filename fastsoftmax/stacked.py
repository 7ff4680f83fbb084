"""Several models of the same data, evaluated in one pass over X, and minimised in lock-step.

Parameters lie side by side, theta (n, L k): X is read, packed and transposed once for all models. The models differ in
the fold that each leaves out. Five models of 10 classes on 60k x 784 cost 3.6 passes of one, of 7 classes on 200k x 54
3.5, on digits 2.6.

Every model is minimised by a solver of its own in a thread of its own, as it would be alone. Where all that still
run have asked for a value and gradient, one pass answers them:

    thread 0    step | ask .......... | step | ask ..... | step, converged
    thread 1    step step | ask ..... | step | ask ..... | step | ask ...
    caller                | one pass  |      | one pass  |      | one pass, of fewer models

The cut of the pass stays that of all models. What loops work on it goes by the classes of those that still run, and
with the loops the last bits; who runs is the same each time, and so are they.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .kernels import Parameters, Rows, Sums, select
from .kernels.plan import make_plan
from .objective import Objective
from .solvers import Result, blas_for, run_solver
from .solvers.result import Run
from .solvers.trail import Trail


class StackedObjective:
    """Objectives that share the data of one, each without the rows of a fold.

    Parameters
    ----------
    obj : Objective
        With dense X and labels, not smoothed. Its l2 is that of every model; set ``l2`` to change it.
    fold : int32 ndarray (m,)
        Number of each row's fold.
    left_out : int32 ndarray (L,)
        The fold that each model leaves out, -1 for none.

    Attributes
    ----------
    shape : tuple of int
        Shape of one model's theta.
    n_passes : int
        Passes over X for values and gradients so far, of however many models.
    weight_sums, held_sums : ndarray (L,)
        Weights of the rows that each model has, and of those it leaves out.

    Raises
    ------
    ValueError
        For soft targets or smoothed labels, and for a model without rows of positive weight.
    """

    def __init__(self, obj: Objective, fold: np.ndarray, left_out: np.ndarray) -> None:
        if obj.source.y is None or obj.source.smoothing:
            raise ValueError("several models in one pass take labels, neither soft targets nor smoothed labels")
        self.obj, self.l2 = obj, obj.l2
        self.fold, self.left_out = np.ascontiguousarray(fold, np.int32), np.ascontiguousarray(left_out, np.int32)
        self.shape, self.n_passes = obj.shape, 0
        w = obj.source.w
        self.held_sums = np.array([np.sum(self.fold == f) if w is None else w[self.fold == f].sum() for f in left_out])
        self.weight_sums = obj.weight_sum - self.held_sums
        if not self.weight_sums.min(initial=np.inf) > 0:
            raise ValueError(f"model {int(self.weight_sums.argmin())} has no row of positive weight outside its fold")
        m, n = obj.source.shape
        classes = obj.n_classes * len(self.left_out)
        self.plan = make_plan(m, n, classes, obj.source.dtype, strategy="row-parallel", **obj.source.hints)

    def __len__(self) -> int:
        return len(self.left_out)

    def value_and_grads(
        self, thetas: Sequence[np.ndarray], models: Sequence[int] | None = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Values and gradients of some models (all, unless ``models`` numbers them) at their thetas, in one pass."""
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

    def held_out(self, thetas: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean loss and share of right labels, by weight, of the rows that each model leaves out; NaN for none."""
        sums = self._pass(thetas, range(len(self)), held=True)
        assert sums.held is not None
        total = np.add.reduce(sums.held, axis=0) * self.obj.weight_sum
        with np.errstate(invalid="ignore"):
            mean = total / self.held_sums[:, None]
        return mean[:, 0], mean[:, 1]

    def _pass(self, thetas: Sequence[np.ndarray], models: Any, *, grad: bool = False, held: bool = False) -> Sums:
        obj, n = self.obj, self.obj.n_features
        stacked = np.hstack(thetas).astype(obj.source.dtype, copy=False)
        params = Parameters(
            np.ascontiguousarray(stacked[:n]),
            stacked[n] if obj.fit_intercept else None,
            len(thetas),
            np.ascontiguousarray(self.left_out[list(models)]),
        )
        scale, classes = 1.0 / obj.weight_sum, obj.n_classes * len(thetas)
        sums = Sums.zeros(self.plan.slabs, classes, n, scale, grad=grad, models=len(thetas), held=held)
        kernel, threads = select(obj.backend)[1].dense_value_and_grad, min(obj.n_threads, self.plan.threads)
        self.n_passes += 1
        for rows in obj.source.chunks(self.plan.chunk):
            fold = self.fold[rows.start : rows.start + len(rows.X)]
            kernel(replace(rows, fold=fold), params, self.plan, sums, threads)
        return sums


class FoldSource:
    """The rows of a source, those of one fold with weight 0; weights are made chunk by chunk."""

    def __init__(self, source: Any, fold: np.ndarray, left_out: int) -> None:
        self._source, self._fold, self._left_out = source, fold, left_out
        self.shape, self.dtype, self.hints = source.shape, source.dtype, source.hints
        self.y, self.smoothing = source.y, source.smoothing

    @property
    def w(self) -> np.ndarray:
        return self._weights(self._source.w, slice(None))

    def chunks(self, rows: int) -> Iterator[Rows]:
        for part in self._source.chunks(rows):
            yield replace(part, w=self._weights(part.w, slice(part.start, part.start + len(part.X))))

    def _weights(self, w: np.ndarray | None, rows: slice) -> np.ndarray:
        return np.where(self._fold[rows] == self._left_out, 0.0, 1.0 if w is None else w)


class Member:
    """One of the models, as a solver sees an objective; see `solvers.result.Problem`."""

    def __init__(self, stacked: StackedObjective, number: int, steps: LockStep | OneByOne) -> None:
        obj = stacked.obj
        self.number, self._steps, self._obj = number, steps, obj
        self.shape, self.l2, self.fit_intercept = stacked.shape, stacked.l2, obj.fit_intercept
        self.backend, self.n_threads, self.plan = obj.backend, obj.n_threads, obj.plan
        self.source = FoldSource(obj.source, stacked.fold, int(stacked.left_out[number]))
        self.weight_sum = float(stacked.weight_sums[number])
        self.n_passes = 0

    def value_and_grad(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        self.n_passes += 1
        return self._steps.ask(self.number, theta)

    def gram(self) -> np.ndarray:
        self.n_passes += 1
        return self._obj.gram()


class OneByOne:
    """Answers one model at a time, in the caller's thread."""

    def __init__(self, stacked: StackedObjective) -> None:
        self._stacked = stacked

    def ask(self, number: int, theta: np.ndarray) -> tuple[float, np.ndarray]:
        values, grads = self._stacked.value_and_grads([theta], [number])
        return float(values[0]), grads[0]


class Abandoned(Exception):
    """Raised in the threads of the other models where one has failed."""


class LockStep:
    """Runs functions of `Member` in threads, and answers what they ask for in passes for all of them."""

    def __init__(self, stacked: StackedObjective) -> None:
        self._stacked, self._news = stacked, threading.Condition()
        self._asked: dict[int, np.ndarray] = {}
        self._answers: dict[int, tuple[float, np.ndarray]] = {}
        self._running: set[int] = set()
        self._error: BaseException | None = None

    def ask(self, number: int, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Called in a model's thread: waits for the pass that has the answer."""
        with self._news:
            self._asked[number] = theta
            self._news.notify_all()
            self._news.wait_for(lambda: number in self._answers or self._error is not None)
            if self._error is not None:
                raise Abandoned
            return self._answers.pop(number)

    def run(self, solve: Callable[[Member], Any], models: Sequence[int]) -> list[Any]:
        """What ``solve`` returns for each model; the first error of any is raised here."""
        results: dict[int, Any] = {}

        def work(member: Member) -> None:
            try:
                results[member.number] = solve(member)
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                with self._news:
                    self._error = self._error or error
            finally:
                with self._news:
                    self._running.discard(member.number)
                    self._news.notify_all()

        self._running = set(models)
        threads = [threading.Thread(target=work, args=(Member(self._stacked, i, self),), daemon=True) for i in models]
        for thread in threads:
            thread.start()
        try:
            while self._answer_all():
                pass
        except BaseException as error:
            with self._news:
                self._error = error
                self._news.notify_all()
            raise
        finally:
            for thread in threads:
                thread.join()
        return [results[i] for i in models]

    def _answer_all(self) -> bool:
        """Wait until every model has asked, and answer; False once there is none left."""
        with self._news:
            self._news.wait_for(lambda: len(self._asked) == len(self._running) or self._error is not None)
            if self._error is not None:
                raise self._error
            models = sorted(self._asked)
            thetas = [self._asked.pop(i) for i in models]
        if not models:
            return False
        values, grads = self._stacked.value_and_grads(thetas, models)
        with self._news:
            for i, value, grad in zip(models, values, grads, strict=True):
                self._answers[i] = float(value), grad
            self._news.notify_all()
        return True


def minimize_all(
    stacked: StackedObjective,
    trails: Sequence[Trail],
    *,
    solver: str,
    tol: float,
    max_iter: int,
    known: Run,
    together: bool = True,
) -> list[Result]:
    """Minimise all models of a stacked objective, each from where its trail points; each then goes on with this run.

    ``known`` is a run on all rows, whose moments of X serve all models.
    ``together=False`` takes one after the other: Newton's Hessians would fill memory and cannot share a pass, and where
    a pass takes less time than a step's Python, threads only wait for each other.
    """

    def solve(member: Member) -> Result:
        trail = trails[member.number]
        run = Run(member, tol=tol, max_iter=max_iter, callback=None, trail=trail, known=known)
        result = run_solver(run, trail.start(run), solver)
        trail.keep(run)
        return result

    models = range(len(stacked))
    with blas_for(stacked.obj):
        if together:
            return LockStep(stacked).run(solve, models)
        return [solve(Member(stacked, i, OneByOne(stacked))) for i in models]
