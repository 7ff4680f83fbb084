"""`Checkpoint`, where and how often a run is kept; `kept`, which runs a solver with one."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...data import validation
from ...objective.problem import Problem
from ..result import Result, counted
from .facts import facts_of, machine_of, refuse_other, refuse_other_data
from .file import Counts, Saved, read, write
from .journal import Answer, Departed, Journal, Unfit, digest

# After a writing the next one waits for so many times as long as it took, unless it goes by passes.
REST = 20.0
# Labels are kept in full up to so many characters.
NAMED = 10_000


@dataclass(frozen=True)
class Checkpoint:
    """A file that a run is kept in, and how often.

    A run that goes on from it (``resume=True``, with the same data and options) takes the same steps as one that was
    never interrupted, to the last bit, and `Result.resumed` says so, or why not. It begins with a pass over X, to
    compare the data; the passes before the interruption are not made again.

    The file is complete at every moment: it is written under another name, brought to disk, and renamed. A process that
    is killed loses what it has done since the last writing. Ctrl-C, or an error, writes once more. It holds numbers and
    JSON, no code.

    Parameters
    ----------
    path : str or Path
    resume : bool
        Go on from the file if it is there, else begin. Without it a file that is there is an error, so that none is
        lost.
    passes : int, optional
        Write after so many passes over X.
    minutes : float
        Write after so many minutes, at the end of a pass; for sgd also within one. Both count from the last writing.
        By minutes, writing takes at most a twentieth of the time.
    most_bytes : int
        The file grows by the size of theta (8 n k bytes) with each pass. Where that would exceed this, it holds the
        iterate alone from then on: a run that goes on from it begins there with a solver that remembers nothing, and
        takes other steps.
    facts : dict, optional
        What else must be the same in a run that goes on: numbers and texts by name.

    Raises
    ------
    TypeError, ValueError
        For an argument of a wrong type or value.

    Examples
    --------
    >>> import tempfile, fastsoftmax
    >>> file = tempfile.mkdtemp() + "/run.npz"
    >>> obj = fastsoftmax.Objective([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], fit_intercept=True, l2=0.1)
    >>> first = fastsoftmax.minimize(obj, max_iter=2, checkpoint=file)
    >>> more = fastsoftmax.minimize(obj, checkpoint=fastsoftmax.Checkpoint(file, resume=True))
    >>> bool((more.theta == fastsoftmax.minimize(obj).theta).all())
    True
    """

    path: str | Path
    resume: bool = False
    passes: int | None = None
    minutes: float = 1.0
    most_bytes: int = 1 << 30
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"checkpoint must be a path or a Checkpoint; got {self.path!r}")
        if self.passes is not None:
            validation.check_count(self.passes, "passes")
        validation.check_real(self.minutes, "minutes")
        validation.check_count(self.most_bytes, "most_bytes")
        try:
            json.dumps(dict(self.facts))
        except (TypeError, ValueError) as error:
            raise TypeError(f"facts must be a dict of numbers and texts by name; got {self.facts!r}") from error

    @classmethod
    def of(cls, given: str | Path | Self) -> Checkpoint:
        """A path as a Checkpoint."""
        return given if isinstance(given, Checkpoint) else cls(given)

    def of_classes(self, classes: np.ndarray) -> Checkpoint:
        """With the labels among its facts."""
        labels = [label if isinstance(label, bool | int | float | str) else repr(label) for label in classes.tolist()]
        text = json.dumps(labels)
        named = labels if len(text) <= NAMED else f"{len(labels)} of digest {hashlib.sha256(text.encode()).hexdigest()}"
        return replace(self, facts={**self.facts, "classes": named})


RunFrom = Callable[[np.ndarray | None, int, Journal | None], Result]


def kept(
    checkpoint: Checkpoint,
    obj: Problem,
    theta0: np.ndarray,
    options: Mapping[str, Any],
    max_iter: int,
    run_from: RunFrom,
) -> Result:
    """What ``run_from`` returns for a start, a number of steps and a journal, with the journal kept in a checkpoint.

    ``options`` must be the same in a run that goes on. ``max_iter`` need not be: more steps may be wanted.
    """
    facts = facts_of(obj, theta0, {**options, **checkpoint.facts})
    keeper = Keeper(checkpoint, obj, json.loads(json.dumps(facts)))
    while True:
        try:
            result = run_from(keeper.start, max(1, max_iter - keeper.before.steps), keeper.journal)
        except Departed:
            keeper.depart()
        except Unfit as error:
            raise ValueError(f"{keeper.path} is damaged: its {error}") from None
        except BaseException as error:
            keeper.end(error)
            raise
        else:
            keeper.end(None)
            return keeper.told(result)


class Keeper:
    """Writes a run's checkpoint, and has what was read from it.

    Attributes
    ----------
    start : ndarray or None
        Where the run is to begin; None for the caller's start.
    before : Counts
        What lies before ``start``.
    journal : Journal
    """

    def __init__(self, checkpoint: Checkpoint, obj: Problem, facts: dict[str, Any]) -> None:
        self.path, self.options, self.obj = Path(checkpoint.path), checkpoint, obj
        self.facts, self.machine = facts, machine_of(obj)
        self._same_bits = True
        self._first_pass = obj.n_passes
        saved = self._read()
        self.saved = Saved(facts, self.machine) if saved is None else saved
        self.start, self.before = self.saved.start, self.saved.before
        self.journal = self._journal(self.saved.answers, self.saved.begun)
        self._written, self._written_passes, self._took = time.perf_counter(), obj.n_passes, 0.0
        if saved is None:
            self._write()  # which shows, before the work, whether that can be done

    def _read(self) -> Saved | None:
        if not self.path.exists():
            return None
        if not self.options.resume:
            raise FileExistsError(
                f"{self.path} is there already: go on from it (resume), or give the checkpoint another name"
            )
        saved = read(self.path)
        refuse_other(self.path, saved.facts, self.facts)
        for theta in (saved.start, saved.iterate):
            if theta is not None and theta.shape != self.obj.shape:
                raise ValueError(f"{self.path} is damaged: its theta has shape {theta.shape}, not {self.obj.shape}")
        return saved

    def _journal(self, answers: list[Answer], begun: Answer | None) -> Journal:
        most = self.options.most_bytes
        return Journal(answers, begun=begun, most_bytes=most, check=self._check, after=self._after)

    def _check(self, again: Answer, kept: Answer) -> None:
        same = self.saved.machine == self.machine
        self._same_bits = refuse_other_data(self.path, self.obj, again, kept, same_machine=same)
        if not self._same_bits:
            self.journal.begun = None  # chunks may be others

    def depart(self) -> None:
        """Go on from the iterate alone, since the run cannot be repeated."""
        self.saved.why = "another version of a library, or another machine, rounds in another way"
        self.start, self.before = self.saved.iterate, self.saved.now
        self.journal = self._journal([], None)
        self._first_pass = self.obj.n_passes

    # --------------------------------------------------------------------------------------------------- writing

    def _after(self) -> None:
        """Write if it is time to."""
        waited = time.perf_counter() - self._written
        by_passes = self.options.passes and self.obj.n_passes - self._written_passes >= self.options.passes
        if by_passes or waited >= max(60.0 * self.options.minutes, REST * self._took):
            self._try_to_write()

    def _try_to_write(self) -> bool:
        """Write; where that fails, warn, since the run is worth more than its checkpoint. Whether it was written."""
        try:
            self._write()
        except OSError as error:
            self._written, self._written_passes = time.perf_counter(), self.obj.n_passes
            warnings.warn(
                f"the checkpoint {self.path} was not written ({error.strerror or error}); the one before stays, and the"
                " run goes on",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        return True

    def _write(self) -> None:
        began = time.perf_counter()
        write(self.path, self._now())
        self._written, self._written_passes = time.perf_counter(), self.obj.n_passes
        self._took = self._written - began

    def _now(self) -> Saved:
        """What the file is to hold."""
        journal = self.journal
        now = Counts(
            self.before.steps + journal.steps,
            self.before.passes + journal.passes + self.obj.n_passes - self._first_pass,
            self.before.seconds + journal.seconds,
        )
        saved = Saved(self.facts, self.machine, self.start, journal.answers, journal.begun)
        saved.before, saved.now, saved.why = self.before, now, self.saved.why
        if journal.iterate is not None:
            theta, value, grad = journal.iterate()
            saved.iterate = theta
            if not journal.complete:
                saved.why = f"what its solver had been told took more than most_bytes = {self.options.most_bytes}"
                saved.start, saved.before = theta, now
                saved.answers = [*journal.moments, Answer("value", digest(theta), 1, 0.0, (value, grad))]
        return saved

    def end(self, error: BaseException | None) -> None:
        """Write a last time, unless the file holds more than the run has repeated so far; tell an error where it is."""
        if not self.journal.repeating and self._try_to_write() and error is not None:
            error.add_note(f"The run until here is in the checkpoint {self.path}.")

    # --------------------------------------------------------------------------------------------------- telling

    def told(self, result: Result) -> Result:
        """The result, which says where it went on from a checkpoint."""
        return replace(result, resumed=self._resumed()) if self.saved.now.passes else result

    def _resumed(self) -> str:
        now = self.saved.now
        done = f"after {counted(now.passes, 'pass')} in {now.seconds:.3g} s"
        if self.saved.why:
            return (
                f"{done}, from an iterate alone, since {self.saved.why}: the steps after it are not those of a run"
                " without the interruption"
            )
        if not self._same_bits:
            return f"{done} by other kernels or on another machine: the last bits may differ from those of one run"
        return f"{done}, to the same bits as without the interruption"
