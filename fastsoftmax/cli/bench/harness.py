"""Where the benchmarks are, and the data that they are to use."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ...data import files


def harness() -> str:
    """Import name of the benchmarks: they are in the package where it is installed, and beside it in a checkout."""
    if importlib.util.find_spec("fastsoftmax.benchmarks") is not None:
        return "fastsoftmax.benchmarks"
    root = Path(__file__).resolve().parents[3]
    if not (root / "benchmarks" / "harness").exists():
        raise ImportError("the benchmarks are not part of this installation; pip install fastsoftmax brings them")
    if str(root) not in sys.path:
        sys.path.append(str(root))
    return "benchmarks"


def modules(*names: str) -> tuple[Any, ...]:
    """Modules of the benchmarks."""
    package = harness()
    return tuple(importlib.import_module(f"{package}.{name}") for name in names)


def own_problem(path: str, target: str | None) -> Any:
    """The problem (`harness.cases.Problem`) of a user's file.

    Raises
    ------
    ValueError
        As `files.read`; for a file without labels, or with one class.
    """
    data = files.read(path, target)
    if data.y is None:
        raise ValueError(f"{path} holds no labels")
    classes, y = np.unique(data.y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{path}, target {data.target!r} holds one class only ({classes[0]}); at least two are wanted")
    (cases,) = modules("harness.cases")
    X = data.X if str(data.X.dtype) in cases.DTYPES else data.X.astype(np.float64)
    return cases.of_data(Path(path).name, X, y.astype(np.int64))
