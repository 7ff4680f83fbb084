"""The report of ``python -m fastsoftmax.accel --report``: which fits ran where, how long they took, why any fell back.

Every process that fits appends a line for each fit to a file of its own, in a folder that the environment names, so
that worker processes have their part in the report.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .imports import after_import

if TYPE_CHECKING:
    from ..sklearn.fit_log import FitRecord

VARIABLE = "FASTSOFTMAX_ACCEL_REPORT"  # the folder
LOG = "fastsoftmax.sklearn.fit_log"
MOST_LINES = 40
# Where a fit may have run: what the summary says of it.
RAN_ON = {
    "fastsoftmax": "by fastsoftmax in",
    "scikit-learn": "by scikit-learn in",
    "neither": "that raised an error after",
}
HEADINGS = ("estimator", "X", "classes", "ran on", "fits", "total s", "median s", "processes")


def watch_if_asked() -> None:
    """Write down the fits of this process, if the environment names a folder for that."""
    if VARIABLE in os.environ:
        after_import(LOG, _observe)


def _observe() -> None:
    from ..sklearn.fit_log import observers

    if _append not in observers:
        observers.append(_append)


def _append(record: FitRecord) -> None:
    folder = os.environ.get(VARIABLE)
    if folder is not None and os.path.isdir(folder):  # a process may outlive the one that reports
        with open(Path(folder, f"{os.getpid()}.jsonl"), "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record)) + "\n")


def text_of_folder(folder: str | os.PathLike[str]) -> str:
    """The report of what processes have written into a folder."""
    fits = [
        {"process": file.stem} | json.loads(line)
        for file in sorted(Path(folder).glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return "\n".join(lines_of(fits))


def lines_of(fits: Sequence[dict[str, Any]]) -> Iterable[str]:
    """The report's lines: a summary, a table with a row for fits alike, the longest first, and the reasons."""
    yield f"fastsoftmax.accel: {_summary(fits)}"
    if not fits:
        return
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    reasons: list[str] = []
    for fit in fits:
        key = (fit["estimator"], tuple(fit["shape"]), fit["n_classes"], fit["ran_on"], fit["reason"])
        groups.setdefault(key, []).append(fit)
        if fit["reason"] and fit["reason"] not in reasons:
            reasons.append(fit["reason"])
    ordered = sorted(groups.items(), key=lambda item: -sum(fit["seconds"] for fit in item[1]))
    yield from _table([HEADINGS, *(_cells(key, alike, reasons) for key, alike in ordered[:MOST_LINES])])
    if len(ordered) > MOST_LINES:
        rest = [fit for _, alike in ordered[MOST_LINES:] for fit in alike]
        yield f"and of other shapes {_summary(rest)}"
    for number, reason in enumerate(reasons, 1):
        yield f"[{number}] {reason}"


def _summary(fits: Sequence[dict[str, Any]]) -> str:
    parts = []
    for name, what in RAN_ON.items():
        seconds = [fit["seconds"] for fit in fits if fit["ran_on"] == name]
        if seconds or name != "neither":
            parts.append(f"{len(seconds)} fit{'' if len(seconds) == 1 else 's'} {what} {sum(seconds):.3g} s")
    return ", ".join(parts)


def _cells(key: tuple[Any, ...], alike: Sequence[dict[str, Any]], reasons: Sequence[str]) -> tuple[str, ...]:
    estimator, shape, n_classes, ran_on, reason = key
    seconds = [fit["seconds"] for fit in alike]
    where = f"{ran_on} [{reasons.index(reason) + 1}]" if reason else ran_on
    times = (f"{sum(seconds):.3g}", f"{statistics.median(seconds):.3g}")
    processes = str(len({fit["process"] for fit in alike}))
    k = "" if n_classes is None else str(n_classes)
    return (estimator, " x ".join(map(str, shape)), k, where, str(len(alike)), *times, processes)


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Columns as wide as their widest cell: text to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text = {0, 1, 3}
    for row in rows:
        cells = [
            cell.ljust(width) if place in text else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
