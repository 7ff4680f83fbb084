"""Several models of the same data minimized in lock-step, so that they share passes over X.

Every model is minimized by a solver of its own in a thread of its own, as it would be alone. The threads run in turn
with passes: once every model that still runs has asked for a value and gradient, one pass of a `StackedObjective`
answers them all.

    thread 0    step | ask .......... | step | ask ..... | step, converged
    thread 1    step step | ask ..... | step | ask ..... | step | ask ...
    caller                | one pass  |      | one pass  |      | one pass, of fewer models

Which kernel runs depends on how many models are still active, so the last bits may differ from a fit alone; repeated
runs are identical.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..kernels.machine.refused import warn_of_refused_threads
from ..objective.stacked import Member, StackedObjective
from .minimize import blas_for, run_solver
from .result import Result
from .run import Run
from .warm_start import WarmStart


class Abandoned(Exception):
    """Raised in the threads of the other models once one has failed, to end them."""


class LockStep:
    """Runs a function of each `Member` of a stacked objective in a thread of its own, and answers what they ask for in
    shared passes."""

    def __init__(self, stacked: StackedObjective) -> None:
        self._stacked = stacked
        # The guard protects the fields below. Each thread waits on a lock of its own for its answer, and the caller on
        # a semaphore for the last of them to ask: with one condition for all, each change would wake all threads.
        self._guard, self._all_asked = threading.Lock(), threading.Semaphore(0)
        self._wake: dict[int, threading.Lock] = {}
        self._asked: dict[int, np.ndarray] = {}
        self._answers: dict[int, tuple[float, np.ndarray]] = {}
        self._computing = 0  # models that have neither asked nor ended
        self._error: BaseException | None = None

    def ask(self, number: int, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Called in a model's thread: waits for the pass that has the answer."""
        with self._guard:
            if self._error is not None:
                raise Abandoned
            self._asked[number] = theta
            self._one_less()
        self._wake[number].acquire()
        if self._error is not None:
            raise Abandoned
        return self._answers.pop(number)

    def run(self, solve: Callable[[Member], Any], models: Sequence[int]) -> list[Any]:
        """What ``solve`` returns for each model; the first error of any is raised here. Where the system refuses
        threads, the models take turns."""
        results: dict[int, Any] = {}
        while left := [i for i in models if i not in results]:
            if self._run_in_threads(solve, left, results) == 0:
                results[left[0]] = solve(Member(self._stacked, left[0]))
        return [results[i] for i in models]

    def _run_in_threads(self, solve: Callable[[Member], Any], models: Sequence[int], results: dict[int, Any]) -> int:
        """Run the models in lock-step, or the first of them, as many as get a thread; returns how many do."""

        def work(member: Member) -> None:
            try:
                results[member.number] = solve(member)
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                self._abandon(error)
            finally:
                with self._guard:
                    self._one_less()

        threads: list[threading.Thread] = []
        self._computing = len(models)
        try:
            self._start(work, models, threads)
            while self._answer_all():
                pass
        except BaseException as error:
            self._abandon(error)
            raise
        finally:
            for thread in threads:
                thread.join()
        return len(threads)

    def _start(self, work: Callable[[Member], None], models: Sequence[int], threads: list[threading.Thread]) -> None:
        """Start a thread for each model and add it to ``threads``, as long as the system starts any."""
        try:
            for i in models:
                self._wake[i] = threading.Lock()
                self._wake[i].acquire()
                thread = threading.Thread(target=work, args=(Member(self._stacked, i, self.ask),), daemon=True)
                thread.start()
                threads.append(thread)
        except RuntimeError:  # what Python raises where the system refuses a thread
            with self._guard:
                self._one_less(len(models) - len(threads))
            warn_of_refused_threads(len(threads), len(models))

    def _one_less(self, count: int = 1) -> None:
        """A model has asked or ended, or several have; the caller holds the guard."""
        self._computing -= count
        if self._computing == 0:
            self._all_asked.release()

    def _abandon(self, error: BaseException) -> None:
        """Keep the first error, and wake all who wait."""
        with self._guard:
            if self._error is None:
                self._error = error
                self._all_asked.release()
                for number in self._asked:
                    self._wake[number].release()

    def _answer_all(self) -> bool:
        """Wait until every running model has asked, and answer by one pass; False once none is running."""
        self._all_asked.acquire()
        with self._guard:
            if self._error is not None:
                raise self._error
            models = sorted(self._asked)
            thetas = [self._asked[i] for i in models]
        if not models:
            return False
        values, grads = self._stacked.value_and_grads(thetas, models)
        with self._guard:
            self._asked.clear()
            self._computing = len(models)
            for i, value, grad in zip(models, values, grads, strict=True):
                self._answers[i] = float(value), grad
                self._wake[i].release()
        return True


def minimize_all(
    stacked: StackedObjective,
    warm_starts: Sequence[WarmStart],
    *,
    solver: str,
    tol: float,
    max_iter: int,
    similar_run: Run,
    together: bool = True,
) -> list[Result]:
    """Minimize all models of a stacked objective, each from its own warm start, which then keeps the run.

    Parameters
    ----------
    stacked : StackedObjective
    warm_starts : sequence of WarmStart
        One for each model.
    solver, tol, max_iter
        As `minimize` takes them.
    similar_run : Run
        A run on all rows: its moments of X serve every model.
    together : bool
        In lock-step; else one model after the other. The latter suits Newton's method, whose Hessians would fill
        memory and cannot share a pass, and passes that take less time than a step's Python code, where threads would
        only wait for each other.

    Returns
    -------
    list of Result
    """

    def solve(member: Member) -> Result:
        warm_start = warm_starts[member.number]
        run = Run(member, tol=tol, max_iter=max_iter, callback=None, warm_start=warm_start, similar_run=similar_run)
        result = run_solver(run, warm_start.start(run), solver, finished=False)
        warm_start.keep(run)
        return result

    return run_all(stacked, solve, range(len(stacked)), together=together)


def run_all(
    stacked: StackedObjective, solve: Callable[[Member], Any], models: Sequence[int], *, together: bool
) -> list[Any]:
    """What ``solve`` returns for some models of a stacked objective, in lock-step or one after the other."""
    with blas_for(stacked.obj):
        if together and len(models) > 1:
            return LockStep(stacked).run(solve, models)
        return [solve(Member(stacked, i)) for i in models]
