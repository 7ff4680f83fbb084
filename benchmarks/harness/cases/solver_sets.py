"""The data sets that solvers are timed on: real ones, raw and scaled, and generated ones with one difficulty each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastsoftmax import datasets

Data = tuple[np.ndarray, np.ndarray]
L2S = (1e-4, 1e-6)
# Peers are timed on sets of at least this many rows: fits of smaller ones take milliseconds, most of it overhead.
PEER_ROWS = 5_000


@dataclass(frozen=True)
class DataSet:
    """A name, and the function that makes X (m, n) float64 and class numbers y (m,), always the same ones."""

    name: str
    make: Callable[[], Data]
    group: str = "bundled"


def standardised(X: np.ndarray) -> np.ndarray:
    deviation = X.std(axis=0)
    return (X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)


def sample(name: str, *, scaled: bool) -> Data:
    X, labels, _ = datasets.load_sample(name)
    return (standardised(X) if scaled else X), np.unique(labels, return_inverse=True)[1]


def badly_scaled(m: int, n: int = 20, k: int = 5) -> Data:
    """Correlated columns with scales from 1e-3 to 1e6, whose means are some tens off zero."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((m, n)) @ (np.eye(n) + 0.9 * rng.standard_normal((n, n)))
    y = np.argmax(X @ rng.standard_normal((n, k)) / np.sqrt(n) + rng.gumbel(size=(m, k)), axis=1)
    X *= 10.0 ** np.linspace(-3, 6, n)[rng.permutation(n)]
    return X + 30 * rng.standard_normal(n), y


def rare_class(m: int = 50_000, rows: int = 5, n: int = 10) -> Data:
    """Three classes, one of which has few rows."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((m, n))
    y = np.argmax(X @ rng.standard_normal((n, 2)) + rng.gumbel(size=(m, 2)), axis=1)
    rare = rng.choice(m, rows, replace=False)
    y[rare] = 2
    X[rare] += 1.0
    return X, y


def made(m: int, n: int, k: int, signal: float, seed: int) -> Data:
    X, y, _ = datasets.make_problem(m, n, k, signal=signal, seed=seed)
    return X, y


def _table() -> dict[str, DataSet]:
    sets = [
        DataSet(f"{name}{' scaled' if scaled else ''}", lambda name=name, scaled=scaled: sample(name, scaled=scaled))
        for name in datasets.SAMPLES
        for scaled in (False, True)
    ]
    sets += [DataSet(f"badly scaled {m}", lambda m=m: badly_scaled(m), "made") for m in (10_000, 100_000, 1_000_000)]
    sets += [
        DataSet(f"nearly separable {m}", lambda m=m: made(m, 10, 3, 30.0, 2), "made")
        for m in (5_000, 100_000, 1_000_000)
    ]
    sets += [
        DataSet("rare class", rare_class, "made"),
        DataSet("rare class 1000000", lambda: rare_class(1_000_000, 100), "made"),
        DataSet("well behaved", lambda: made(200_000, 54, 7, 2.0, 3), "made"),
        DataSet("well behaved 1000000", lambda: made(1_000_000, 54, 7, 2.0, 3), "made"),
        DataSet("quick badly scaled", lambda: badly_scaled(5_000), "quick"),
    ]
    return {s.name: s for s in sets}


SETS: dict[str, DataSet] = _table()
QUICK = ("iris", "wine scaled", "quick badly scaled")
FULL = tuple(name for name, s in SETS.items() if s.group != "quick")
