"""Commands on data that does not fit into memory: `scan` in the place of `files.read`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data import files
from ..data.sources.readers.opening import decoded_bytes, kind_of
from ..data.sources.scan import Scan, memory_bytes, scan
from ..model.model import Model
from ..objective.objective import Objective

# A confusion matrix of more classes than this is not computed: it could be larger than the model.
CONFUSION_CLASSES = 1000


@dataclass(frozen=True)
class Room:
    """What a command may use: the budget, and the folder for a decoded copy."""

    memory: str
    cache: str | None

    def is_too_small_for(self, path: str, reading: files.ReadOptions) -> bool:
        """Whether X of a file would take more memory than the budget, or a cache is asked for."""
        return self.cache is not None or decoded_bytes(Path(path), reading) > memory_bytes(self.memory)

    def scan(self, path: str, target: Any, reading: files.ReadOptions, *, last: bool = False, **options: Any) -> Scan:
        """The scan of a file; with ``last`` its labels are in the last column unless there is a target."""
        if last and target is None and kind_of(Path(path), reading) not in ("svmlight", "csr"):
            target = -1
        return scan(path, target, memory=self.memory, cache=self.cache, options=reading, **options)

    def scan_features(self, path: str, names: Sequence[str] | None, reading: files.ReadOptions) -> Scan:
        """The scan of the columns that a model knows, if they have names."""
        kind = kind_of(Path(path), reading)
        columns: Any = None if names is None or kind == "csr" else list(names)
        if columns is not None and kind in ("npy", "zarr"):
            columns = [int(name) for name in columns] if all(name.isdigit() for name in columns) else None
        return self.scan(path, None, reading, columns=columns)


def measure(model: Model, theta: np.ndarray, held_out: Scan, settings: dict[str, Any]) -> dict[str, Any]:
    """Accuracy and loss on the rows of positive weight, which were held out."""
    targets, k = held_out.targets, model.n_classes
    confusion, right = np.zeros((k, k), np.int64) if k <= CONFUSION_CLASSES else None, 0
    for rows, label in model.predict_chunks(held_out, **settings):
        assert targets.w is not None
        counted = targets.w[rows] > 0
        y, predicted = targets.y[rows][counted], np.searchsorted(model.classes, label[counted])
        right += int(np.count_nonzero(y == predicted))
        if confusion is not None:
            confusion += np.bincount(y * k + predicted, minlength=k * k).reshape(k, k)
    count = int(targets.counts.sum())
    return {
        "accuracy": right / count,
        "log_loss": Objective(held_out, n_classes=k, fit_intercept=True, **settings).value(theta),
        "largest_class": float(targets.counts.max() / count),
        "confusion": None if confusion is None else confusion.tolist(),
    }


def show_scan(data: Scan, as_json: bool, out: Path | None, *, keep: bool) -> None:
    """Make the first pass, keep what it finds unless that is not wanted, and print it."""
    from .display import scan_report

    began = time.perf_counter()
    with watched(data, as_json):
        m, n = data.shape
        data.facts  # noqa: B018
    report: dict[str, Any] = {"data": data.name, "rows": m, "features": n, "dtype": str(data.dtype)}
    if data.target:
        report["target"] = data.target
        report["classes"] = dict(zip(map(str, data.classes.tolist()), data.counts.tolist(), strict=True))
    seconds = time.perf_counter() - began
    report["out"] = str(data.keep(out)) if keep else None
    scan_report(report | {"seconds": seconds, "notes": list(data.notes)}, as_json)


@contextmanager
def watched(data: Scan, is_silent: bool) -> Iterator[None]:
    """A bar for the first pass over some data."""
    if is_silent:
        yield
        return
    from .display import reading

    with reading(data):
        yield
