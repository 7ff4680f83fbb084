"""How long to measure, and what was measured, as JSON on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastsoftmax.kernels.tuning import cpu_name

RESULTS = Path(__file__).parents[1] / "results"
Json = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    rounds : int
        Rounds of each comparison.
    budget : float
        Seconds after which a comparison starts no further round (three are always run).
    quick : bool
        Small cases only.
    """

    rounds: int = 15
    budget: float = 60.0
    quick: bool = False
    n_threads: int = 1


def results_path(quick: bool) -> Path:
    """Where the results of this machine's CPU are: each has a folder. Those of a quick run are not kept."""
    return RESULTS / ("quick" if quick else cpu_name()) / "results.json"


def all_results() -> dict[str, Json]:
    """The saved results of every CPU, by its name."""
    paths = [path for path in sorted(RESULTS.glob("*/results.json")) if path.parent.name != "quick"]
    return {path.parent.name: load(path) for path in paths}


def load(path: Path) -> Json:
    return dict(json.loads(path.read_text()))


def save(results: Json, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, default=float) + "\n")
