"""The file of a checkpoint: a `data.archive` with what it is of, the start of the run, and its answers in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...data.archive import read_archive, write_archive
from .journal import Answer, Parts

FORMAT, FORMAT_VERSION = "fastsoftmax checkpoint", 1


class Counts(NamedTuple):
    """How far a run has come."""

    steps: int = 0
    passes: int = 0
    seconds: float = 0.0


@dataclass
class Saved:
    """The contents of a checkpoint.

    Attributes
    ----------
    facts, machine : dict
        See `facts`.
    start : ndarray or None
        Theta at the beginning of ``answers``, in the coordinates of the run; None for the start that the caller gave.
    answers : list of Answer
        Since then; the only one is that at ``start`` where the others took too much memory.
    begun : Answer or None
        A walk over the rows that was going on.
    iterate : ndarray or None
        The run's theta.
    before, now : Counts
        At ``start``, and at the iterate.
    why : str
        Why the run went on from ``start`` and not from its beginning.
    """

    facts: dict[str, Any]
    machine: dict[str, Any]
    start: np.ndarray | None = None
    answers: list[Answer] = field(default_factory=list)
    begun: Answer | None = None
    iterate: np.ndarray | None = None
    before: Counts = Counts()
    now: Counts = Counts()
    why: str = ""


def write(path: Path, saved: Saved) -> None:
    """Write a checkpoint, whole or not at all."""
    arrays: list[np.ndarray] = []

    def packed(value: Any) -> Any:
        """An answer or array as JSON that refers to the arrays; None as it is."""
        if value is None:
            return None
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return len(arrays) - 1
        parts = [packed(p) if isinstance(p, np.ndarray) else float(p).hex() for p in value.parts]
        return [value.what, value.digest, value.passes, value.seconds, parts]

    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "facts": saved.facts,
        "machine": saved.machine,
        "counts": [list(saved.before), list(saved.now)],
        "why": saved.why,
        "start": packed(saved.start),
        "iterate": packed(saved.iterate),
        "begun": packed(saved.begun),
        "answers": [packed(answer) for answer in saved.answers],
    }
    write_archive(path, header, arrays)


def read(path: Path) -> Saved:
    """A checkpoint that `write` wrote.

    Raises
    ------
    ValueError
        For a damaged file, another one, or one of a later version.
    """
    header, arrays = read_archive(path, FORMAT, FORMAT_VERSION)

    def unpacked(value: Any) -> Answer:
        what, digest, passes, seconds, parts = value
        return Answer(str(what), str(digest), int(passes), float(seconds), _parts(parts))

    def _parts(packed: list[Any]) -> Parts:
        return tuple(float.fromhex(p) if isinstance(p, str) else array(p) for p in packed)

    def array(number: int) -> np.ndarray:
        out = arrays[number]
        if out.dtype.kind not in "fiub":
            raise ValueError(f"array {number} has dtype {out.dtype}")
        return out

    def theta(number: int | None) -> np.ndarray | None:
        if number is None:
            return None
        out = array(number).astype(np.float64)
        if not np.isfinite(out).all():
            raise ValueError(f"array {number} holds a theta that is not finite")
        return out

    try:
        begun = header["begun"]
        before, now = (Counts(int(a), int(b), float(c)) for a, b, c in header["counts"])
        return Saved(
            facts=dict(header["facts"]),
            machine=dict(header["machine"]),
            start=theta(header["start"]),
            answers=[unpacked(each) for each in header["answers"]],
            begun=None if begun is None else unpacked(begun),
            iterate=theta(header["iterate"]),
            before=before,
            now=now,
            why=str(header["why"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise ValueError(f"{path} has a header that cannot be read: {error}") from error
