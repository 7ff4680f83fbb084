"""Times passes of one revision of fastsoftmax, as another process asks for them: that is `benchmarks.revisions`.

    python benchmarks/harness/revision_worker.py FOLDER THREADS

FOLDER holds the revision, built in place. Questions come in on stdin and answers go out on stdout, a line of JSON each:

    {"ask": "backends"}                                                    {"package": ..., "backends": ["numpy", ...]}
    {"ask": "load", "case": "500k-f32"}                                    {}
    {"ask": "start", "operation": "hess_prod", "backend": "cython"}        {"answer": [0.31]}
    {"ask": "time", "operation": "hess_prod", "backend": "cython",
     "pause": 0.25}                                                        {"ms": 7.93}

or {"error": why}. A case is loaded once and stays until the next one; so do the passes started on it.

Of FOLDER this file uses only what has been public since version 0.1: `Objective`, `predict_proba` and `backends`. It is
run by its path, because ``-m benchmarks...`` would find FOLDER's own benchmarks. ``cases`` and ``timing`` are the files
beside this one: both revisions get the same data and are timed in the same way, whatever their own benchmarks do.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Json = dict[str, Any]
# A turn times as many passes as take this long, one at least, and answers with their median: single passes of a few
# milliseconds differ by more than what is looked for.
TURN_SECONDS = 0.02


def make_call(problem: Any, operation: str, backend: str, n_threads: int) -> Callable[[], Any]:
    """One pass as a function without arguments."""
    import fastsoftmax

    X, theta, case = problem.X, problem.theta, problem.case
    if operation == "predict":
        return partial(fastsoftmax.predict_proba, X, theta, backend=backend, n_threads=n_threads)
    objective = fastsoftmax.Objective(X, problem.y, case.k, backend=backend, n_threads=n_threads)
    if operation == "hess_prod":
        return partial(objective.hess_prod, theta, _direction(theta))
    if case.dx:
        return partial(objective.evaluate, theta, dX=True)
    return partial(objective.value_and_grad, theta)


def _direction(theta: np.ndarray) -> np.ndarray:
    """The v of Hessian products."""
    return theta[::-1].copy()


def digest(operation: str, answer: Any, theta: np.ndarray) -> list[float]:
    """A few numbers by which two revisions' answers can be compared.

    Each is a mean over all rows of a term of about unit size, so that rounding errors are in proportion to 1.
    """
    if operation == "predict":
        return [float(np.mean(np.einsum("ij,ij->i", answer, answer, dtype=np.float64)))]
    if operation == "hess_prod":
        return [float(np.sum(_direction(theta) * answer, dtype=np.float64))]
    value, grad = answer if isinstance(answer, tuple) else (answer.value, answer.grad)
    return [float(value), float(np.sum(theta * grad, dtype=np.float64))]


def turn(call: Callable[[], Any], pause: float) -> float:
    """Milliseconds of a pass, after a rest and untimed passes that wake the cores."""
    import timing

    spent: list[float] = []
    gc.collect()
    gc.disable()
    try:
        time.sleep(pause)
        timing.wake(call)
        while sum(spent) < TURN_SECONDS:
            begin = time.perf_counter()
            call()
            spent.append(time.perf_counter() - begin)
    finally:
        gc.enable()
    return 1e3 * timing.median(spent)


class Worker:
    """What this process holds: a case and the passes started on it. Each method answers a question of its name."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self.problem: Any = None
        self.calls: dict[tuple[str, str], Callable[[], Any]] = {}

    def backends(self) -> Json:
        import fastsoftmax

        known = fastsoftmax.backends()
        return {"package": fastsoftmax.__file__, "backends": [name for name, row in known.items() if row["available"]]}

    def load(self, case: str) -> Json:
        from cases import CASES, make_problem

        self.calls.clear()
        self.problem = None
        gc.collect()  # the old X is gone before the new one comes
        self.problem = make_problem(CASES[case])
        return {}

    def start(self, operation: str, backend: str) -> Json:
        call = make_call(self.problem, operation, backend, self.n_threads)
        answer = digest(operation, call(), self.problem.theta)
        self.calls[operation, backend] = call
        return {"answer": answer}

    def time(self, operation: str, backend: str, pause: float) -> Json:
        return {"ms": turn(self.calls[operation, backend], pause)}


def main() -> None:
    folder, n_threads = sys.argv[1], int(sys.argv[2])
    sys.path[:0] = [folder, str(Path(__file__).parent)]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else prints does so on stderr
    import timing

    timing.fix_threads(n_threads)
    worker = Worker(n_threads)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(worker, question.pop("ask"))(**question)
        except Exception as error:  # a pass that one revision cannot do is an answer, too
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
