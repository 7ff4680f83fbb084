"""Several models of the same data, minimised in lock-step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..objective.stacked import FoldSource, StackedObjective
from .minimize import blas_for, run_solver
from .result import Result
from .run import Run
from .warm_start import WarmStart


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
    trails: Sequence[WarmStart],
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
