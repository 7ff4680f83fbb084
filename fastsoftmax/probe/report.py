"""The outcome of a sweep for people and programs: a table, JSON, a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from .. import _extras
from .sweep import SweepOptions, Value
from .validation import METRICS, Measure


class ProbeReport:
    """What `LinearProbe.fit` found.

    Attributes
    ----------
    values : sequence of Value
        The strongest penalty first.
    chosen : int
    options : SweepOptions
    about : dict
        Rows, features, classes and the like.
    """

    def __init__(self, values: Sequence[Value], chosen: int, options: SweepOptions, about: dict[str, Any]) -> None:
        self.values, self.chosen, self.options, self.about = values, chosen, options, about

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """A line for each value of the grid; the chosen one is marked."""
        lines = ["  " + "".join(f"{head:>{width}}" for head, width in zip(_HEADS, _WIDTHS, strict=True))]
        for i, value in enumerate(self.values):
            cells = [f"{value.C:.3g}", f"{value.l2:.3g}", *_cells(value), str(value.passes), f"{value.seconds:.2f}"]
            mark = "> " if i == self.chosen else "  "
            lines.append(mark + "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """What `to_json` writes."""
        return {
            **self.about,
            "scoring": self.options.scoring,
            "rule": "one_se" if self.options.one_se else "best",
            "chosen": self.chosen,
            "C": self.values[self.chosen].C,
            "l2": self.values[self.chosen].l2,
            "values": [value.facts() for value in self.values],
        }

    def to_json(self) -> str:
        """All numbers as one JSON object. A standard error of a single row is null."""
        return json.dumps(_finite(self.to_dict()))

    def plot(self, path: str | PathLike[str]) -> None:
        """Draw the metrics by l2, with their standard errors and the chosen value: .png, .pdf or .svg."""
        _extras.load("matplotlib", "the picture of a sweep")
        from .picture import save_picture

        save_picture(Path(path), self.values, self.values[self.chosen])


_HEADS = ("C", "l2", *(part for name in METRICS for part in (name, "+-")), "passes", "s")
_WIDTHS = (10, 10, *(15, 8) * len(METRICS), 8, 9)


def _cells(value: Value) -> list[str]:
    if value.metrics is None:
        return [f">= {value.lower_bound:.4f}", *[""] * (2 * len(METRICS) - 1)]
    return [cell for name in METRICS for cell in _pair(value.metrics[name])]


def _pair(measure: Measure) -> tuple[str, str]:
    return f"{measure.value:.4f}", f"{measure.error:.4f}"


def _finite(value: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value
