"""`Journal`: what an objective has answered a run, in order; from it the run is repeated without a pass over X.

A solver is a function of the answers that it gets: the same value and gradient make it take the same step, and which
threads computed them changes no bit. So no solver has to describe its memory (pairs of L-BFGS, metrics, Hessians, the
stage of "auto", what SciPy keeps in its own workspace). The run starts from the beginning, each question is answered
from the journal, and after the last answer every variable of every function has the value that it had. What the journal
does not hold, such as the minimum of a subsample, is computed anew, to the same bits.

Every answer is kept with a digest of the point that was asked for. Where a point differs, since another processor or
library rounds differently, the run cannot be repeated to its end, and `Departed` is raised.

A theta of n k numbers takes 8 n k bytes for each pass. Where that adds up to more than a limit the journal is given up,
and only iterates are kept from then on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...objective.problem import DesignMatrix, Problem

# A digest reads so many numbers of a point at most. One that differs by rounding differs in nearly all of them.
SAMPLED = 4096

Parts = tuple[Any, ...]  # arrays and floats
# What `Run.ask` takes: the kind of a question, its point, and the function that computes the answer.
Ask = Callable[[str, np.ndarray, Callable[[], Parts]], Parts]


def directly(what: str, point: np.ndarray, compute: Callable[[], Parts]) -> Parts:
    """The answer of a question that no journal keeps."""
    return compute()


class Unfit(Exception):
    """Raised where a kept answer is none to its question: it has other parts, or parts of other shapes."""


class Departed(Exception):
    """Raised where a repeated run asks for another point than the one in the journal."""


@dataclass(frozen=True)
class Answer:
    """What an objective answered.

    Attributes
    ----------
    what : str
        The kind of the question: "gram", "value", "product", ...
    digest : str
        Of the point.
    passes : int
        Passes over X that it took.
    seconds : float
        Since the run began.
    parts : tuple of ndarray and float
    """

    what: str
    digest: str
    passes: int
    seconds: float
    parts: Parts

    @property
    def size(self) -> int:
        """Bytes of the parts."""
        return sum(np.asarray(part).nbytes for part in self.parts)


class Journal:
    """The answers to a run, new ones and those that are repeated.

    Parameters
    ----------
    answers : list of Answer
        Those to repeat, of a run that was interrupted.
    most_bytes : int
        The limit of this file's head.
    begun : Answer, optional
        That of a walk over the rows which has not ended: how many chunks are done, and the state after them.
    check : callable, optional
        Called with the first value and gradient, computed anew, and those in the journal: raises if the data are
        others.
    after : callable, optional
        Called after each new answer, and between the chunks of a walk.

    Attributes
    ----------
    complete : bool
        Whether all answers are there: False once they have exceeded ``most_bytes``.
    iterate : callable or None
        Returns the run's current theta, value and gradient; set by the run at its first iterate.
    steps, passes : int
        Iterates so far, and passes that were not made again.
    moments : list of Answer
        Those about the moments of X, which come first, and are kept even if all are not.
    """

    def __init__(
        self,
        answers: list[Answer] | None = None,
        *,
        most_bytes: int,
        begun: Answer | None = None,
        check: Callable[[Answer, Answer], None] | None = None,
        after: Callable[[], None] | None = None,
    ) -> None:
        self.answers = [] if answers is None else answers
        self.begun, self.most_bytes, self.complete = begun, most_bytes, True
        self.iterate: Callable[[], tuple[np.ndarray, float, np.ndarray]] | None = None
        self.steps = self.passes = 0
        self.moments = [answer for answer in self.answers if answer.what == "gram"]
        self._check, self._after = check, after
        self._repeated = 0
        self._bytes = sum(answer.size for answer in self.answers)
        self._before, self._since = 0.0, time.perf_counter()

    @property
    def repeating(self) -> bool:
        """Whether the next answer is an old one."""
        return self._repeated < len(self.answers)

    @property
    def seconds(self) -> float:
        """Since the run began, without the time between an interruption and the end of the repetition."""
        return self._before if self.repeating else self._before + time.perf_counter() - self._since

    def ask(self, obj: Problem, what: str, point: np.ndarray, compute: Callable[[], Parts]) -> Parts:
        """What ``compute`` returns, or returned in the run that is repeated."""
        if self.repeating:
            return self._repeat(what, point, compute)
        before = obj.n_passes
        parts = compute()
        self._keep(Answer(what, digest(point), obj.n_passes - before, self.seconds, parts))
        if self._after is not None:
            self._after()
        return parts

    def _keep(self, answer: Answer) -> None:
        """Add a copy of an answer, since solvers may write to what they get."""
        self.begun = None
        if answer.what == "gram":
            self.moments.append(answer)
        if not self.complete:
            return
        self._bytes += answer.size
        if self._bytes > self.most_bytes:
            self.complete, self.answers, self._repeated = False, [], 0
            return
        answer = replace(answer, parts=_copied(answer.parts))
        self.answers.append(answer)
        self._repeated = len(self.answers)

    def _repeat(self, what: str, point: np.ndarray, compute: Callable[[], Parts]) -> Parts:
        answer = self.answers[self._repeated]
        asked = what, digest(point)
        same = asked == (answer.what, answer.digest)
        if self._check is not None and not (same and what == "gram"):
            self._check(Answer(*asked, 1, 0.0, compute()), answer)
            self._check = None
        elif same:
            self.passes += answer.passes
        if not same:
            raise Departed
        if not _fits(answer, point):
            raise Unfit(f"answer {self._repeated} has no parts of a {what!r}")
        self._repeated += 1
        self._before, self._since = answer.seconds, time.perf_counter()
        return _copied(answer.parts)

    def walk_begun(self, point: np.ndarray) -> Parts | None:
        """What `between_chunks` was given last in a walk from this point that was interrupted; else None."""
        begun = self.begun
        return _copied(begun.parts) if begun is not None and begun.digest == digest(point) else None

    def between_chunks(self, point: np.ndarray, state: Parts) -> None:
        """Called in a walk from a point after each of its chunks."""
        self.begun = Answer("walk", digest(point), 0, self.seconds, _copied(state))
        if self._after is not None:
            self._after()


class RepeatedDesign:
    """The rows in the coordinates of a metric (`problem.DesignMatrix`) whose sums are questions of a run.

    Parameters
    ----------
    rows : DesignMatrix
    ask : callable
        `Run.ask`.
    """

    def __init__(self, rows: DesignMatrix, ask: Ask) -> None:
        self._rows, self._ask = rows, ask
        self.longest = 0.0

    def pair_grams(self, phi: np.ndarray) -> np.ndarray:
        grams: np.ndarray = self._sweep("hessian", phi, lambda: self._rows.pair_grams(phi))
        return grams

    def range(self, phi: np.ndarray) -> float:
        return float(self._sweep("range", phi, lambda: self._rows.range(phi)))

    def gram(self, factor: float) -> np.ndarray:
        grams: np.ndarray = self._sweep("design", np.array([factor]), lambda: self._rows.gram(factor))
        return grams

    def _sweep(self, what: str, point: np.ndarray, compute: Callable[[], Any]) -> Any:
        def both() -> Parts:
            answer = compute()
            return answer, self._rows.longest

        answer, self.longest = self._ask(what, point, both)
        return answer


def _fits(answer: Answer, point: np.ndarray) -> bool:
    """Whether the parts of an answer are finite and, of those shaped like the point, have its shape."""
    shapes = [part.shape if isinstance(part, np.ndarray) else () for part in answer.parts]
    wanted = {"value": [(), point.shape], "product": [point.shape]}.get(answer.what, shapes)
    return shapes == wanted and all(np.isfinite(part).all() for part in answer.parts)


def digest(point: np.ndarray) -> str:
    """Of the shape and of evenly spread numbers of an array."""
    flat = point.ravel()
    some = np.ascontiguousarray(flat[:: max(1, flat.size // SAMPLED)])
    return hashlib.blake2b(f"{point.shape}".encode() + some.tobytes(), digest_size=8).hexdigest()


def _copied(parts: Parts) -> Parts:
    return tuple(part.copy() if isinstance(part, np.ndarray) else part for part in parts)
